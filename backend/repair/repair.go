package repair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/payment"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Counter is what the repair needs of the counter's client.
type Counter interface {
	audit.Counter
	SaleList(ctx context.Context) ([]sale.Info, error)
	SaleInfo(ctx context.Context, saleID string) (sale.Info, error)
	Collect(ctx context.Context, shard, saleID string) (client.Collected, error)
	RestoreShard(ctx context.Context, shard string, text []byte) error
}

// Ledger is what the repair needs of the store.
type Ledger interface {
	audit.Ledger
	ChangesAfter(ctx context.Context, id string, revision int64) ([]store.SaleChange, error)
	ChangeSale(ctx context.Context, id string, decide func(store.Sale) ([]store.SaleChange, error)) (store.Sale, error)
	HighestOrder(ctx context.Context) (sale.OrderID, error)
	ListParked(ctx context.Context, after int64, limit int) ([]store.ParkedMessage, error)
	ListDeadLetters(ctx context.Context, after int64, limit int) ([]store.DeadLetter, error)
	UnfinishedOutbox(ctx context.Context, after sale.OrderID, limit int) ([]store.OutboxRow, error)
	WriteOrders(ctx context.Context, batch []store.Accepted) (store.WriteReport, error)
	CancelLost(ctx context.Context, id sale.OrderID, why string) error
	ReopenOutbox(ctx context.Context, ids ...sale.OrderID) (int64, error)
	FinishOutbox(ctx context.Context, answer string, ids ...sale.OrderID) error
	FinishParked(ctx context.Context, ids ...int64) error
	DueNow(ctx context.Context, ids ...int64) (int64, error)
	PaymentsOfOrder(ctx context.Context, id sale.OrderID) ([]store.Payment, error)
	AdoptPayments(ctx context.Context, payments ...store.Payment) (int64, error)
	AdoptSale(ctx context.Context, id string, a store.Adoption) error
}

// Parts are what a repair works with.
type Parts struct {
	Counter Counter
	Ledger  Ledger
	Depth   audit.QueueDepth
	// Provider has the payments that the ledger may have lost. nil: nothing can be paid here.
	Provider payment.Provider
	// Tickets verify the messages that wait. One that does not verify proves nothing.
	Tickets *auth.Keyring
	// Shards are the counter's shards by their names, with their numbers.
	Shards map[string]int
	Log    *slog.Logger // each step that is taken
}

// Options tune Run.
type Options struct {
	// Sale is the one sale to look at; empty: every sale that was ever opened.
	Sale string
	// Apply does what is otherwise only said.
	Apply bool
	// Payments asks the provider about every unpaid order, too, not only about those that are written anew:
	// a ledger from an old backup may lack the payments of orders that it has.
	Payments bool
	// Settle is for how long the queue must stay empty before a counter is rebuilt: a consumer may hold a
	// message that the broker does not count. Default 5 s.
	Settle time.Duration
}

// defaultSettle outlasts the longest pause of a consumer between two attempts (2 s), and its transaction.
const defaultSettle = 5 * time.Second

// Run repairs, or says what it would do. What stopped it is the report's Error; running it again goes on
// from there. It reads every order of the sales that it looks at: bound it by ctx.
func Run(ctx context.Context, parts Parts, options Options) Outcome {
	if options.Settle <= 0 {
		options.Settle = defaultSettle
	}
	r := &repair{Parts: parts, options: options, report: &Outcome{At: time.Now().UTC(), Applied: options.Apply, Steps: []Step{}, Listed: []string{}}}
	if err := r.run(ctx); err != nil {
		r.report.Error = err.Error()
	}
	return *r.report
}

type repair struct {
	Parts
	options Options
	report  *Outcome
	waiting *messages // read once
	quiet   *bool     // whether the queue stayed empty; asked once
}

func (r *repair) run(ctx context.Context) error {
	sales, err := r.sales(ctx)
	if err != nil {
		return err
	}
	for i := range sales {
		if err := r.sale(ctx, &sales[i]); err != nil {
			return fmt.Errorf("sale %s: %w", sales[i].ID, err)
		}
	}
	return nil
}

// sales are those to look at. The counter may have some that the ledger lost: nothing is left of their
// prices, so that they are listed.
func (r *repair) sales(ctx context.Context) ([]store.Sale, error) {
	if r.options.Sale != "" {
		s, err := r.Ledger.SaleByID(ctx, r.options.Sale)
		return []store.Sale{s}, err
	}
	sales, err := r.Ledger.Sales(ctx)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(sales))
	for i := range sales {
		known[sales[i].ID] = true
	}
	list, err := r.Counter.SaleList(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the counter's sales: %w", err)
	}
	for i := range list {
		if !known[list[i].ID] && !list[i].Forgotten {
			r.report.list("sale %s: the counter has it (stock %d, confirmed %d), the ledger does not: create it there anew, with this id and stock, and run the repair again",
				list[i].ID, list[i].Stock, list[i].Confirmed)
		}
	}
	return sales, nil
}

func (r *repair) sale(ctx context.Context, s *store.Sale) error {
	if s.Intent == store.IntentForgotten {
		return nil
	}
	terms, opened, err := r.terms(ctx, s)
	if err != nil || !opened {
		return err
	}
	lost, rows, err := r.lost(ctx, s.ID, terms.Shards)
	if err != nil {
		return err
	}
	if len(lost) == 0 { // all know it
		if s, err = r.adopt(ctx, s); err != nil {
			return err
		}
	} else {
		if s.Acknowledged == 0 && len(rows) == 0 && s.Sold == 0 {
			return nil // the counter has not been told of it yet, and will be
		}
		whole, err := r.restore(ctx, s, terms, lost, rows)
		if err != nil || !whole {
			return err // what else differs shows once the shards are there again
		}
	}
	if r.options.Payments {
		if err := r.lostPayments(ctx, s); err != nil {
			return err
		}
	}
	if err := r.differences(ctx, s); err != nil {
		return err
	}
	return r.releases(ctx, s.ID)
}

// terms are what the sale was opened with.
func (r *repair) terms(ctx context.Context, s *store.Sale) (terms sale.Terms, opened bool, err error) {
	if s.Revision == 0 {
		info, err := r.Counter.SaleInfo(ctx, s.ID)
		switch {
		case err == nil: // an old backup lacks the opening
			r.report.list("sale %s: the counter sells it (stock %d, confirmed %d), the ledger has it as a draft: open it there with this stock, and run the repair again", s.ID, info.Stock, info.Confirmed)
		case !errors.Is(err, client.ErrNoSale):
			return terms, false, fmt.Errorf("asking the counter: %w", err)
		}
		return terms, false, nil
	}
	changes, err := r.Ledger.ChangesAfter(ctx, s.ID, 0)
	if err != nil {
		return terms, false, err
	}
	for i := range changes {
		if changes[i].Command == store.CommandOpen {
			terms, err = sale.ParseTerms(changes[i].Payload)
			return terms, err == nil, err
		}
	}
	return terms, false, errors.New("the ledger's change log does not say how it was opened")
}

// lost are the sale's shards that do not know it, or of which a restore is still to come: they know it as
// a backup does, or an earlier restore was cut short. rows are what the others say.
func (r *repair) lost(ctx context.Context, id string, shards []string) (lost map[string]client.Collected, rows map[string]client.Collected, err error) {
	lost, rows = make(map[string]client.Collected), make(map[string]client.Collected, len(shards))
	for _, name := range shards {
		if _, configured := r.Shards[name]; !configured {
			return nil, nil, fmt.Errorf("shard %s of it is not in the config", name)
		}
		row, err := r.Counter.Collect(ctx, name, id)
		switch {
		case errors.Is(err, client.ErrNoSale), err == nil && row.Restoring:
			lost[name] = row
		case err != nil:
			return nil, nil, fmt.Errorf("asking shard %s: %w", name, err)
		default:
			rows[name] = row
		}
	}
	return lost, rows, nil
}

// adopt takes over changes of the sale that the counter has and the ledger, from an old backup, has not.
func (r *repair) adopt(ctx context.Context, s *store.Sale) (*store.Sale, error) {
	info, err := r.Counter.SaleInfo(ctx, s.ID)
	if err != nil || !info.Complete() {
		return nil, fmt.Errorf("reading the counter's state: %w", errors.Join(err, client.ErrUnavailable))
	}
	if info.Revision <= s.Revision {
		return s, nil
	}
	a := store.Adoption{Revision: info.Revision, Stock: info.Stock, Debt: info.Debt, Intent: store.IntentOpen}
	switch {
	case info.Forgotten:
		a.Intent = store.IntentForgotten
	case info.Closed:
		a.Intent = store.IntentClosed
	case info.Paused:
		a.Intent = store.IntentPaused
	}
	step := Step{Kind: AdoptSale, Sale: s.ID, Count: int(info.Revision - s.Revision), What: fmt.Sprintf(
		"the ledger is at revision %d (%s, stock %d) and takes over revision %d (%s, stock %d) from the counter", s.Revision, s.Intent, s.Stock, a.Revision, a.Intent, a.Stock)}
	err = r.do(ctx, step, func() error { return r.Ledger.AdoptSale(ctx, s.ID, a) })
	if err != nil || !r.options.Apply {
		return s, err
	}
	adopted, err := r.Ledger.SaleByID(ctx, s.ID)
	return &adopted, err
}

// do takes a step when it is to be applied, and notes and logs it.
func (r *repair) do(ctx context.Context, step Step, take func() error) error {
	var err error
	if r.options.Apply {
		if err = take(); err != nil {
			step.Error = err.Error()
		}
		step.Done = err == nil
		level := slog.LevelInfo
		if err != nil {
			level = slog.LevelError
		}
		r.Log.Log(ctx, level, "repair", "step", step.Kind, "sale", step.Sale, "shard", step.Shard, "count", step.Count,
			"orders", step.Orders, "what", step.What, "done", step.Done, "error", step.Error)
	}
	r.report.Steps = append(r.report.Steps, step)
	if err != nil {
		return fmt.Errorf("%s: %w", step.Kind, err)
	}
	return nil
}

// first are the ids that a step lists.
func first(ids []sale.OrderID) []sale.OrderID { return ids[:min(len(ids), maxOrders)] }
