package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// The second look. The first one reads the two sides at different moments, so what it finds may only
// have been on its way. States move one way (a row: none -> active -> inactive; a hold: held ->
// confirmed -> released), the ledger frees units before the counter hears of it, and the counter
// confirms before the ledger writes. Hence:
//
//	active order without a confirmed hold: read the counter, then the ledger. Still active: it was
//	  active all the time, and the counter had to say "confirmed" then.
//	confirmed hold without an active order: read the ledger, then what travels, then both sides again.
//	  Nothing travelled and neither side moved: no message and no release is left that would settle it.

// recheck looks again at every difference and judges it.
func (a *auditor) recheck(ctx context.Context, r *SaleReport, d *differences) error {
	if d.overflow > 0 {
		r.problem(NotSettled, "%d further ids differ; more than %d are not looked at again", d.overflow, maxDifferent)
	}
	if err := a.recheckOrders(ctx, r, d.noHold); err != nil {
		return err
	}
	return a.recheckHolds(ctx, r, d.noRow)
}

// recheckOrders judges active orders that had no confirmed hold.
func (a *auditor) recheckOrders(ctx context.Context, r *SaleReport, ids []sale.OrderID) error {
	holds, err := a.holdsOf(ctx, ids)
	if err != nil {
		return err
	}
	rows, err := a.rowsOf(ctx, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		row, found := rows[id]
		hold := holds[i]
		f := Finding{Order: id, Verdict: Violated, Hold: hold, Row: &row}
		switch {
		case !found:
			f.Row, f.What = nil, "was an active order a moment ago; now the ledger has no row of it"
		case !row.Active():
			continue // freed meanwhile
		case hold == nil:
			f.What = "is an active order, but the counter does not know it"
		case hold.State != sale.Confirmed:
			f.What = fmt.Sprintf("is an active order (%s), but the counter has it as %s", row.State, hold.State)
		case hold.Binding != row.Binding():
			f = otherBinding(row, *hold)
		default:
			r.Compared++ // confirmed meanwhile
			continue
		}
		r.find(f)
	}
	return nil
}

// recheckHolds judges confirmed holds that had no active order.
func (a *auditor) recheckHolds(ctx context.Context, r *SaleReport, suspects []client.Hold) error {
	if len(suspects) == 0 {
		return nil
	}
	rows, err := a.rowsOf(ctx, idsOf(suspects))
	if err != nil {
		return err
	}
	t, err := a.traffic(ctx)
	if err != nil {
		return err
	}
	var left []client.Hold
	for _, h := range suspects {
		row, found := rows[h.Order]
		switch {
		case found && row.Active():
			if row.Binding() != h.Binding {
				r.find(otherBinding(row, h))
			}
			r.Compared++
		case found && t.releases(), !found && t.brings():
			r.Travelling++
			r.Verdict = worse(r.Verdict, NotSettled)
		default:
			left = append(left, h)
		}
	}
	return a.judgeHolds(ctx, r, left)
}

// judgeHolds looks a last time at holds that nothing on its way explained.
func (a *auditor) judgeHolds(ctx context.Context, r *SaleReport, suspects []client.Hold) error {
	ids := idsOf(suspects)
	rows, err := a.rowsOf(ctx, ids)
	if err != nil {
		return err
	}
	holds, err := a.holdsOf(ctx, ids)
	if err != nil {
		return err
	}
	for i, h := range suspects {
		hold := holds[i]
		row, found := rows[h.Order]
		f := Finding{Order: h.Order, Verdict: Violated, Hold: hold}
		if found {
			f.Row = &row
		}
		age := a.options.Now().Sub(time.UnixMilli(h.ChangedAt))
		switch {
		case hold == nil:
			f.What = "was a confirmed hold a moment ago; now the counter does not know it"
		case hold.State != sale.Confirmed || found && row.Active():
			continue // settled meanwhile
		case found:
			f.What = fmt.Sprintf("is %s in the ledger, but its units are still confirmed at the counter and nothing is left to release them", row.State)
		case age < a.options.Grace:
			r.Travelling++
			f.Verdict, f.What = NotSettled, fmt.Sprintf("was confirmed %s ago and has no order yet", age.Round(time.Millisecond))
		default:
			f.What = fmt.Sprintf("was confirmed %s ago for user %s, and no order, message or dead letter is left of it", age.Round(time.Second), h.User)
		}
		r.find(f)
	}
	return nil
}

func idsOf(holds []client.Hold) []sale.OrderID {
	ids := make([]sale.OrderID, len(holds))
	for i := range holds {
		ids[i] = holds[i].Order
	}
	return ids
}

// rowsOf reads orders by id, page by page.
func (a *auditor) rowsOf(ctx context.Context, ids []sale.OrderID) (map[sale.OrderID]store.Order, error) {
	rows := make(map[sale.OrderID]store.Order, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), a.options.PageSize)
		found, err := a.ledger.OrdersByIDs(ctx, ids[:n])
		if err != nil {
			return nil, fmt.Errorf("reading orders in the ledger: %w", err)
		}
		for i := range found {
			rows[found[i].ID] = found[i]
		}
		ids = ids[n:]
	}
	return rows, nil
}

// holdsOf asks the counter for each id, many at once, which its client pipelines. nil: not known there.
func (a *auditor) holdsOf(parent context.Context, ids []sale.OrderID) ([]*client.Hold, error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	holds := make([]*client.Hold, len(ids))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(a.options.Concurrency, len(ids)) {
		workers.Go(func() {
			for i := range next {
				hold, err := a.counter.Order(ctx, ids[i])
				if errors.Is(err, client.ErrNoOrder) {
					continue
				}
				if err != nil {
					cancel(fmt.Errorf("reading order %s at the counter: %w", ids[i], err))
					return
				}
				holds[i] = &hold
			}
		})
	}
feed:
	for i := range ids {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	workers.Wait()
	return holds, context.Cause(ctx)
}
