package consumer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/consumer"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// endless is a ledger whose backlogs never end.
type endless struct {
	*ledger
	stopped atomic.Bool
	rounds  [3]atomic.Int64 // sweep, outbox, parked
	late    [3]atomic.Int64 // rounds that were begun after the stop
}

func (e *endless) round(of int) {
	e.rounds[of].Add(1)
	if e.stopped.Load() {
		e.late[of].Add(1)
	}
}

func (e *endless) CancelDue(_ context.Context, limit int) (store.SweepReport, error) {
	e.round(0)
	return store.SweepReport{Cancelled: limit}, nil
}

func (e *endless) ClaimOutbox(_ context.Context, limit int, _ time.Duration) ([]store.OutboxRow, error) {
	e.round(1)
	rows := make([]store.OutboxRow, limit)
	for i := range rows {
		rows[i].OrderID = sale.OrderID(i + 1)
	}
	return rows, nil
}

func (e *endless) ClaimParked(_ context.Context, limit int, _ time.Duration) ([]store.ParkedMessage, error) {
	e.round(2)
	rows := make([]store.ParkedMessage, limit)
	for i := range rows {
		rows[i].ID, rows[i].Body = int64(i+1), []byte("no order")
	}
	return rows, nil
}

// TestDrainWithBacklog: a stopping consumer finishes the round of each loop and begins no other one,
// however much waits.
func TestDrainWithBacklog(t *testing.T) {
	w := newWorld(t, 100, time.Hour)
	w.cfg.OutboxBatch, w.cfg.SweepBatch = 1, 1
	e := &endless{ledger: w.ledger}
	r := w.start(consumer.WithLedger(e))
	for i := range e.rounds {
		w.eventually("each loop goes on without a pause", func() bool { return e.rounds[i].Load() >= 3 })
	}
	r.cancel()
	e.stopped.Store(true)
	r.stop(t)
	for i := range e.late {
		if n := e.late[i].Load(); n > 1 {
			t.Errorf("loop %d began %d rounds after the stop", i, n)
		}
	}
}
