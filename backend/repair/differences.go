package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// maxDifferences bounds the ids that one repair settles of a sale; running it again takes the next.
const maxDifferences = 200_000

// differences settles what the audit finds of a sale that all its shards know: the ledger lost orders, or
// the end of some.
func (r *repair) differences(ctx context.Context, s *store.Sale) error {
	// Grace is for messages on their way; an order that is written before its message comes is then known.
	found := audit.Run(ctx, r.Counter, r.Ledger, r.Depth, audit.Options{Sale: s.ID, Grace: time.Nanosecond, MaxFindings: maxDifferences})
	if found.Verdict == audit.Unreachable {
		return errors.New(found.Error)
	}
	var missing []client.Hold
	var confirmed []sale.OrderID
	var freed []*store.Order
	for _, f := range found.Sales[0].Findings {
		switch {
		case f.Row == nil && f.Hold != nil && f.Hold.State == sale.Confirmed:
			missing = append(missing, *f.Hold)
		case f.Row != nil && !f.Row.Active() && f.Hold != nil && f.Hold.State == sale.Confirmed:
			confirmed = append(confirmed, f.Order)
		case f.Row != nil && f.Row.Active() && f.Hold != nil && f.Hold.State == sale.Released && f.Hold.Binding == f.Row.Binding():
			freed = append(freed, f.Row)
		default:
			r.report.list("sale %s: order %s %s", s.ID, f.Order, f.What)
		}
	}
	if more := found.Sales[0].More; more > 0 {
		r.report.wait("sale %s: %d further ids differ", s.ID, more)
	}
	if n := found.Sales[0].Travelling; n > 0 {
		r.report.wait("sale %s: %d orders are on their way", s.ID, n)
	}
	if err := r.freed(ctx, s.ID, freed); err != nil { // first: their slots may be others' since
		return err
	}
	if err := r.reopen(ctx, s.ID, confirmed); err != nil {
		return err
	}
	return r.write(ctx, s, missing)
}

// freed cancels orders that the counter has released: it does so only for what the ledger has freed, in a
// commit that its backup lacks.
func (r *repair) freed(ctx context.Context, saleID string, rows []*store.Order) error {
	const why = "the counter had released it: the ledger lost how it ended"
	var ids []sale.OrderID
	for _, row := range rows {
		if row.State != sale.Unpaid {
			r.report.list("sale %s: order %s of user %s is %s, but %s", saleID, row.ID, row.UserID, row.State, why)
			continue
		}
		ids = append(ids, row.ID)
	}
	if len(ids) == 0 {
		return nil
	}
	step := Step{Kind: FreeOrder, Sale: saleID, Count: len(ids), Orders: first(ids), What: fmt.Sprintf("%d unpaid orders are cancelled, each because %s", len(ids), why)}
	return r.do(ctx, step, func() error {
		for _, id := range ids {
			err := r.Ledger.CancelLost(ctx, id, why)
			if err != nil && !errors.Is(err, store.ErrNotCancellable) { // it has moved on meanwhile: the next audit says how
				return fmt.Errorf("order %s: %w", id, err)
			}
		}
		return nil
	})
}

// reopen sends the releases of orders again that are inactive here and confirmed there.
func (r *repair) reopen(ctx context.Context, saleID string, ids []sale.OrderID) error {
	if len(ids) == 0 {
		return nil
	}
	step := Step{Kind: Release, Sale: saleID, Count: len(ids), Orders: first(ids), What: fmt.Sprintf("the units of %d orders that are over in the ledger are released again", len(ids))}
	return r.do(ctx, step, func() error {
		var reopened int64
		for page := range slices.Chunk(ids, store.MaxPage) {
			n, err := r.Ledger.ReopenOutbox(ctx, page...)
			if err != nil {
				return err
			}
			reopened += n
		}
		if missing := int64(len(ids)) - reopened; missing > 0 {
			r.report.list("sale %s: %d of the orders %v ... have no release in the ledger: they were never counted as sold there", saleID, missing, first(ids))
		}
		return nil
	})
}

// write writes orders from their confirmed holds, by the path of every order: what the consumer wrote
// meanwhile is known, and a slot has one order.
func (r *repair) write(ctx context.Context, s *store.Sale, holds []client.Hold) error {
	if len(holds) == 0 {
		return nil
	}
	slices.SortFunc(holds, func(a, b client.Hold) int { return cmp.Compare(a.Order, b.Order) })
	// Their payments come first: no deadline may pass between the two.
	holds, err := r.paymentsOf(ctx, s, holds)
	if err != nil || len(holds) == 0 {
		return err
	}
	ids := make([]sale.OrderID, len(holds))
	accepted := make([]store.Accepted, len(holds))
	var units int64
	for i := range holds {
		h := &holds[i]
		ids[i], accepted[i] = h.Order, store.Accepted{Binding: h.Binding, Key: h.Key, AcceptedAt: time.UnixMilli(h.ReservedAt)}
		units += h.Quantity
	}
	step := Step{Kind: WriteOrder, Sale: s.ID, Count: len(ids), Orders: first(ids), What: fmt.Sprintf(
		"%d orders (%d units) are written as unpaid from their confirmed holds, with a new deadline", len(ids), units)}
	return r.do(ctx, step, func() error {
		for page := range slices.Chunk(accepted, store.MaxBatch) {
			report, err := r.Ledger.WriteOrders(ctx, page)
			if err != nil {
				return err
			}
			for _, result := range report.Results {
				if result.Outcome != store.Written && result.Outcome != store.Known {
					r.report.list("sale %s: order %s is confirmed at the counter; the ledger says %s: %s", s.ID, result.Order, result.Outcome, result.Why)
				}
			}
		}
		return nil
	})
}

// releases settles what the ledger could not tell the counter, and lets parked messages be decided.
func (r *repair) releases(ctx context.Context, saleID string) error {
	var gone, again []sale.OrderID
	for after := sale.OrderID(0); ; {
		rows, err := r.Ledger.UnfinishedOutbox(ctx, after, store.MaxPage)
		if err != nil {
			return err
		}
		for i := range rows {
			after = rows[i].OrderID
			if rows[i].SaleID != saleID {
				continue
			}
			_, err := r.Counter.Order(ctx, rows[i].OrderID)
			switch {
			case errors.Is(err, client.ErrNoOrder):
				gone = append(gone, rows[i].OrderID)
			case err != nil:
				return fmt.Errorf("asking for order %s: %w", rows[i].OrderID, err)
			case rows[i].State == store.OutboxParked:
				again = append(again, rows[i].OrderID)
			}
		}
		if len(rows) < store.MaxPage {
			break
		}
	}
	if len(gone) > 0 {
		step := Step{Kind: FinishRelease, Sale: saleID, Count: len(gone), Orders: first(gone), What: fmt.Sprintf("%d releases are finished: the counter was rebuilt without their units", len(gone))}
		err := r.do(ctx, step, func() error {
			for page := range slices.Chunk(gone, store.MaxPage) {
				if err := r.Ledger.FinishOutbox(ctx, "unknown to the counter, which was rebuilt without it", page...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := r.reopen(ctx, saleID, again); err != nil {
		return err
	}
	return r.decide(ctx, saleID)
}

// decide makes the sale's parked messages due: the counter knows their orders again, or never will.
func (r *repair) decide(ctx context.Context, saleID string) error {
	waiting, err := r.messages(ctx)
	if err != nil {
		return err
	}
	var rows []int64
	var ids []sale.OrderID
	for _, c := range waiting.claims {
		if c.Sale != saleID || c.from != "parked" {
			continue
		}
		_, err := r.Counter.Order(ctx, c.Order)
		switch {
		case errors.Is(err, client.ErrNoOrder):
			known, err := r.Ledger.OrdersByIDs(ctx, []sale.OrderID{c.Order})
			if err != nil {
				return err
			}
			if len(known) == 0 {
				r.report.list("sale %s: parked order %s of user %s: the counter does not know it, though it knows the sale: it was rebuilt without it", saleID, c.Order, c.User)
			}
		case err != nil:
			return fmt.Errorf("asking for order %s: %w", c.Order, err)
		default:
			ids = append(ids, c.Order)
			rows = append(rows, waiting.parked[c.Order]...)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	step := Step{Kind: RetryMessage, Sale: saleID, Count: len(rows), Orders: first(ids), What: fmt.Sprintf("%d parked messages are decided at once", len(rows))}
	return r.do(ctx, step, func() error {
		for page := range slices.Chunk(rows, store.MaxPage) {
			if _, err := r.Ledger.DueNow(ctx, page...); err != nil {
				return err
			}
		}
		return nil
	})
}
