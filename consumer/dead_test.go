package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/consumer"
	"headgate.example/lib/config"
	"headgate.example/lib/queue"
	queueopen "headgate.example/lib/queue/open"
	"headgate.example/lib/queue/queuetest"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

const deliveryLimit = 10 // the lowest that a config may have

// queues are the drivers that dead letters are moved from, and how often each delivers at that limit.
var queues = map[string]func(t *testing.T, cfg *queue.Config) (deliveries int){
	"embedded": func(*testing.T, *queue.Config) int { return deliveryLimit },
	"rabbitmq": func(t *testing.T, cfg *queue.Config) int {
		address := servicetest.Need(t, "HEADGATE_TEST_AMQP_URL")
		cfg.Driver, cfg.URL, cfg.Prefix = queue.RabbitMQ, config.Secret(address), fmt.Sprintf("test-%x", rand.Uint64())
		prefix := cfg.Prefix
		t.Cleanup(func() { deleteQueues(t, address, prefix) })
		return deliveryLimit + 1 // counts redeliveries
	},
}

func deleteQueues(t *testing.T, address, prefix string) {
	conn, err := amqp.Dial(address)
	if err != nil {
		t.Errorf("tidying up: %v", err)
		return
	}
	defer conn.Close() //nolint:errcheck // a test's end
	ch, err := conn.Channel()
	if err != nil {
		t.Errorf("tidying up: %v", err)
		return
	}
	for _, topic := range []string{
		consumer.Topic, queue.DeadTopic(consumer.Topic), consumer.DeadlineTopic, queue.DeadTopic(consumer.DeadlineTopic),
		consumer.DeadlineTopic + ".delay.300", // of TestDeadlinesRabbitMQ
	} {
		if _, err := ch.QueueDelete(prefix+"."+topic, false, false, false); err != nil {
			t.Errorf("tidying up: %v", err)
		}
	}
	for _, exchange := range []string{prefix, prefix + ".dead"} {
		if err := ch.ExchangeDelete(exchange, false, false); err != nil {
			t.Errorf("tidying up: %v", err)
		}
	}
}

// receive receives n messages of a topic and hands them to settle; what it leaves returns.
func (w *world) receive(topic string, n int, settle func(sub queue.Subscription, d queue.Delivery) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	sub, err := w.queue.Subscribe(ctx, topic, queue.SubscribeOptions{BatchSize: n})
	if err != nil {
		w.t.Fatal(err)
	}
	defer sub.Close() //nolint:errcheck // it never fails
	for n > 0 {
		batch, err := sub.Receive(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, d := range batch {
			if err := settle(sub, d); err != nil {
				w.t.Fatal(err)
			}
		}
		n -= len(batch)
	}
}

func (w *world) letters() []store.DeadLetter {
	w.t.Helper()
	letters, err := w.store.ListDeadLetters(context.Background(), 0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return letters
}

// TestQueueDeadLetters: what the queue's delivery limit, or somebody's hand, has dead-lettered is moved
// into the ledger with its reason, and leaves the queue.
func TestQueueDeadLetters(t *testing.T) {
	for name, configure := range queues {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 10, time.Hour)
			cfg := w.cfg.Queue
			cfg.DeliveryLimit = deliveryLimit
			deliveries := configure(t, &cfg)
			w.useQueue(cfg)
			ctx := context.Background()
			buried, killer := w.mint(sale.Held), w.mint(sale.Held)
			w.publishOrders(buried)
			w.receive(consumer.Topic, 1, func(sub queue.Subscription, d queue.Delivery) error {
				return sub.DeadLetter(ctx, "by hand", d)
			})
			w.publishOrders(killer)
			for range deliveries { // each kills its consumer
				w.receive(consumer.Topic, 1, func(queue.Subscription, queue.Delivery) error { return nil })
			}
			fine := w.mint(sale.Held)
			w.publishOrders(fine)
			failed := false
			w.ledger.beforeLetter(func() error { // the ledger is away at first
				if !failed {
					failed = true
					return errors.New("connection refused")
				}
				return nil
			})
			r := w.start()
			w.states(sale.Unpaid, fine)
			w.eventually("both dead letters are in the ledger", func() bool { return len(w.letters()) == 2 })
			for _, letter := range w.letters() {
				want := map[sale.OrderID]string{buried.Order: "by hand", killer.Order: "limit"}[letter.OrderID]
				if want == "" || !strings.Contains(letter.Reason, want) || letter.Topic != consumer.Topic {
					t.Fatalf("dead letter of order %s, topic %s: %q, want %q in its reason", letter.OrderID, letter.Topic, letter.Reason, want)
				}
			}
			if !failed {
				t.Fatal("the ledger was never away")
			}
			w.noRow(buried, killer)
			r.stop(t)
			w.empty(queue.DeadTopic(consumer.Topic))
		})
	}
}

// empty checks that a topic delivers nothing.
func (w *world) empty(topic string) {
	w.t.Helper()
	sub, err := w.queue.Subscribe(context.Background(), topic, queue.SubscribeOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer sub.Close() //nolint:errcheck // it never fails
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if batch, err := sub.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		w.t.Fatalf("%s still has %+v (%v)", topic, batch, err)
	}
}

// useQueue replaces the world's queue.
func (w *world) useQueue(cfg queue.Config) {
	w.t.Helper()
	opened, err := queueopen.Open(context.Background(), cfg, servicetest.Log(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	w.queue = queuetest.NewFaulty(opened)
	w.t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			w.t.Errorf("closing the queue: %v", err)
		}
	})
	w.eventually("the queue answers", func() bool { return w.queue.Ping(context.Background()) == nil })
}

// leases is a ledger that notes the leases asked for.
type leases struct {
	*ledger
	outbox, parked chan time.Duration
}

func (l *leases) ClaimOutbox(_ context.Context, _ int, lease time.Duration) ([]store.OutboxRow, error) {
	offer(l.outbox, lease)
	return nil, nil
}

func (l *leases) ClaimParked(_ context.Context, _ int, lease time.Duration) ([]store.ParkedMessage, error) {
	offer(l.parked, lease)
	return nil, nil
}

func offer(to chan time.Duration, d time.Duration) {
	select {
	case to <- d:
	default:
	}
}

// TestLeases: claimed rows stay with their consumer for as long as a round over them may take.
func TestLeases(t *testing.T) {
	w := newWorld(t, 10, time.Hour)
	w.cfg.Counter.Timeout, w.cfg.Service.DrainFor = 50*time.Second, time.Minute
	w.cfg.OutboxBatch, w.cfg.OutboxConcurrency = 30, 4
	l := &leases{ledger: w.ledger, outbox: make(chan time.Duration, 1), parked: make(chan time.Duration, 1)}
	w.start(consumer.WithLedger(l))
	if got, least := <-l.outbox, 8*w.cfg.Counter.Timeout; got <= least {
		t.Errorf("outbox rows are leased for %s, a round takes up to %s at the counter alone", got, least)
	}
	if got, least := <-l.parked, w.cfg.Counter.Timeout; got < least+time.Minute {
		t.Errorf("parked messages are leased for %s, with %s at the counter alone", got, least)
	}
}
