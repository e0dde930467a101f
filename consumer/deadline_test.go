package consumer_test

import (
	"context"
	"testing"
	"time"

	"headgate.example/consumer"
	"headgate.example/lib/queue"
	queueopen "headgate.example/lib/queue/open"
	"headgate.example/lib/queue/queuetest"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

// deadlineDepth is what waits among the deadline messages.
func (w *world) deadlineDepth() queue.Depth {
	w.t.Helper()
	depth, err := w.queue.Depth(context.Background(), consumer.DeadlineTopic)
	if err != nil {
		w.t.Fatal(err)
	}
	return depth
}

// lastSweep lets the sweep run once, before there are orders, and then not within the test.
func lastSweep(c *consumer.Config) { c.SweepInterval = 10 * time.Minute }

// TestDeadlines: deadline messages alone, the sweep alone, and both together end each order once, and
// its unit is given back.
func TestDeadlines(t *testing.T) {
	for name, change := range map[string]func(*consumer.Config){
		"messages": lastSweep,
		"sweep":    func(c *consumer.Config) { c.DeadlineMessages = false },
		"both":     func(*consumer.Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100, 300*time.Millisecond)
			change(&w.cfg)
			w.start()
			w.start() // two consumers
			orders := w.many(60, sale.Confirmed)
			w.publishOrders(orders[:30]...)
			w.publishOrders(orders[30:]...)
			w.states(sale.Cancelled, orders...)
			w.eventually("units are back at the counter", func() bool { return w.backlog().OutboxDue == 0 })
			w.eventually("no deadline message is left", func() bool { return w.deadlineDepth().Empty() })
			w.check(orders...)
			for _, a := range orders {
				if state := w.counter.state(a.Order); state != sale.Released {
					t.Fatalf("the counter has order %s %s", a.Order, state)
				}
			}
		})
	}
}

// TestDeadlinesRabbitMQ: the broker's delay queue alone ends orders, on RabbitMQ.
func TestDeadlinesRabbitMQ(t *testing.T) {
	w := newWorld(t, 100, 300*time.Millisecond)
	cfg := w.cfg.Queue
	queues["rabbitmq"](t, &cfg)
	opened, err := queueopen.Open(t.Context(), cfg, servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	w.queue = queuetest.NewFaulty(opened)
	lastSweep(&w.cfg)
	w.start()
	w.start()
	orders := w.many(40, sale.Confirmed)
	w.publishOrders(orders...)
	w.states(sale.Cancelled, orders...)
	w.check(orders...)
}

// TestDeadlineMessageTooEarly: a message whose orders are not due yet waits on; paid orders are left
// alone.
func TestDeadlineMessageTooEarly(t *testing.T) {
	w := newWorld(t, 100, 1200*time.Millisecond)
	lastSweep(&w.cfg)
	w.cfg.DeadlineMessages = false // the test's own is the only one
	b := w.bank()
	w.start(consumer.WithProvider(b))
	due, paid := w.mint(sale.Confirmed), w.mint(sale.Confirmed)
	w.publishOrders(due, paid)
	w.states(sale.Unpaid, due, paid)
	body := `{"version":1,"orders":["` + due.Order.String() + `","` + paid.Order.String() + `","9"]}`
	for _, outcome := range w.queue.Publish(context.Background(), consumer.DeadlineTopic, []queue.Message{{ID: "early", Body: []byte(body)}, {ID: "broken", Body: []byte("{")}}) {
		if outcome.Fate != queue.Confirmed {
			t.Fatal(outcome.Err)
		}
	}
	w.begin(b, paid)()
	w.states(sale.Paid, paid)
	w.states(sale.Cancelled, due)
	w.eventually("no deadline message is left", func() bool { return w.deadlineDepth().Empty() })
	w.states(sale.Paid, paid)
	w.check(due, paid)
}

// TestDeadlineMessageRefused: orders whose deadline message was not taken are ended by the sweep.
func TestDeadlineMessageRefused(t *testing.T) {
	w := newWorld(t, 100, 100*time.Millisecond)
	w.start(consumer.WithQueue(deaf{w.queue}))
	orders := w.many(5, sale.Confirmed)
	w.publishOrders(orders...)
	w.states(sale.Cancelled, orders...)
	w.check(orders...)
}

// deaf takes no deadline message.
type deaf struct{ queue.Queue }

func (deaf) Publish(context.Context, string, []queue.Message) []queue.Outcome {
	return []queue.Outcome{{Fate: queue.Refused, Err: queue.ErrFull}}
}
