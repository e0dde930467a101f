package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.example/consumer"
	"headgate.example/counter/client"
	"headgate.example/lib/config"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

func TestOrdersBecomeRows(t *testing.T) {
	w := newWorld(t, 1000, time.Hour)
	w.cfg.BatchSize = 64
	orders := w.many(300, sale.Held)
	w.publishOrders(orders...)
	w.publishOrders(orders[:50]...) // published twice: a retry whose first publish was unknown
	w.start()
	w.drained()
	w.states(sale.Unpaid, orders...)
	w.check(orders...)
	for _, a := range orders {
		if state := w.counter.state(a.Order); state != sale.Confirmed {
			t.Fatalf("hold %s is %s, want confirmed: the coordinator may have died before its CONFIRM", a.Order, state)
		}
	}
	if b := w.backlog(); b.Parked+b.DeadLetters+b.OutboxDue != 0 {
		t.Fatalf("backlog %+v", b)
	}
}

// TestCrash: wherever in its batch a consumer dies, the redelivery leaves exactly one row of each order.
func TestCrash(t *testing.T) {
	crashed := errors.New("crashed")
	points := map[string]func(w *world){
		"after confirm": func(w *world) {
			w.ledger.beforeWrite(func(ctx context.Context) (context.Context, error) {
				w.ledger.crash()
				return ctx, crashed
			})
		},
		"before commit": func(w *world) { // the transaction is cut off and rolled back
			w.ledger.beforeWrite(func(ctx context.Context) (context.Context, error) {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				w.ledger.crash()
				return ctx, nil
			})
		},
		"after commit, before ack": func(w *world) {
			w.ledger.afterWrite(func() error {
				w.ledger.crash()
				return crashed
			})
		},
		"ack lost": func(w *world) {
			w.queue.FailSettling(errors.New("connection cut"))
			w.ledger.afterWrite(func() error { w.ledger.crash(); return nil })
		},
	}
	for name, arm := range points {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 100, time.Hour)
			orders := w.many(20, sale.Held)
			w.publishOrders(orders...)
			arm(w)
			first := w.start()
			w.eventually("the consumer has stopped", func() bool {
				select {
				case err := <-first.done:
					first.done <- err
					return true
				default:
					return false
				}
			})
			if depth := w.depth(); depth.Ready != len(orders) {
				t.Fatalf("after the crash the queue has %+v, want all %d messages back", depth, len(orders))
			}
			w.ledger.beforeWrite(nil)
			w.ledger.after.Store(nil)
			w.start()
			w.drained()
			w.states(sale.Unpaid, orders...)
			w.check(orders...)
		})
	}
}

// TestAckRefused: a queue that does not take an acknowledgement gets a new subscription.
func TestAckRefused(t *testing.T) {
	w := newWorld(t, 100, time.Hour)
	w.cfg.BatchSize = 5
	orders := w.many(30, sale.Held)
	w.queue.FailSettling(errors.New("disk full"), nil, errors.New("disk full"))
	w.publishOrders(orders...)
	w.start()
	w.drained()
	w.states(sale.Unpaid, orders...)
	w.check(orders...)
}

func TestSlotClash(t *testing.T) {
	w := newWorld(t, 10, time.Hour)
	first := w.mintFor(1, "ada", 1, sale.Held)
	second := w.mintFor(1, "ada", 1, sale.Held)
	w.publishOrders(first)
	w.start()
	w.states(sale.Unpaid, first)
	w.publishOrders(second)
	w.states(sale.Rejected, second)
	w.eventually("the rejected order's units are back", func() bool { return w.counter.state(second.Order) == sale.Released })
	w.drained()
	w.check(first, second)
	if state := w.counter.state(first.Order); state != sale.Confirmed {
		t.Fatalf("the first order's hold is %s", state)
	}
}

// TestExpired: the hold was gone before the message came.
func TestExpired(t *testing.T) {
	w := newWorld(t, 10, time.Hour)
	expired, released, held := w.mint(sale.Expired), w.mint(sale.Released), w.mint(sale.Held)
	w.publishOrders(expired, released, held)
	w.start()
	w.states(sale.OrderExpired, expired, released)
	w.states(sale.Unpaid, held)
	w.drained()
	w.check(expired, released, held)
	if _, releases := w.counter.calls(); releases != 0 {
		t.Fatalf("%d RELEASE for units that nobody holds", releases)
	}
}

// TestUnknown: an id that the counter does not know is never taken for expired. It is parked, and
// decided once the counter knows again.
func TestUnknown(t *testing.T) {
	w := newWorld(t, 10, time.Hour)
	unknown, fine := w.mint(0), w.mint(sale.Held)
	w.publishOrders(unknown, fine)
	w.start()
	w.states(sale.Unpaid, fine)
	w.drained()
	w.noRow(unknown)
	if b := w.backlog(); b.Parked != 1 {
		t.Fatalf("backlog %+v, want one parked message", b)
	}
	w.counter.set(unknown.Order, sale.Confirmed) // restored
	w.states(sale.Unpaid, unknown)
	w.eventually("nothing is parked", func() bool { return w.backlog().Parked == 0 })
	w.check(unknown, fine)
}

// TestPoison: messages that can never be read hold up nobody, and are kept whole.
func TestPoison(t *testing.T) {
	w := newWorld(t, 1000, time.Hour)
	good := w.many(100, sale.Held)
	forged := w.mint(sale.Held)
	bodies := [][]byte{
		[]byte("not json at all \x00\xff"),
		{},
		bytes.Replace(w.body(forged), []byte(`"ticket":"v1.k1.`), []byte(`"ticket":"v1.k1.e`), 1),
		[]byte(`{"version":99,"ticket":"x"}`),
		bytes.Repeat([]byte("x"), queue.MaxBodyBytes),
	}
	poison := len(bodies)
	for _, a := range good {
		bodies = append(bodies, w.body(a))
	}
	w.publish(bodies...)
	w.start()
	w.drained()
	w.states(sale.Unpaid, good...)
	w.noRow(forged)
	letters, err := w.store.ListDeadLetters(context.Background(), 0, 0)
	if err != nil || len(letters) != poison {
		t.Fatalf("%d dead letters, %v; want %d", len(letters), err, poison)
	}
	for _, letter := range letters {
		if !slices.ContainsFunc(bodies[:poison], func(body []byte) bool { return bytes.Equal(body, letter.Body) }) {
			t.Fatalf("the body of dead letter %d (%s) is not what was published", letter.ID, letter.Reason)
		}
		if letter.Reason == "" || letter.OrderID != 0 {
			t.Fatalf("dead letter %d: reason %q, order %s of a message that proves none", letter.ID, letter.Reason, letter.OrderID)
		}
	}
	w.check(good...)
}

// TestMismatch: another binding under a known id is never a redelivery.
func TestMismatch(t *testing.T) {
	w := newWorld(t, 10, time.Hour)
	order := w.mint(sale.Held)
	other := order
	other.Quantity = 2
	w.publishOrders(order, other)
	w.start()
	w.drained()
	w.states(sale.Unpaid, order)
	letters, err := w.store.ListDeadLetters(context.Background(), 0, 0)
	if err != nil || len(letters) != 1 || letters[0].OrderID != order.Order {
		t.Fatalf("dead letters %+v, %v", letters, err)
	}
	w.check(order)
}

// TestOverCeiling: a diverged sale is parked and paused; it does not hold up the queue.
func TestOverCeiling(t *testing.T) {
	w := newWorld(t, 1, time.Hour)
	first := w.mint(sale.Held)
	w.publishOrders(first)
	w.start()
	w.states(sale.Unpaid, first)
	over := w.mint(sale.Held)
	w.publishOrders(over)
	w.drained()
	w.noRow(over)
	diverged, err := w.store.SaleByID(context.Background(), saleID)
	if err != nil || diverged.Intent != store.IntentPaused || diverged.Alarm == "" {
		t.Fatalf("the sale is %+v, %v", diverged, err)
	}
	if b := w.backlog(); b.Parked != 1 {
		t.Fatalf("backlog %+v", b)
	}
	w.check(first, over)
}

func TestSweepAndRelease(t *testing.T) {
	w := newWorld(t, 100, time.Millisecond)
	orders := w.many(50, sale.Held)
	w.counter.loseReplies(20) // the counter does it, the answer is lost, the relay repeats
	w.publishOrders(orders...)
	w.start()
	w.states(sale.Cancelled, orders...)
	for _, a := range orders {
		w.eventually("the units are back at the counter", func() bool { return w.counter.state(a.Order) == sale.Released })
	}
	w.eventually("the outbox is empty", func() bool { return w.backlog().OutboxDue == 0 })
	if _, releases := w.counter.calls(); releases < len(orders)+20 {
		t.Fatalf("%d RELEASE for %d orders with 20 lost replies", releases, len(orders))
	}
	already := 0
	for _, a := range orders {
		row, err := w.store.OutboxByID(context.Background(), a.Order)
		if err != nil || row.State != store.OutboxDone {
			t.Fatalf("outbox row %+v, %v", row, err)
		}
		if row.Answer == client.Already {
			already++
		}
	}
	if already != 20 {
		t.Fatalf("%d rows were answered `already`, want the 20 whose first answer was lost", already)
	}
	w.check(orders...)
}

// TestContradiction: what the ledger freed and the counter says it never confirmed is for an operator.
func TestContradiction(t *testing.T) {
	w := newWorld(t, 100, time.Hour)
	answers := []string{client.StillHeld, client.UnknownOrder, client.WasExpired, client.Forgotten}
	orders := w.many(len(answers), sale.Held)
	w.publishOrders(orders...)
	r := w.start()
	w.states(sale.Unpaid, orders...)
	for i, answer := range answers {
		w.counter.answerRelease(orders[i].Order, answer)
		if _, err := w.store.CancelOrder(context.Background(), orders[i].Order, orders[i].User); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("all rows are settled", func() bool { return w.backlog().OutboxDue == 0 })
	for i, want := range []string{store.OutboxParked, store.OutboxParked, store.OutboxDone, store.OutboxDone} {
		row, err := w.store.OutboxByID(context.Background(), orders[i].Order)
		if err != nil || row.State != want || row.Answer != answers[i] {
			t.Fatalf("answer %s: row %+v, %v; want %s", answers[i], row, err, want)
		}
	}
	var text strings.Builder
	r.rt.Metrics.WritePrometheus(&text)
	for _, line := range []string{`headgate_consumer_alarms_total{kind="release_held"} 1`, `headgate_consumer_alarms_total{kind="release_unknown"} 1`, `headgate_consumer_orders_total{outcome="written"} 4`} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

func TestConfig(t *testing.T) {
	good := consumer.DefaultConfig()
	good.Database.Path = "ledger.db"
	good.TicketKeys = newWorld(t, 1, time.Hour).cfg.TicketKeys
	if err := config.Check(&good); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*consumer.Config){
		"ticket_keys":       func(c *consumer.Config) { c.TicketKeys = nil },
		"batch_size":        func(c *consumer.Config) { c.BatchSize = consumer.MaxBatchSize + 1 },
		"park_after":        func(c *consumer.Config) { c.ParkAfter = time.Hour },
		"service.drain_for": func(c *consumer.Config) { c.Service.DrainFor = c.Counter.Timeout },
		"database.path":     func(c *consumer.Config) { c.Database.Path = "" },
		"queue.driver":      func(c *consumer.Config) { c.Queue.Driver = "carrier pigeon" },
		"outbox_batch":      func(c *consumer.Config) { c.OutboxBatch = 0 },
		"outbox_concurrency": func(c *consumer.Config) { // a round of over ten minutes
			c.OutboxBatch, c.OutboxConcurrency, c.Counter.Timeout, c.Service.DrainFor = 1000, 16, 10*time.Second, time.Minute
		},
	} {
		c := good
		spoil(&c)
		if err := config.Check(&c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v, want a problem that names it", field, err)
		}
	}
}
