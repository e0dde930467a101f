package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"headgate.example/lib/sale"
)

// MaxBatch bounds the orders of one WriteOrders.
const MaxBatch = 1000

// Accepted is an order that was taken from the queue and whose hold was asked for at the counter.
type Accepted struct {
	sale.Binding
	Key        string    // the buyer's request key, or empty
	AcceptedAt time.Time // zero: when the order's id was minted
	// Expired: CONFIRM said expired or released. Without a row it becomes an `expired` one; a row
	// that is there is never overwritten.
	Expired bool
}

// Outcome is what became of one Accepted.
type Outcome string

// The outcomes. After Written, Known and Rejected the message is settled.
const (
	Written  Outcome = "written"  // inserted, active (or as expired, when Expired)
	Known    Outcome = "known"    // its row was there: a redelivery
	Rejected Outcome = "rejected" // refused for good, its units are on their way back: its slot is another order's
	// Mismatch: the id stands for something else in the ledger, or its row contradicts the counter.
	// Nothing was changed; never a redelivery.
	Mismatch Outcome = "mismatch"
	// NoSale: the ledger does not have the sale. Undecided.
	NoSale Outcome = "no_sale"
	// OverCeiling: ledger and counter have diverged; of this sale nothing was written, and it is
	// being paused with an alarm. Undecided.
	OverCeiling Outcome = "over_ceiling"
)

// WriteResult is the outcome of one order.
type WriteResult struct {
	Order   sale.OrderID
	Outcome Outcome
	State   sale.OrderState // of the row, when there is one
	// PayWithin is the time from the commit to the deadline of an order that was just Written unpaid.
	PayWithin time.Duration
	Why       string // for Rejected, Mismatch, NoSale and OverCeiling
}

// WriteReport has one result for each order of the batch, in the batch's order.
type WriteReport struct {
	Results  []WriteResult
	Attempts int      // transactions begun; more than 1 when others were in the way
	Paused   []string // sales that this batch paused, with an alarm
}

// Count is the number of results with an outcome.
func (r *WriteReport) Count(outcome Outcome) int {
	n := 0
	for _, result := range r.Results {
		if result.Outcome == outcome {
			n++
		}
	}
	return n
}

// WriteOrders writes a batch of at most MaxBatch orders in one READ COMMITTED transaction: what is
// known already is left alone, the others are inserted in ascending id with their journal rows, and
// last the sales' sold counts are raised under their ceilings. When another consumer was in the way
// the whole batch is rolled back, read again and written again. Repeating a batch is harmless, also
// after an error, whose transaction may or may not have been committed; after ErrUnwritable it was not.
func (s *Store) WriteOrders(ctx context.Context, batch []Accepted) (WriteReport, error) {
	if len(batch) > MaxBatch {
		return WriteReport{}, fmt.Errorf("store: a batch of %d orders, at most %d are allowed", len(batch), MaxBatch)
	}
	for i := range batch {
		if err := batch[i].Validate(); err != nil {
			return WriteReport{}, fmt.Errorf("store: %w: order %d: %w", ErrUnwritable, i, err)
		}
	}
	if len(batch) == 0 {
		return WriteReport{}, nil
	}
	w := newWriter(s, batch)
	for attempt := 1; ; attempt++ {
		err := s.once(ctx, w.write)
		if err == nil {
			return WriteReport{Results: w.results, Attempts: attempt, Paused: w.paused}, nil
		}
		var diverged *divergedError
		switch {
		case errors.As(err, &diverged):
			w.diverged[diverged.sale] = diverged.why
			continue // bounded: each sale diverges once
		case errors.Is(err, gorm.ErrDuplicatedKey):
			w.checkSlots = true // an id that another consumer wrote meanwhile, or a slot: look which
		case unwritable(s.dialect, err):
			return WriteReport{}, fmt.Errorf("store: writing %d orders: %w: %w", len(batch), ErrUnwritable, err)
		case !s.dialect.lost(err):
			return WriteReport{}, fmt.Errorf("store: writing %d orders: %w", len(batch), err)
		}
		if attempt >= MaxAttempts+len(w.diverged) {
			return WriteReport{}, fmt.Errorf("store: writing %d orders: %w (%d attempts): %w", len(batch), ErrBusy, attempt, err)
		}
		if err := pauseBetween(ctx, attempt); err != nil {
			return WriteReport{}, fmt.Errorf("store: writing %d orders: %w", len(batch), err)
		}
	}
}

// divergedError is the failed guard of one sale; its transaction is rolled back.
type divergedError struct{ sale, why string }

func (e *divergedError) Error() string { return fmt.Sprintf("sale %s: %s", e.sale, e.why) }

func (e *divergedError) Is(target error) bool { return target == ErrDiverged }

// writer is one WriteOrders. What an attempt learns is thrown away with it, except diverged and
// checkSlots.
type writer struct {
	store      *Store
	batch      []Accepted
	order      []int             // indexes of batch, ascending by order id, stable
	diverged   map[string]string // sale -> why its guard failed
	checkSlots bool

	results []WriteResult
	paused  []string
	rows    batchRows
}

func newWriter(s *Store, batch []Accepted) *writer {
	w := &writer{store: s, batch: batch, order: make([]int, len(batch)), diverged: map[string]string{}}
	for i := range w.order {
		w.order[i] = i
	}
	slices.SortStableFunc(w.order, func(a, b int) int {
		return cmp.Compare(batch[a].Order, batch[b].Order)
	})
	return w
}

// write is one attempt, in a transaction. Lock order: orders, journal, outbox, sales ascending.
func (w *writer) write(tx *gorm.DB) error {
	w.results, w.paused, w.rows = make([]WriteResult, len(w.batch)), nil, batchRows{sold: map[string]int64{}}
	now, err := w.store.now(tx)
	if err != nil {
		return err
	}
	known, err := w.knownOrders(tx)
	if err != nil {
		return err
	}
	sales, err := w.sales(tx)
	if err != nil {
		return err
	}
	taken, err := w.takenSlots(tx)
	if err != nil {
		return err
	}
	firsts := make(map[sale.OrderID]int, len(w.batch))
	for _, i := range w.order {
		if j, again := firsts[w.batch[i].Order]; again {
			w.results[i] = w.repeated(i, j)
			continue
		}
		firsts[w.batch[i].Order] = i
		w.results[i] = w.decide(&w.batch[i], known, sales, taken, now)
	}
	if err := w.rows.insert(tx); err != nil {
		return err
	}
	return w.raiseSold(tx, now)
}

// repeated is the result of a second delivery of an id within the batch.
func (w *writer) repeated(i, first int) WriteResult {
	result := w.results[first]
	switch {
	case w.batch[i].Binding != w.batch[first].Binding:
		return WriteResult{
			Order: result.Order, Outcome: Mismatch,
			Why: "another message of the same batch has this id and another binding",
		}
	case result.Outcome == Written || result.Outcome == Rejected:
		result.Outcome = Known
	}
	return result
}

// decide gives the outcome of one order and queues its rows.
func (w *writer) decide(a *Accepted, known map[sale.OrderID]Order, sales map[string]saleRow, taken map[slotKey]sale.OrderID, now time.Time) WriteResult {
	result := WriteResult{Order: a.Order}
	if row, ok := known[a.Order]; ok {
		result.Outcome, result.State = Known, row.State
		if result.Why = contradiction(a, &row); result.Why != "" {
			result.Outcome = Mismatch
		}
		return result
	}
	of, ok := sales[a.Sale]
	if !ok {
		result.Outcome, result.Why = NoSale, "the ledger has no sale "+a.Sale
		return result
	}
	if a.Expired {
		w.rows.expire(*a, &of, now)
		result.Outcome, result.State = Written, sale.OrderExpired
		return result
	}
	if why, ok := w.diverged[a.Sale]; ok {
		result.Outcome, result.Why = OverCeiling, why
		return result
	}
	key := slotKey{a.Sale, a.User, a.Slot}
	if other, ok := taken[key]; ok {
		why := fmt.Sprintf("slot %d of this user is order %s", a.Slot, other)
		w.rows.reject(*a, why, now)
		w.rows.price(&of)
		result.Outcome, result.State, result.Why = Rejected, sale.Rejected, why
		return result
	}
	if taken != nil {
		taken[key] = a.Order
	}
	w.rows.activate(*a, &of, now)
	result.Outcome, result.State = Written, sale.Unpaid
	result.PayWithin = time.Duration(of.PayWithinMS) * time.Millisecond
	return result
}

// contradiction says how a row and what the counter now says of its id cannot both be true; empty
// when the delivery is a plain redelivery.
func contradiction(a *Accepted, row *Order) string {
	switch b := row.Binding(); {
	case b != a.Binding:
		return fmt.Sprintf("the ledger has this id for sale %s, user %s, quantity %d, slot %d", b.Sale, b.User, b.Quantity, b.Slot)
	case a.Expired && row.Active():
		return fmt.Sprintf("the ledger has it %s, the counter no longer keeps its units", row.State)
	case !a.Expired && row.State == sale.OrderExpired:
		return "the ledger has it expired, the counter confirmed"
	}
	return ""
}

func (w *writer) knownOrders(tx *gorm.DB) (map[sale.OrderID]Order, error) {
	ids := make([]sale.OrderID, len(w.order))
	for n, i := range w.order {
		ids[n] = w.batch[i].Order
	}
	var rows []Order
	err := tx.Select("id", "sale_id", "user_id", "quantity", "slot", "active_slot", "state").
		Where("id IN ?", slices.Compact(ids)).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading known orders: %w", err)
	}
	known := make(map[sale.OrderID]Order, len(rows))
	for _, row := range rows {
		known[row.ID] = row
	}
	return known, nil
}

// usersBySale lists the users of the batch for each sale.
func (w *writer) usersBySale() map[string][]string {
	users := map[string][]string{}
	for i := range w.batch {
		users[w.batch[i].Sale] = append(users[w.batch[i].Sale], w.batch[i].User)
	}
	return users
}

func (w *writer) sales(tx *gorm.DB) (map[string]saleRow, error) {
	var rows []saleRow
	err := tx.Select("id", "price_minor", "currency", "pay_within_ms").
		Where("id IN ?", sortedKeys(w.usersBySale())).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the sales: %w", err)
	}
	sales := make(map[string]saleRow, len(rows))
	for _, row := range rows {
		sales[row.ID] = row
	}
	return sales, nil
}

type slotKey struct {
	sale, user string
	slot       int64
}

// takenSlots reads the active slots of the batch's users, once an attempt has met a duplicate; nil
// before. The usual batch has none, and the unique index decides anyway.
func (w *writer) takenSlots(tx *gorm.DB) (map[slotKey]sale.OrderID, error) {
	if !w.checkSlots {
		return nil, nil
	}
	taken := map[slotKey]sale.OrderID{}
	for id, users := range w.usersBySale() {
		var rows []Order
		err := tx.Select("id", "user_id", "active_slot").
			Where("sale_id = ? AND user_id IN ? AND active_slot IS NOT NULL", id, users).Find(&rows).Error
		if err != nil {
			return nil, fmt.Errorf("reading taken slots: %w", err)
		}
		for _, row := range rows {
			taken[slotKey{id, row.UserID, *row.ActiveSlot}] = row.ID
		}
	}
	return taken, nil
}

// raiseSold is the last step: sales in ascending id, so that two batches never wait for each other
// crosswise. Sales whose guard failed before are paused in the same order.
func (w *writer) raiseSold(tx *gorm.DB, now time.Time) error {
	touched := map[string]int64{}
	for id, units := range w.rows.sold {
		touched[id] = units
	}
	for id := range w.diverged {
		touched[id] = 0
	}
	for _, id := range sortedKeys(touched) {
		if why, ok := w.diverged[id]; ok {
			paused, err := pauseDiverged(tx, id, why, now)
			if err != nil {
				return err
			}
			if paused {
				w.paused = append(w.paused, id)
			}
			continue
		}
		result := tx.Exec("UPDATE sales SET sold = sold + ? WHERE id = ? AND sold + ? <= stock_ceiling", touched[id], id, touched[id])
		if result.Error != nil {
			return fmt.Errorf("sale %s: raising the sold count: %w", id, result.Error)
		}
		if result.RowsAffected == 0 {
			return &divergedError{id, fmt.Sprintf("%d more units would exceed the stock ceiling: %v", touched[id], ErrDiverged)}
		}
	}
	return nil
}
