package consumer

import (
	"context"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Counter is what the consumer asks of the counter; client.Client is one.
type Counter interface {
	// Confirm answers a code for each id, in order. An error says nothing about any of them.
	Confirm(ctx context.Context, ids ...sale.OrderID) ([]client.ConfirmCode, error)
	// Release gives the units of a confirmed order back; called only after the ledger's own commit.
	Release(ctx context.Context, id sale.OrderID, reason string) (string, error)
}

// Queue is where order messages come from, and where deadline messages wait; queue.Queue is one.
type Queue interface {
	Subscribe(ctx context.Context, topic string, opts queue.SubscribeOptions) (queue.Subscription, error)
	Publish(ctx context.Context, topic string, messages []queue.Message) []queue.Outcome // of deadline messages
	Ping(ctx context.Context) error
}

// Ledger is what the consumer needs of the ledger; store.Store is one.
type Ledger interface {
	OrderLedger
	ParkedLedger
	OutboxLedger
	PaymentLedger
	// CancelDue cancels up to limit unpaid orders past their deadline, and pauses sales that it cannot.
	CancelDue(ctx context.Context, limit int) (store.SweepReport, error)
	// CancelDueOrders does so for these orders alone, and tells how many of them are left unpaid.
	CancelDueOrders(ctx context.Context, ids []sale.OrderID) (store.SweepReport, error)
	Backlog(ctx context.Context) (store.Backlog, error)
	// Now is the database's clock.
	Now(ctx context.Context) (time.Time, error)
	Ping(ctx context.Context) error
}

// OrderLedger takes what a batch of messages becomes. Each call may be repeated.
type OrderLedger interface {
	WriteOrders(ctx context.Context, batch []store.Accepted) (store.WriteReport, error)
	AddDeadLetter(ctx context.Context, letter store.DeadLetter) error
	ParkMessages(ctx context.Context, after time.Duration, messages ...store.ParkedMessage) error
}

// ParkedLedger gives parked messages out again.
type ParkedLedger interface {
	ClaimParked(ctx context.Context, limit int, lease time.Duration) ([]store.ParkedMessage, error)
	RetryParked(ctx context.Context, after time.Duration, why string, ids ...int64) error
	FinishParked(ctx context.Context, ids ...int64) error
}

// OutboxLedger gives out the rows that tell the counter to release units.
type OutboxLedger interface {
	ClaimOutbox(ctx context.Context, limit int, lease time.Duration) ([]store.OutboxRow, error)
	FinishOutbox(ctx context.Context, answer string, ids ...sale.OrderID) error
	RetryOutbox(ctx context.Context, after time.Duration, why string, ids ...sale.OrderID) error
	ParkOutbox(ctx context.Context, why string, ids ...sale.OrderID) error
}

// Clock is time as the consumer waits by it.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
