package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"headgate.example/lib/store"
)

// Limits of a Behaviour.
const (
	MaxDelayMillis = 24 * 60 * 60 * 1000
	MaxRepeat      = 20
)

// Behaviour is what the sandbox does wrong, for tests and rehearsals. The zero value is a good
// provider. It holds for payments that are paid from then on, on every backend.
type Behaviour struct {
	DelayMillis int64 `json:"delay_ms" minimum:"0" maximum:"86400000" doc:"Callbacks come so much later."`
	Repeat      int   `json:"repeat" minimum:"0" maximum:"20" doc:"Each callback comes so many times more."`
	Reorder     bool  `json:"reorder" doc:"The callback that the buyer waits on the page comes after the one that he paid."`
	Forge       bool  `json:"forge" doc:"Callbacks that claim other sums and orders come besides, with signatures that do not match."`
	Drop        bool  `json:"drop" doc:"No callback comes."`
	Late        bool  `json:"late" doc:"Payments are taken after they expired."`
	Silent      bool  `json:"silent" doc:"The sandbox does not answer when asked how a payment stands, or for a refund."`
}

func (b *Behaviour) validate() error {
	if b.DelayMillis < 0 || b.DelayMillis > MaxDelayMillis || b.Repeat < 0 || b.Repeat > MaxRepeat {
		return fmt.Errorf("sandbox: delay_ms must be 0 to %d, repeat 0 to %d", int64(MaxDelayMillis), MaxRepeat)
	}
	return nil
}

// Behaviour is what the sandbox was last told.
func (s *Sandbox) Behaviour(ctx context.Context) (Behaviour, error) {
	var b Behaviour
	text, err := s.books.SandboxBehaviour(ctx)
	if err != nil || text == "" {
		return b, err
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return b, fmt.Errorf("sandbox: its behaviour in the database cannot be read: %w", err)
	}
	return b, nil
}

// SetBehaviour tells the sandbox how to behave from now on.
func (s *Sandbox) SetBehaviour(ctx context.Context, b Behaviour) error {
	if err := b.validate(); err != nil {
		return err
	}
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return s.books.SetSandboxBehaviour(ctx, string(text))
}

// reorderBy is how much later the first callback comes when the sandbox reorders.
const reorderBy = 300 * time.Millisecond

// callbacks are those of a payment that was just paid. A copy comes with a pause of its own after the
// first, so that copies arrive among other payments' callbacks.
func (s *Sandbox) callbacks(row *store.SandboxPayment, b *Behaviour, now time.Time) []store.SandboxCallback {
	var list []store.SandboxCallback
	add := func(c callback, due time.Time, signed bool) {
		body, err := json.Marshal(c)
		if err != nil {
			panic(fmt.Sprintf("sandbox: encoding a callback: %v", err)) // plain fields always encode
		}
		signature := s.sign(callbackLabel, string(body))
		if !signed {
			signature = s.sign(callbackLabel, "another text")
		}
		list = append(list, store.SandboxCallback{Reference: row.Reference, Body: string(body), Signature: signature, Once: !signed, DueAt: due})
	}
	paid := callback{
		Version: 1, Event: eventPaid, Reference: row.Reference, Order: row.OrderID,
		AmountMinor: row.AmountMinor, Currency: row.Currency, At: now.UnixMilli(),
	}
	waiting := paid
	waiting.Event = eventWaiting
	due := now.Add(time.Duration(b.DelayMillis) * time.Millisecond)
	if b.Forge {
		cheap, other := paid, paid
		cheap.AmountMinor, other.Order = 1, paid.Order+1
		add(cheap, due, false)
		add(other, due, false)
	}
	if b.Drop {
		return list
	}
	for i := range 1 + b.Repeat {
		at := due.Add(time.Duration(i) * 100 * time.Millisecond)
		first := at
		if b.Reorder {
			first = at.Add(reorderBy)
		}
		add(waiting, first, true)
		add(paid, at, true)
	}
	return list
}
