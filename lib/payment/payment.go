package payment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"headgate.example/lib/sale"
)

// Errors that callers tell apart with errors.Is. Any other error is an unknown outcome: each call may
// be repeated.
var (
	// ErrForged is a callback whose signature does not match: nothing in it may be believed.
	ErrForged = errors.New("the callback is not signed by the provider")
	// ErrRefused is a provider's no, which asking again by itself does not change.
	ErrRefused = errors.New("the provider refuses")
	// ErrUnknownReference is a payment that the provider never heard of: it was not begun, or its Begin
	// is still on its way.
	ErrUnknownReference = errors.New("the provider never heard of the payment")
)

// MaxReferenceBytes bounds a reference.
const MaxReferenceBytes = 128

// Request is a payment to begin. Amounts are in the currency's minor unit.
type Request struct {
	Reference   string // ours; the same reference is the same payment, however often it is begun
	Order       sale.OrderID
	AmountMinor int64
	Currency    string
	ExpiresAt   time.Time // from then on the provider must not take the money
}

// State is how a payment stands at the provider.
type State string

// The states. Closed is the provider's promise that it will not be paid any more: nobody asks again, and
// should money come all the same, only a callback can tell.
const (
	Open   State = "open"
	Paid   State = "paid"
	Closed State = "closed"
)

// Notice is what a provider says of a payment, in a callback or when asked.
type Notice struct {
	Reference   string
	State       State
	AmountMinor int64     // that came; more than 0 when Paid
	Currency    string    // ISO 4217, three letters
	At          time.Time // when, by the provider's clock
}

// Check names what cannot be true of a notice that money came, or could not be kept: such a notice says
// nothing, and is asked for again.
func (n *Notice) Check() error {
	switch {
	case n.State != Paid:
		return nil
	case n.AmountMinor <= 0:
		return fmt.Errorf("paid, but the amount is %d", n.AmountMinor)
	case len(n.Currency) != 3:
		return fmt.Errorf("paid in the currency %.20q: want three letters", n.Currency)
	case n.At.Year() < 2000 || n.At.Year() > 9999:
		return fmt.Errorf("paid in the year %d", n.At.Year())
	}
	return nil
}

// Refund is money to give back.
type Refund struct {
	ID          string // the same id is the same refund, however often it is asked for
	Reference   string // of the payment
	AmountMinor int64
	Currency    string
	Reason      string
}

// Provider moves money. Its methods are safe for concurrent use.
type Provider interface {
	// Name is the provider's word in URLs and in the ledger: a-z, 0-9 and _.
	Name() string
	// Begin announces a payment and gives the address of the page where the buyer pays, absolute or
	// beginning with a slash. ErrRefused: never; so is a payment that is new to the provider once its
	// ExpiresAt has passed, however late the call arrives.
	Begin(ctx context.Context, r Request) (page string, err error)
	// Verify reads a callback. ErrForged: its signature is not the provider's.
	Verify(header http.Header, body []byte) (Notice, error)
	// Query asks how a payment stands. ErrUnknownReference: the provider never heard of it. If it had
	// expired by then, by the provider's clock, it never will.
	Query(ctx context.Context, reference string) (Notice, error)
	// Refund gives a payment's money back. ErrRefused: not as things stand. An operator who has mended the cause has it
	// asked for again, under the same id: a driver must not answer with the refusal of before.
	Refund(ctx context.Context, r Refund) error
}
