package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// Coordinator is safe for concurrent use.
type Coordinator struct {
	counter Counter
	tickets Tickets
}

// New makes a Coordinator.
func New(counter Counter, tickets Tickets) *Coordinator {
	return &Coordinator{counter: counter, tickets: tickets}
}

// The reasons given with ABORT.
const (
	reasonRefused = "upstream refused"
	reasonNotSent = "upstream not reached"
)

// Buy carries the purchase as far as it goes before ctx ends. The context must not end with the
// buyer's connection: work that is cut in half is an unknown outcome.
func (c *Coordinator) Buy(ctx context.Context, upstream Upstream, r Request) Answer {
	if r.Ticket != nil {
		return c.retry(ctx, upstream, r)
	}
	return c.reserve(ctx, upstream, r)
}

// retry handles a request with a ticket: what became of its order decides.
func (c *Coordinator) retry(ctx context.Context, upstream Upstream, r Request) Answer {
	t := *r.Ticket
	r.Key = t.Key
	if !r.Stated {
		r.Quantity = t.Quantity
	}
	hold, err := c.counter.Order(ctx, t.Order)
	switch {
	case errors.Is(err, client.ErrNoOrder):
		return c.reserve(ctx, upstream, r) // long finished, and forgotten since
	case err != nil:
		return c.unknown(t, fmt.Errorf("ORDER: %w", err))
	case hold.Binding != t.Binding():
		return Answer{Code: problem.Internal, Order: t.Order, Reserved: true,
			Cause: fmt.Errorf("order %s is bound to %+v at the counter, its ticket says %+v", t.Order, hold.Binding, t.Binding())}
	case !hold.State.Live():
		return c.reserve(ctx, upstream, r) // that purchase did not happen: this press is a new one
	case r.Quantity != hold.Quantity:
		return alreadyOrdered(t.Order, hold.Quantity)
	case hold.State == sale.Confirmed:
		return Answer{Accepted: true, Order: t.Order, Reserved: true}
	}
	t.ExpiresAt = hold.ExpiresAt
	return c.forward(ctx, upstream, t, false)
}

// reserve asks the counter for a hold.
func (c *Coordinator) reserve(ctx context.Context, upstream Upstream, r Request) Answer {
	got, err := c.counter.Reserve(ctx, r.Sale, r.User, r.Quantity, r.Key)
	if err != nil {
		return reserveFailed(err)
	}
	if got.Refused() {
		return refused(got)
	}
	t := auth.Ticket{Order: got.Order, Sale: r.Sale, User: r.User, Quantity: got.Quantity, Slot: got.Slot,
		Key: r.Key, ExpiresAt: got.ExpiresAt}
	if got.Code == client.CodeReserved {
		return c.forward(ctx, upstream, t, true)
	}
	switch own := r.Key != "" || r.Ticket != nil && r.Ticket.Order == got.Order; {
	case got.Quantity != r.Quantity:
		return alreadyOrdered(got.Order, got.Quantity)
	case got.State == sale.Held:
		return c.forward(ctx, upstream, t, false)
	case got.State == sale.Confirmed && own:
		return Answer{Accepted: true, Order: got.Order, Reserved: true}
	case got.State == sale.Confirmed:
		return alreadyOrdered(got.Order, got.Quantity)
	default:
		return Answer{Code: problem.Internal, Reserved: true,
			Cause: fmt.Errorf("RESERVE said already of order %s in state %s", got.Order, got.State)}
	}
}

// forward hands the held order to the upstream and ends the hold by what became of it. fresh means that
// no earlier press can have forwarded it.
func (c *Coordinator) forward(ctx context.Context, upstream Upstream, t auth.Ticket, fresh bool) Answer {
	text, err := c.tickets.SignTicket(t)
	if err != nil {
		return Answer{Code: problem.Internal, Reserved: true, Cause: err}
	}
	outcome := upstream.Forward(ctx, Order{Binding: t.Binding(), Ticket: text})
	switch {
	case outcome.Fate == Taken:
		return c.confirm(ctx, t)
	case outcome.Fate == Refused:
		return c.abort(ctx, t, reasonRefused, Answer{Reply: outcome.Reply})
	case outcome.Fate == NotSent && fresh:
		return c.abort(ctx, t, reasonNotSent, Answer{Code: cmp.Or(outcome.Code, problem.Unavailable), RetryAfter: outcome.RetryAfter,
			Detail: "The shop was not reached; nothing was ordered.", Cause: outcome.Cause})
	default: // NotSent after an earlier press says nothing of that one
		return c.unknown(t, outcome.Cause)
	}
}

func (c *Coordinator) confirm(ctx context.Context, t auth.Ticket) Answer {
	codes, err := c.counter.Confirm(ctx, t.Order)
	if err == nil && len(codes) != 1 {
		err = fmt.Errorf("%d answers for one order", len(codes))
	}
	if err != nil {
		return c.unknown(t, fmt.Errorf("CONFIRM: %w", err))
	}
	switch codes[0] {
	case client.ConfirmConfirmed:
		return Answer{Accepted: true, Order: t.Order, Reserved: true}
	case client.ConfirmExpired, client.ConfirmReleased:
		return Answer{Code: problem.Unavailable, Detail: "The reservation ended before the order was accepted; nothing was ordered. Try again.",
			Reserved: true, Cause: fmt.Errorf("CONFIRM of order %s said %s after the upstream took it", t.Order, codes[0])}
	default:
		return c.unknown(t, fmt.Errorf("CONFIRM of order %s said %s", t.Order, codes[0]))
	}
}

// abort gives the hold back and answers with otherwise, unless another press got through.
func (c *Coordinator) abort(ctx context.Context, t auth.Ticket, reason string, otherwise Answer) Answer {
	state, err := c.counter.Abort(ctx, t.Order, reason)
	if err != nil {
		return c.unknown(t, fmt.Errorf("ABORT: %w", err))
	}
	switch state {
	case client.StillConfirmed:
		return Answer{Accepted: true, Order: t.Order, Reserved: true}
	case client.Released, client.WasExpired:
		return otherwise
	default:
		return c.unknown(t, fmt.Errorf("ABORT of order %s said %q", t.Order, state))
	}
}

// unknown is the answer when the order may or may not stand.
func (c *Coordinator) unknown(t auth.Ticket, cause error) Answer {
	a := Answer{Code: problem.UnknownOutcome, Order: t.Order, Reserved: true, Cause: cause,
		Detail: "It is not known yet whether the order was taken. Try again with this ticket in the header Headgate-Ticket."}
	text, err := c.tickets.SignTicket(t)
	if err != nil {
		a.Cause = errors.Join(cause, err)
	}
	a.Ticket = text
	return a
}

func alreadyOrdered(id sale.OrderID, quantity int64) Answer {
	return Answer{Code: problem.AlreadyOrdered, Order: id, Reserved: true,
		Detail: fmt.Sprintf("You have an order of quantity %d in this sale.", quantity)}
}

// reserveFailed maps an error of RESERVE. Nothing was forwarded, so that no order can come of it;
// a hold that may have been made is found again by the next press, or expires.
func reserveFailed(err error) Answer {
	var request *client.RequestError
	var away *client.AwayError
	switch {
	case errors.As(err, &away): // the part of the counter that serves this buyer; others buy on
		return Answer{Code: problem.Unavailable, RetryAfter: away.RetryAfter, Cause: fmt.Errorf("RESERVE: %w", err)}
	case errors.Is(err, client.ErrBusy):
		return Answer{Code: problem.Overloaded, Cause: fmt.Errorf("RESERVE: %w", err)}
	case errors.Is(err, client.ErrUnavailable):
		return Answer{Code: problem.Unavailable, Cause: fmt.Errorf("RESERVE: %w", err)}
	case errors.Is(err, client.ErrNoSale):
		return Answer{Code: problem.NotFound, Detail: "There is no such sale.", CounterSaid: true}
	case errors.Is(err, client.ErrForbidden), errors.As(err, &request):
		return Answer{Code: problem.Internal, Cause: fmt.Errorf("RESERVE: %w", err)}
	default: // not known, or our own deadline
		return Answer{Code: problem.Unavailable, Reserved: true, Cause: fmt.Errorf("RESERVE: %w", err)}
	}
}

// refused maps a refusal word of RESERVE.
func refused(got client.Reservation) Answer {
	code, ok := problem.FromRefusal(got.Code)
	if !ok {
		return Answer{Code: problem.Internal, Cause: fmt.Errorf("RESERVE answered %q, which this version does not know", got.Code)}
	}
	a := Answer{Code: code, CounterSaid: true}
	detail := got.Detail
	switch code {
	case problem.NotFound:
		a.Detail = "There is no such sale."
	case problem.NotOpen:
		a.OpensAt = detail
	case problem.SoldOut:
		a.Held = &detail
	case problem.Insufficient:
		a.Left = &detail
	}
	return a
}
