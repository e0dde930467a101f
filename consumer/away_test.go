package consumer_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/consumer"
	"headgate.example/lib/sale"
)

// TestDatabaseAway: consumption pauses and keeps its deliveries: no nack, no redelivery.
func TestDatabaseAway(t *testing.T) {
	w := newWorld(t, 1000, time.Hour)
	w.cfg.BatchSize = 10
	var away atomic.Bool
	away.Store(true)
	w.ledger.beforeWrite(func(ctx context.Context) (context.Context, error) {
		if away.Load() {
			return ctx, errors.New("connection refused")
		}
		return ctx, nil
	})
	orders := w.many(50, sale.Held)
	w.publishOrders(orders...)
	w.start()
	w.eventually("the batch was tried again", func() bool { return w.ledger.writes.Load() >= 3 })
	if depth := w.depth(); depth.Ready+depth.Unacked != 50 || depth.Unacked < 10 || depth.Dead != 0 {
		t.Fatalf("while the database is away the queue has %+v: the batch must stay in hand", depth)
	}
	w.noRow(orders...)
	away.Store(false)
	w.drained()
	w.states(sale.Unpaid, orders...)
	w.check(orders...)
}

// TestCounterAway: a short absence only delays.
func TestCounterAway(t *testing.T) {
	w := newWorld(t, 1000, time.Hour)
	w.counter.setAway(1, true)
	orders := w.many(20, sale.Held)
	w.publishOrders(orders...)
	r := w.start()
	w.eventually("the counter was asked again", func() bool { n, _ := w.counter.calls(); return n >= 3 })
	if report := r.rt.Health.Check(context.Background()); !report.Degraded() || !report.Ready() {
		t.Fatalf("health with the counter away: %+v, want degraded and ready", report)
	}
	if depth := w.depth(); depth.Unacked != 20 {
		t.Fatalf("while the counter is away the queue has %+v", depth)
	}
	w.counter.setAway(1, false)
	w.drained()
	w.states(sale.Unpaid, orders...)
	if b := w.backlog(); b.Parked != 0 {
		t.Fatalf("a short absence parked %d messages", b.Parked)
	}
	w.check(orders...)
}

// TestCounterAwayForLong: after park_after the ids are parked, acknowledged, and decided from there.
func TestCounterAwayForLong(t *testing.T) {
	w := newWorld(t, 1000, time.Hour)
	clock := newManualClock()
	w.counter.setAway(1, true)
	orders := w.many(20, sale.Held)
	w.publishOrders(orders...)
	w.start(consumer.WithClock(clock))
	w.eventually("the counter was asked", func() bool { n, _ := w.counter.calls(); return n >= 1 })
	clock.advance(w.cfg.ParkAfter - time.Second)
	w.eventually("the counter was asked again", func() bool {
		clock.advance(time.Millisecond)
		n, _ := w.counter.calls()
		return n >= 2
	})
	if depth := w.depth(); depth.Unacked != 20 {
		t.Fatalf("before park_after the queue has %+v", depth)
	}
	w.eventually("the queue is empty", func() bool { clock.advance(time.Second); return w.depth().Empty() })
	if b := w.backlog(); b.Parked != 20 {
		t.Fatalf("%d messages are parked, want 20", b.Parked)
	}
	w.noRow(orders...)
	w.counter.setAway(1, false)
	w.eventually("nothing is parked", func() bool { clock.advance(time.Second); return w.backlog().Parked == 0 })
	w.states(sale.Unpaid, orders...)
	w.check(orders...)
}

// TestOneShardAway: the others' orders go on at once, and once the shard has been away for long, later
// batches do not wait for it at all.
func TestOneShardAway(t *testing.T) {
	w := newWorld(t, 1000, time.Hour)
	clock := newManualClock()
	w.counter.setAway(2, true)
	here, there := w.mintAt(1, sale.Held), w.mintAt(2, sale.Held)
	w.publishOrders(there, here)
	w.start(consumer.WithClock(clock))
	w.states(sale.Unpaid, here)
	w.eventually("its order is acknowledged", func() bool { return w.depth().Unacked == 1 })
	w.eventually("the waiting order is parked", func() bool { clock.advance(time.Second); return w.depth().Empty() })
	later, fine := w.mintAt(2, sale.Held), w.mintAt(1, sale.Held)
	w.publishOrders(later, fine)
	w.drained() // with the clock standing still
	w.states(sale.Unpaid, fine)
	w.noRow(there, later)
	w.counter.setAway(2, false)
	w.eventually("nothing is parked", func() bool { clock.advance(time.Second); return w.backlog().Parked == 0 })
	w.states(sale.Unpaid, there, later)
	w.check(here, there, later, fine)
}

// TestDrain: the batch in hand is finished and acknowledged, the rest returns to the queue.
func TestDrain(t *testing.T) {
	w := newWorld(t, 1000, time.Hour)
	w.cfg.BatchSize, w.cfg.Workers = 10, 1
	entered, leave := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	w.ledger.beforeWrite(func(ctx context.Context) (context.Context, error) {
		if once.CompareAndSwap(false, true) {
			close(entered)
			<-leave
		}
		return ctx, nil
	})
	orders := w.many(100, sale.Held)
	w.publishOrders(orders...)
	r := w.start()
	<-entered
	r.cancel()
	close(leave)
	r.stop(t)
	totals, err := w.store.SaleTotals(context.Background(), saleID)
	if err != nil {
		t.Fatal(err)
	}
	if depth := w.depth(); totals.ActiveOrders < 1 || totals.ActiveOrders > 10 || depth.Unacked != 0 || depth.Ready != 100-int(totals.ActiveOrders) {
		t.Fatalf("after the drain the ledger has %d orders of a batch of at most 10, the queue %+v", totals.ActiveOrders, depth)
	}
	w.start()
	w.drained()
	w.states(sale.Unpaid, orders...)
	w.check(orders...)
}

// TestDrainWhileWaiting: a consumer that waits for something that is away stops at once.
func TestDrainWhileWaiting(t *testing.T) {
	for what, arm := range map[string]func(w *world){
		"counter": func(w *world) { w.counter.setAway(1, true) },
		"database": func(w *world) {
			w.ledger.beforeWrite(func(ctx context.Context) (context.Context, error) { return ctx, errors.New("connection refused") })
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, 100, time.Hour)
			arm(w)
			orders := w.many(20, sale.Held)
			w.publishOrders(orders...)
			r := w.start(consumer.WithClock(newManualClock())) // nothing but the drain can end its wait
			w.eventually("the counter was asked", func() bool { n, _ := w.counter.calls(); return n >= 1 })
			r.stop(t)
			if depth := w.depth(); depth.Ready != 20 || depth.Unacked != 0 {
				t.Fatalf("after the drain the queue has %+v, want everything back", depth)
			}
		})
	}
}

// TestQueueAway: a queue that fails to deliver is asked again.
func TestQueueAway(t *testing.T) {
	w := newWorld(t, 100, time.Hour)
	w.queue.FailReceive(errors.New("cut"), errors.New("cut"))
	orders := w.many(20, sale.Held)
	w.publishOrders(orders...)
	w.start()
	w.drained()
	w.states(sale.Unpaid, orders...)
	w.check(orders...)
}
