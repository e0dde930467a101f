package repair

import (
	"context"
	"fmt"
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// messages are the order messages that wait in the ledger, by what their tickets prove.
type messages struct {
	claims []claim
	parked map[sale.OrderID][]int64 // the parked ones' row numbers
}

// claim is what says that units of a sale are an order's.
type claim struct {
	sale.Binding
	key  string
	from string // order, parked or dead
	row  *store.Order
}

// messages reads what waits, once.
func (r *repair) messages(ctx context.Context) (*messages, error) {
	if r.waiting != nil {
		return r.waiting, nil
	}
	m := &messages{parked: map[sale.OrderID][]int64{}}
	for after := int64(0); ; {
		rows, err := r.Ledger.ListParked(ctx, after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			after = rows[i].ID
			if t, ok := r.prove("parked message", rows[i].ID, rows[i].Body); ok {
				m.claims = append(m.claims, claim{Binding: t.Binding(), key: t.Key, from: "parked"})
				m.parked[t.Order] = append(m.parked[t.Order], rows[i].ID)
			}
		}
		if len(rows) < store.MaxPage {
			break
		}
	}
	for after := int64(0); ; {
		letters, err := r.Ledger.ListDeadLetters(ctx, after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		for i := range letters {
			after = letters[i].ID
			if t, ok := r.prove("dead letter", letters[i].ID, letters[i].Body); ok {
				m.claims = append(m.claims, claim{Binding: t.Binding(), key: t.Key, from: "dead"})
			}
		}
		if len(letters) < store.MaxPage {
			break
		}
	}
	r.waiting = m
	return m, nil
}

// prove reads a message's ticket; a message without a good one stands for no units.
func (r *repair) prove(what string, id int64, body []byte) (auth.Ticket, bool) {
	_, ticket, err := r.Tickets.VerifyOrder(body)
	if err != nil {
		r.report.list("%s %d proves no order and is passed over: %v", what, id, err)
		return auth.Ticket{}, false
	}
	return ticket, true
}

// queueIsQuiet waits until the queue has been empty for the time to settle. With the consumer running and
// the counter answering, each message is then in the ledger: as an order, parked, or as a dead letter.
func (r *repair) queueIsQuiet(ctx context.Context) (bool, error) {
	if r.quiet != nil {
		return *r.quiet, nil
	}
	look := func() (bool, error) {
		depth, err := r.Depth(ctx)
		if err != nil {
			return false, fmt.Errorf("reading the queue's depth: %w", err)
		}
		quiet := depth.Empty() && depth.Dead <= 0
		if !quiet {
			r.report.wait("messages are still in the queue (%s): let the consumer run until it is empty, it keeps in the ledger what the counter does not know", depth)
		}
		return quiet, nil
	}
	quiet, err := look()
	if err == nil && quiet && r.options.Apply {
		timer := time.NewTimer(r.options.Settle)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		quiet, err = look()
	}
	if err != nil {
		return false, err
	}
	r.quiet = &quiet
	return quiet, nil
}
