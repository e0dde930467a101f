package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Counter is what the audit reads at the counter.
type Counter interface {
	Audit(ctx context.Context, saleID string) (client.Audit, error)
	Holds(ctx context.Context, saleID string, state sale.HoldState, after sale.OrderID, limit int) ([]client.Hold, error)
	Order(ctx context.Context, id sale.OrderID) (client.Hold, error)
}

// Ledger is what the audit reads in the ledger.
type Ledger interface {
	Sales(ctx context.Context) ([]store.Sale, error)
	SaleByID(ctx context.Context, id string) (store.Sale, error)
	SaleTotals(ctx context.Context, saleID string) (store.SaleTotals, error)
	ActiveOrders(ctx context.Context, saleID string, after sale.OrderID, limit int) ([]store.Order, error)
	OrdersByIDs(ctx context.Context, ids []sale.OrderID) ([]store.Order, error)
	Backlog(ctx context.Context) (store.Backlog, error)
}

// QueueDepth counts what is stored under the orders' topic.
type QueueDepth func(ctx context.Context) (queue.Depth, error)

// Options tune Run. Zero values mean the defaults.
type Options struct {
	// Sale is the one sale to look at; empty: every sale that was ever opened.
	Sale string
	// Grace is how long an accepted order may stay without a row when nothing is known to be on its
	// way. Default 60 s.
	Grace time.Duration
	// PageSize is the ids of one page. Default and limit store.MaxPage.
	PageSize int
	// Concurrency is the look-ups under way at once when single ids are read again. Default 64.
	Concurrency int
	// MaxFindings bounds the findings of a sale's report. Default MaxFindings.
	MaxFindings int
	// Now is the clock; default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Grace <= 0 {
		o.Grace = 60 * time.Second
	}
	if o.PageSize <= 0 || o.PageSize > store.MaxPage {
		o.PageSize = store.MaxPage
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 64
	}
	if o.MaxFindings <= 0 {
		o.MaxFindings = MaxFindings
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Run audits. It never fails: what could not be read makes the verdict Unreachable, with the reason in
// Error. It reads about 1 page of ids a millisecond; bound it by ctx.
func Run(ctx context.Context, counter Counter, ledger Ledger, depth QueueDepth, options Options) Report {
	options = options.withDefaults()
	started := options.Now()
	report := Report{At: started.UTC(), Verdict: Holds, Sales: []SaleReport{}}
	a := &auditor{counter: counter, ledger: ledger, depth: depth, options: options}
	if err := a.run(ctx, &report); err != nil {
		report.Verdict = Unreachable
		report.Error = err.Error()
	}
	report.Took = options.Now().Sub(started).Round(time.Millisecond).String()
	return report
}

type auditor struct {
	counter Counter
	ledger  Ledger
	depth   QueueDepth
	options Options
}

func (a *auditor) run(ctx context.Context, report *Report) error {
	sales, err := a.sales(ctx)
	if err != nil {
		return err
	}
	for _, s := range sales {
		sr, err := a.sale(ctx, s)
		if err != nil {
			return fmt.Errorf("sale %s: %w", s.ID, err)
		}
		report.Verdict = worse(report.Verdict, sr.Verdict)
		report.Sales = append(report.Sales, *sr)
	}
	t, err := a.traffic(ctx)
	if err != nil {
		return err
	}
	report.Queue = queueOf(t.queue)
	report.Ledger = backlogOf(t.backlog)
	return nil
}

func (a *auditor) sales(ctx context.Context) ([]store.Sale, error) {
	if a.options.Sale != "" {
		s, err := a.ledger.SaleByID(ctx, a.options.Sale)
		if err != nil {
			return nil, fmt.Errorf("reading sale %s in the ledger: %w", a.options.Sale, err)
		}
		return []store.Sale{s}, nil
	}
	all, err := a.ledger.Sales(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the ledger's sales: %w", err)
	}
	opened := all[:0]
	for _, s := range all {
		if s.Revision > 0 {
			opened = append(opened, s)
		}
	}
	return opened, nil
}

// traffic is what may explain a difference.
type traffic struct {
	queue   queue.Depth
	backlog store.Backlog
}

// brings reports whether an order without a row may still get one.
func (t *traffic) brings() bool {
	return !t.queue.Empty() || t.queue.Dead > 0 || t.backlog.Parked > 0 || t.backlog.DeadLetters > 0
}

// releases reports whether units that are free in the ledger may still be told to the counter.
func (t *traffic) releases() bool { return t.backlog.OutboxDue > 0 || t.backlog.OutboxParked > 0 }

func (a *auditor) traffic(ctx context.Context) (traffic, error) {
	depth, err := a.depth(ctx)
	if err != nil {
		return traffic{}, fmt.Errorf("reading the queue's depth: %w", err)
	}
	backlog, err := a.ledger.Backlog(ctx)
	if err != nil {
		return traffic{}, fmt.Errorf("reading the ledger's backlog: %w", err)
	}
	return traffic{queue: depth, backlog: backlog}, nil
}

func (a *auditor) sale(ctx context.Context, s store.Sale) (*SaleReport, error) {
	r := &SaleReport{
		Sale: s.ID, Verdict: Holds, Intent: s.Intent, Revision: s.Revision, Acknowledged: s.Acknowledged, Alarm: s.Alarm,
		most: a.options.MaxFindings,
	}
	if s.Revision == 0 {
		return r, nil // a draft: the counter has never heard of it
	}
	if s.Alarm != "" {
		r.problem(NotSettled, "the sale has an alarm: %s", s.Alarm)
	}
	sums, err := a.counter.Audit(ctx, s.ID)
	switch {
	case errors.Is(err, client.ErrNoSale) && s.Acknowledged > 0:
		r.problem(Violated, "the counter does not know the sale, of which it acknowledged revision %d", s.Acknowledged)
		return r, nil
	case errors.Is(err, client.ErrNoSale):
		r.problem(NotSettled, "the counter has not been told of the sale yet")
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("reading the counter's sums: %w", err)
	}
	a.checkCounter(r, &s, &sums)
	if err := a.checkLedger(ctx, r, s.ID); err != nil {
		return nil, err
	}
	if s.Intent == store.IntentForgotten {
		return r, nil // the counter keeps the totals only
	}
	different, err := a.compare(ctx, r)
	if err != nil {
		return nil, err
	}
	return r, a.recheck(ctx, r, different)
}

func (a *auditor) checkCounter(r *SaleReport, s *store.Sale, sums *client.Audit) {
	t := sums.Total
	r.Counter = Figures(t)
	r.InTransfer = sums.InTransit
	for _, shard := range sums.Shards {
		r.Shards = append(r.Shards, Shard{shard.Shard, shard.Index, shard.Holds, Figures(shard.Terms)})
	}
	r.Terms = append(r.Terms,
		equal("counter: alloc + taken - given = scheduled + available + held + confirmed",
			t.Alloc+t.Taken-t.Given, t.Scheduled+t.Available+t.Held+t.Confirmed),
		equal("counter: alloc = stock + debt", t.Alloc, t.Stock+t.Debt),
		atMost("counter: taken <= given", t.Given-sums.InTransit, t.Given))
	for _, term := range r.Terms {
		if !term.Holds {
			r.problem(Violated, "does not hold: %s (%d, %d)", term.Name, term.Left, term.Right)
		}
	}
	for _, what := range sums.Problems {
		r.problem(Violated, "counter: %s", what)
	}
	for _, what := range sums.Unsettled {
		r.problem(NotSettled, "counter: %s", what)
	}
	if !sums.Holds && len(sums.Problems) == 0 {
		r.problem(Violated, "the counter says that its sums do not hold")
	}
	if t.ExcessOrders > 0 {
		r.problem(NotSettled, "%d orders lost a clash of slots when the sale was restored; an operator must settle them", t.ExcessOrders)
	}
	if sums.Revision != s.Revision {
		r.problem(NotSettled, "the counter is at revision %d, the ledger intends %d", sums.Revision, s.Revision)
	}
}

// checkLedger checks the ledger's own sums, which are read in one snapshot and hold at any moment.
func (a *auditor) checkLedger(ctx context.Context, r *SaleReport, id string) error {
	totals, err := a.ledger.SaleTotals(ctx, id)
	if err != nil {
		return fmt.Errorf("reading the ledger's totals: %w", err)
	}
	terms := []Term{
		equal("ledger: sold = units of active orders", totals.Sold, totals.ActiveUnits),
		equal("ledger: sold = units in the journal", totals.Sold, totals.JournalUnits),
		atMost("ledger: sold <= ceiling", totals.Sold, totals.StockCeiling),
	}
	for _, term := range terms {
		if !term.Holds {
			r.problem(Violated, "does not hold: %s (%d, %d)", term.Name, term.Left, term.Right)
		}
	}
	// For people: equal once everything has settled; the ids below decide.
	r.Terms = append(append(r.Terms, terms...), equal("counter confirmed, ledger sold", r.Counter.Confirmed, totals.Sold))
	return nil
}
