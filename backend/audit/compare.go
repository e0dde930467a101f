package audit

import (
	"context"
	"fmt"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// maxDifferent bounds the ids that are kept to be read again; a system this far apart is not settled.
const maxDifferent = 200_000

// differences are ids that the first look found on one side only, or with two bindings.
type differences struct {
	// noHold are active orders without a confirmed hold of the same binding.
	noHold []sale.OrderID
	// noRow are confirmed holds without an active order.
	noRow []client.Hold
	// overflow counts what did not fit.
	overflow int64
}

func (d *differences) full() bool { return len(d.noHold)+len(d.noRow) >= maxDifferent }

// pages reads pages one ahead, so that reading and comparing overlap. The goroutine ends with its
// pages or its context.
type pages[T any] struct {
	next chan page[T]
	now  []T
	err  error
}

type page[T any] struct {
	rows []T
	err  error
}

func readPages[T any](ctx context.Context, id func(*T) sale.OrderID,
	read func(ctx context.Context, after sale.OrderID) ([]T, error),
) *pages[T] {
	p := &pages[T]{next: make(chan page[T], 1)}
	go func() {
		defer close(p.next)
		var after sale.OrderID
		for {
			rows, err := read(ctx, after)
			if err == nil && len(rows) > 0 && id(&rows[len(rows)-1]) <= after {
				err = fmt.Errorf("a page does not begin after id %s", after)
			}
			select {
			case p.next <- page[T]{rows, err}:
			case <-ctx.Done():
				return
			}
			if err != nil || len(rows) == 0 { // a page may be shorter than asked for: only an empty one is the last
				return
			}
			after = id(&rows[len(rows)-1])
		}
	}()
	return p
}

// head is the next row, or nil at the end or after an error.
func (p *pages[T]) head(ctx context.Context) *T {
	for len(p.now) == 0 {
		select {
		case next, more := <-p.next:
			if !more {
				return nil
			}
			if next.err != nil {
				p.err = next.err
				return nil
			}
			p.now = next.rows
			if len(p.now) == 0 {
				return nil
			}
		case <-ctx.Done():
			p.err = context.Cause(ctx)
			return nil
		}
	}
	return &p.now[0]
}

func (p *pages[T]) skip() { p.now = p.now[1:] }

// wait lets the reader end; ctx must be cancelled before.
func (p *pages[T]) wait() {
	for range p.next { //nolint:revive // drained
	}
}

// compare merges both sides by ascending id: every active order against every confirmed hold.
func (a *auditor) compare(parent context.Context, r *SaleReport) (*differences, error) {
	ctx, cancel := context.WithCancel(parent)
	size := a.options.PageSize
	orders := readPages(ctx, func(o *store.Order) sale.OrderID { return o.ID },
		func(ctx context.Context, after sale.OrderID) ([]store.Order, error) {
			return a.ledger.ActiveOrders(ctx, r.Sale, after, size)
		})
	holds := readPages(ctx, func(h *client.Hold) sale.OrderID { return h.Order },
		func(ctx context.Context, after sale.OrderID) ([]client.Hold, error) {
			return a.counter.Holds(ctx, r.Sale, sale.Confirmed, after, size)
		})
	defer func() {
		cancel()
		orders.wait()
		holds.wait()
	}()
	d := merge(ctx, r, orders, holds)
	if holds.err != nil {
		return nil, fmt.Errorf("listing the counter's confirmed holds: %w", holds.err)
	}
	if orders.err != nil {
		return nil, fmt.Errorf("listing the ledger's active orders: %w", orders.err)
	}
	return d, nil
}

func merge(ctx context.Context, r *SaleReport, orders *pages[store.Order], holds *pages[client.Hold]) *differences {
	d := &differences{}
	for {
		o, h := orders.head(ctx), holds.head(ctx)
		if o == nil && h == nil || orders.err != nil || holds.err != nil {
			return d
		}
		switch {
		case h == nil || o != nil && o.ID < h.Order:
			if d.full() {
				d.overflow++
			} else {
				d.noHold = append(d.noHold, o.ID)
			}
			orders.skip()
		case o == nil || h.Order < o.ID:
			if d.full() {
				d.overflow++
			} else {
				d.noRow = append(d.noRow, *h)
			}
			holds.skip()
		default:
			if o.Binding() != h.Binding {
				r.find(otherBinding(*o, *h))
			}
			r.Compared++
			orders.skip()
			holds.skip()
		}
	}
}

// otherBinding is the finding of an id that stands for two things.
func otherBinding(o store.Order, h client.Hold) Finding {
	what := fmt.Sprintf("the ledger has it as %s, the counter as %s", show(o.Binding()), show(h.Binding))
	return Finding{Order: o.ID, Verdict: Violated, What: what, Hold: &h, Row: &o}
}

func show(b sale.Binding) string {
	return fmt.Sprintf("sale %s, user %s, %d units, slot %d", b.Sale, b.User, b.Quantity, b.Slot)
}
