package coordinator

import (
	"context"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// Counter is what the coordinator asks of the counter. *client.Client is one.
type Counter interface {
	Reserve(ctx context.Context, saleID, user string, quantity int64, key string) (client.Reservation, error)
	Order(ctx context.Context, id sale.OrderID) (client.Hold, error)
	Confirm(ctx context.Context, ids ...sale.OrderID) ([]client.ConfirmCode, error)
	Abort(ctx context.Context, id sale.OrderID, reason string) (string, error)
}

// Upstream takes orders. Forward must return when ctx ends, and must not repeat a request by itself.
type Upstream interface {
	Forward(ctx context.Context, order Order) Outcome
}

// Order is what is forwarded.
type Order struct {
	sale.Binding
	Ticket string // signed
}

// Fate is what became of a forwarded order.
type Fate uint8

// The fates.
const (
	Unknown Fate = iota // it may have been taken
	Taken               // taken durably
	Refused             // certainly not taken: the upstream said so
	NotSent             // certainly not taken: the upstream was never reached
)

// Outcome is a fate and, with Refused, whatever the Upstream wants passed on to the buyer.
type Outcome struct {
	Fate  Fate
	Cause error // why NotSent or Unknown, for the log
	// Code and RetryAfter are, with NotSent, what a buyer may be told: overloaded, or unavailable, which
	// is what "" stands for.
	Code       problem.Code
	RetryAfter time.Duration
	Reply      any // with Refused: handed back in Answer.Reply untouched
}

// Tickets signs tickets. *auth.Keyring is one.
type Tickets interface {
	SignTicket(auth.Ticket) (string, error)
}

// Request is one press of the buy button, its form and identity checked already.
type Request struct {
	Sale     string
	User     string
	Quantity int64
	// Stated reports that the buyer named the quantity. If not, a retry's quantity is its ticket's.
	Stated bool
	Key    string       // the Idempotency-Key, or ""
	Ticket *auth.Ticket // of a retry; signature, sale and user checked; nil without
}

// Answer is what the buyer may be told.
type Answer struct {
	// Accepted: the order stands, with 202. Otherwise Code says why not, unless Reply is set.
	Accepted bool
	Code     problem.Code
	Detail   string // a safe sentence, may be empty
	// Order is set when accepted, with already_ordered and with unknown_outcome.
	Order  sale.OrderID
	Ticket string // with unknown_outcome
	Reply  any    // the upstream's refusal, to be passed on

	OpensAt int64 // with not_open, milliseconds
	// RetryAfter is how long the counter is known not to decide; 0: not known.
	RetryAfter time.Duration
	Held, Left *int64

	// Reserved: the counter holds something for this user, or may do so. Later presses of the user in
	// this sale may be retries. A hold that was certainly given back is none.
	Reserved bool
	// CounterSaid: the refusal is the counter's own word on a new order.
	CounterSaid bool
	Cause       error // for the operator's log; nil when nothing is odd
}
