package rehearse

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/cli"
	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// holdStates are the states of which Holds can be asked.
func holdStates() []sale.HoldState {
	return []sale.HoldState{sale.Held, sale.Confirmed, sale.Released, sale.Expired}
}

// collect reads what counter and ledger have of a sale, and lets the audit look at it.
func collect(ctx context.Context, books *cli.Books, e *Evidence, start time.Time) error {
	if err := collectHolds(ctx, books, e, start); err != nil {
		return err
	}
	ids := map[sale.OrderID]bool{}
	for i := range e.Holds {
		ids[e.Holds[i].Order] = true
	}
	for i := range e.Presses {
		if id := e.Presses[i].Order; id != 0 {
			ids[id] = true
		}
	}
	// What neither counter nor buyers know of would be in the list of active orders.
	for after := sale.OrderID(0); ; {
		page, err := books.Ledger.ActiveOrders(ctx, e.Sale, after, store.MaxPage)
		if err != nil {
			return err
		}
		for i := range page {
			ids[page[i].ID] = true
			after = page[i].ID
		}
		if len(page) < store.MaxPage {
			break
		}
	}
	e.Orders = make(map[sale.OrderID]Order, len(ids))
	for some := range slices.Chunk(slices.Sorted(maps.Keys(ids)), store.MaxPage) {
		rows, err := books.Ledger.OrdersByIDs(ctx, some)
		if err != nil {
			return err
		}
		for i := range rows {
			o := &rows[i]
			e.Orders[o.ID] = Order{
				User: o.UserID, State: o.State, Active: o.Active(), Quantity: o.Quantity, Reason: o.Reason,
				Updated: o.UpdatedAt.Sub(start), Deadline: o.Deadline.Sub(start),
			}
		}
	}
	return collectRefunds(ctx, books, e)
}

func collectHolds(ctx context.Context, books *cli.Books, e *Evidence, start time.Time) error {
	for _, state := range holdStates() {
		for after := sale.OrderID(0); ; {
			page, err := books.Counter.Holds(ctx, e.Sale, state, after, client.MaxHolds)
			if err != nil {
				return err
			}
			for i := range page {
				h := &page[i]
				after = h.Order
				e.Holds = append(e.Holds, Hold{
					Order: h.Order, User: h.User, Quantity: h.Quantity, State: h.State,
					From: time.UnixMilli(h.ReservedAt).Sub(start), To: time.UnixMilli(h.ChangedAt).Sub(start),
				})
			}
			if len(page) < client.MaxHolds {
				break
			}
		}
	}
	return nil
}

func collectRefunds(ctx context.Context, books *cli.Books, e *Evidence) error {
	e.Refunds = map[sale.OrderID]bool{}
	for after := int64(0); ; {
		page, err := books.Ledger.ListRefunds(ctx, "", after, store.MaxPage)
		if err != nil {
			return err
		}
		for i := range page {
			after = page[i].ID
			if _, ours := e.Orders[page[i].OrderID]; ours {
				e.Refunds[page[i].OrderID] = true
			}
		}
		if len(page) < store.MaxPage {
			return nil
		}
	}
}

// maxAuditFindings bounds what is told of an audit.
const maxAuditFindings = 20

func wordOf(report *audit.Report) AuditWord {
	word := AuditWord{Verdict: string(report.Verdict)}
	if report.Error != "" {
		word.Findings = append(word.Findings, report.Error)
	}
	for i := range report.Sales {
		s := &report.Sales[i]
		word.Findings = append(word.Findings, s.Problems...)
		for _, f := range s.Findings {
			word.Findings = append(word.Findings, f.String())
		}
	}
	word.Findings = word.Findings[:min(len(word.Findings), maxAuditFindings)]
	return word
}

// leftOf reads what is under way; of what counter-wide figures there are, what was there before is
// subtracted.
func leftOf(ctx context.Context, books *cli.Books, saleID string, before store.Backlog) (Left, error) {
	sums, err := books.Counter.Audit(ctx, saleID)
	depth, depthErr := books.Depth(ctx)
	backlog, backlogErr := books.Ledger.Backlog(ctx)
	totals, totalsErr := books.Ledger.SaleTotals(ctx, saleID)
	if err := errors.Join(err, depthErr, backlogErr, totalsErr); err != nil {
		return Left{}, err
	}
	t := sums.Total
	return Left{
		Available: t.Available, Held: t.Held, InTransit: sums.InTransit, Scheduled: t.Scheduled, Debt: t.Debt,
		Queue: int64(depth.Ready + max(depth.Unacked, 0)), Outbox: max(0, backlog.OutboxDue-before.OutboxDue),
		OutboxBad: max(0, backlog.OutboxParked-before.OutboxParked), Parked: max(0, backlog.Parked-before.Parked),
		Dead: max(0, backlog.DeadLetters-before.DeadLetters), Unpaid: totals.Orders[sale.Unpaid],
	}, nil
}
