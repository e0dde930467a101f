package consumer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"headgate.example/consumer"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

var databases = map[string]func(testing.TB) *store.Store{"sqlite": storetest.SQLite, "mysql": storetest.MySQL}

// TestSeveralConsumers: three consumers share queue and ledger, every message comes twice, buyers
// cancel meanwhile, and the units of what they cancelled come back once.
func TestSeveralConsumers(t *testing.T) {
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			w := newWorldOn(t, open(t), 1000, time.Hour)
			w.cfg.BatchSize = 20
			orders := w.many(400, sale.Held)
			for range 3 {
				w.start()
			}
			for i := 0; i < len(orders); i += 40 {
				w.publishOrders(orders[i : i+40]...)
				w.publishOrders(orders[i : i+40]...)
			}
			cancelled := orders[:50]
			for _, a := range cancelled {
				w.eventually("the order can be cancelled", func() bool {
					_, err := w.store.CancelOrder(context.Background(), a.Order, a.User)
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Fatal(err)
					}
					return err == nil
				})
			}
			w.drained()
			w.states(sale.Cancelled, cancelled...)
			w.states(sale.Unpaid, orders[50:]...)
			w.eventually("the outbox is empty", func() bool { return w.backlog().OutboxDue == 0 })
			for _, a := range cancelled {
				if state := w.counter.state(a.Order); state != sale.Released {
					t.Fatalf("the hold of cancelled order %s is %s", a.Order, state)
				}
			}
			if b := w.backlog(); b.DeadLetters+b.Parked+b.OutboxParked != 0 {
				t.Fatalf("backlog %+v", b)
			}
			w.check(orders...)
		})
	}
}

// BenchmarkConsume takes messages from the embedded queue into the ledger; orders/s is what counts.
func BenchmarkConsume(b *testing.B) {
	for name, open := range databases {
		b.Run(name, func(b *testing.B) {
			const size = 5000
			w := newWorldOn(b, open(b), sale.MaxUnits, time.Hour)
			w.cfg.Linger = consumer.DefaultConfig().Linger
			b.StopTimer()
			for range b.N {
				for range size / 500 {
					w.publishOrders(w.many(500, sale.Held)...)
				}
				b.StartTimer()
				r := w.start()
				w.drained()
				b.StopTimer()
				r.stop(b)
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "orders/s")
		})
	}
}
