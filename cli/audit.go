package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/payment"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/open"
	"headgate.example/lib/store"
)

// AuditSources say where counter, ledger and queue are.
type AuditSources struct {
	Counter client.Config
	Ledger  store.Config
	Queue   queue.Config
	Topic   string // of the orders
	// TicketKeys verify the messages that wait; for Repair.
	TicketKeys []auth.SymmetricKey
	// Payment has the provider that is asked for payments which the ledger lost; for Repair.
	Payment payment.Config
}

// auditReach bounds the wait for a ledger that does not answer.
const auditReach = 10 * time.Second

// auditPause lies between two looks at a system that has not settled.
const auditPause = 500 * time.Millisecond

// Books are an open counter, ledger and queue: what the audit reads.
type Books struct {
	Counter *client.Client
	Ledger  *store.Store
	orders  queue.Queue
	topic   string
}

// OpenBooks opens what from names. Close them.
func OpenBooks(ctx context.Context, from AuditSources, log *slog.Logger) (*Books, error) {
	reach, cancel := context.WithTimeout(ctx, auditReach)
	defer cancel()
	ledger, err := store.Open(reach, from.Ledger, log)
	if err != nil {
		return nil, err
	}
	orders, err := open.Open(ctx, from.Queue, log)
	if err != nil {
		return nil, errors.Join(err, ledger.Close())
	}
	counter, err := client.Open(from.Counter)
	if err != nil {
		return nil, errors.Join(err, orders.Close(), ledger.Close())
	}
	return &Books{Counter: counter, Ledger: ledger, orders: orders, topic: from.Topic}, nil
}

// Close closes them; nothing was written.
func (b *Books) Close() {
	b.Counter.Close()
	_ = b.orders.Close() // nothing was published
	_ = b.Ledger.Close() // every change was committed
}

// Depth counts what is stored under the orders' topic.
func (b *Books) Depth(ctx context.Context) (queue.Depth, error) {
	return b.orders.Depth(ctx, b.topic)
}

func unreachable(err error) audit.Report {
	return audit.Report{At: time.Now().UTC(), Verdict: audit.Unreachable, Error: err.Error(), Sales: []audit.SaleReport{}}
}

// Audit compares counter and ledger, for at most wait again and again while it has not settled.
func Audit(ctx context.Context, from AuditSources, saleID string, wait time.Duration, log *slog.Logger) audit.Report {
	b, err := OpenBooks(ctx, from, log)
	if err != nil {
		return unreachable(err)
	}
	defer b.Close()
	return b.Audit(ctx, saleID, wait)
}

// Audit compares counter and ledger, for at most wait again and again while it has not settled.
func (b *Books) Audit(ctx context.Context, saleID string, wait time.Duration) audit.Report {
	deadline := time.Now().Add(wait)
	for {
		report := audit.Run(ctx, b.Counter, b.Ledger, b.Depth, audit.Options{Sale: saleID})
		if !again(report, saleID) || !time.Now().Before(deadline) {
			return report
		}
		timer := time.NewTimer(auditPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return unreachable(errors.Join(errors.New("interrupted"), ctx.Err()))
		}
	}
}

// again reports whether waiting may change the verdict: what travels arrives, what is held is confirmed
// or expires. What does not answer may come back, a violation stays one.
func again(r audit.Report, saleID string) bool {
	switch r.Verdict {
	case audit.NotSettled, audit.Unreachable:
		return true
	case audit.Holds:
		for _, s := range r.Sales {
			if s.Sale == saleID && s.Counter.Held > 0 {
				return true
			}
		}
	}
	return false
}

// writeShards writes each shard's part of a sale.
func writeShards(out io.Writer, s *audit.SaleReport) {
	for _, shard := range s.Shards {
		word, t := "ok", shard.Terms
		if !shard.Holds {
			word = "NO"
		}
		fmt.Fprintf(out, "  %s shard %s\talloc %d + taken %d - given %d = scheduled %d + available %d + held %d + confirmed %d; debt %d (index %d)\n", word,
			plainText(shard.Shard), t.Alloc, t.Taken, t.Given, t.Scheduled, t.Available, t.Held, t.Confirmed, t.Debt, shard.Index)
	}
	fmt.Fprintf(out, "  in transfer\t%d units\n", s.InTransfer)
}

// WriteAudit writes the report for people.
func WriteAudit(w io.Writer, r audit.Report) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range r.Sales {
		fmt.Fprintf(out, "sale %s: %s (%s, revision %d, counter at %d; %d ids agree)\n", s.Sale, s.Verdict, s.Intent, s.Revision, s.Acknowledged, s.Compared)
		if s.Alarm != "" {
			fmt.Fprintf(out, "  ALARM\t%s\n", plainText(s.Alarm))
		}
		c := s.Counter
		fmt.Fprintf(out, "  counter\tstock %d, scheduled %d, available %d, held %d, confirmed %d, debt %d\n",
			c.Stock, c.Scheduled, c.Available, c.Held, c.Confirmed, c.Debt)
		if len(s.Shards) > 1 {
			writeShards(out, &s)
		}
		for _, term := range s.Terms {
			word := "ok"
			if !term.Holds {
				word = "NO"
			}
			fmt.Fprintf(out, "  %s\t%s\t%d\t%d\n", word, term.Name, term.Left, term.Right)
		}
		for _, problem := range s.Problems {
			fmt.Fprintf(out, "  !\t%s\n", plainText(problem))
		}
		for _, finding := range s.Findings {
			fmt.Fprintf(out, "  !\t%s\n", plainText(finding.String()))
		}
		if s.More > 0 {
			fmt.Fprintf(out, "  !\tand %d more orders\n", s.More)
		}
		if s.Travelling > 0 {
			fmt.Fprintf(out, "  \t%d orders are on their way\n", s.Travelling)
		}
	}
	if r.Queue != nil {
		fmt.Fprintf(out, "queue\t%s\n", r.Queue)
	}
	if l := r.Ledger; l != nil {
		fmt.Fprintf(out, "ledger\treleases due %d, parked %d; messages parked %d; dead letters %d\n", l.OutboxDue, l.OutboxParked, l.Parked, l.DeadLetters)
	}
	if r.Error != "" {
		fmt.Fprintf(out, "unreachable\t%s\n", plainText(r.Error))
	}
	fmt.Fprintf(out, "verdict\t%s (exit code %d), %s\n", r.Verdict, r.Verdict.ExitCode(), r.Took)
	return out.Flush()
}
