package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/config"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/rabbitmq"
)

const topic = "orders"

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func letter(format string, args ...any) queue.Message {
	id := fmt.Sprintf(format, args...)
	return queue.Message{ID: id, Body: []byte(id)}
}

// confirmed publishes one message until it is confirmed: the handle may still be connecting, and where the
// machine stalls longer than a test's short PublishTimeout, nobody knows the message's fate.
func confirmed(t *testing.T, q queue.Queue, m queue.Message) {
	t.Helper()
	ctx := patient(t)
	for {
		o := q.Publish(ctx, topic, []queue.Message{m})[0]
		if o.Fate == queue.Confirmed {
			return
		}
		if o.Fate == queue.Unknown && !errors.Is(o.Err, queue.ErrTimeout) || ctx.Err() != nil {
			t.Fatalf("%s: %s (%v), want confirmed", m.ID, o.Fate, o.Err)
		}
	}
}

func subscribe(t *testing.T, q queue.Queue, options queue.SubscribeOptions) queue.Subscription {
	t.Helper()
	s, err := q.Subscribe(patient(t), topic, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// collect receives and acknowledges until enough says so; losing the broker is no reason to stop.
func collect(t *testing.T, s queue.Subscription, enough func(seen map[string]bool) bool) map[string]bool {
	t.Helper()
	ctx := patient(t)
	seen := map[string]bool{}
	for !enough(seen) {
		batch, err := s.Receive(ctx)
		if errors.Is(err, queue.ErrDisconnected) {
			continue
		}
		if err != nil {
			t.Fatalf("after %d messages: %v", len(seen), err)
		}
		for _, d := range batch {
			seen[d.ID] = true
		}
		if err := s.Ack(ctx, batch...); err != nil && !errors.Is(err, queue.ErrStale) {
			t.Fatalf("ack: %v", err)
		}
	}
	return seen
}

// TestCuts cuts the connection again and again below a crowd of publishers and a consumer: no fate may
// turn out false, and both sides recover by themselves.
func TestCuts(t *testing.T) {
	cfg := settings(t, broker(t))
	p, address := newProxy(t, broker(t))
	through := cfg
	through.URL = config.Secret(address)
	q := open(t, through)
	confirmed(t, q, letter("first"))

	var mu sync.Mutex
	fates := map[string]queue.Fate{"first": queue.Confirmed}
	count := map[queue.Fate]int{}
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	for i := range 8 {
		publishing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				list := []queue.Message{letter("p%d-%d-a", i, n), letter("p%d-%d-b", i, n)}
				outcomes := q.Publish(t.Context(), topic, list)
				mu.Lock()
				for j, o := range outcomes {
					fates[list[j].ID] = o.Fate
					count[o.Fate]++
				}
				mu.Unlock()
			}
		})
	}
	confirmedSoFar := func() int {
		mu.Lock()
		defer mu.Unlock()
		return count[queue.Confirmed]
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for round := range 8 {
		target := confirmedSoFar() + 200
		for ctx := patient(t); confirmedSoFar() < target; <-tick.C {
			if ctx.Err() != nil {
				t.Fatalf("round %d: publishing did not recover", round)
			}
		}
		p.cut()
	}
	close(stop)
	publishing.Wait()
	confirmed(t, q, letter("last"))
	fates["last"] = queue.Confirmed
	t.Logf("fates: %v", count)
	if count[queue.Unknown] == 0 {
		t.Error("no cut left anything unknown: the test has shown nothing")
	}

	s := subscribe(t, q, queue.SubscribeOptions{BatchSize: 100})
	missing := 0
	for _, fate := range fates {
		if fate == queue.Confirmed {
			missing++
		}
	}
	cutAt := missing / 2
	seen := collect(t, s, func(seen map[string]bool) bool {
		if len(seen) > cutAt {
			p.cut()
			cutAt = len(fates) + 1
		}
		left := 0
		for id, fate := range fates {
			if fate == queue.Confirmed && !seen[id] {
				left++
			}
		}
		return left == 0
	})
	for id := range seen {
		if fate, ok := fates[id]; !ok || fate == queue.Refused {
			t.Errorf("%s was delivered; its fate was said to be %s", id, fate)
		}
	}
}

// TestConfirmLost loses the broker's confirm: the message is stored, and its fate must not be guessed.
func TestConfirmLost(t *testing.T) {
	cfg := settings(t, broker(t))
	p, address := newProxy(t, broker(t))
	direct := open(t, cfg)
	through := cfg
	through.URL = config.Secret(address)
	q := open(t, through)
	confirmed(t, q, letter("first"))
	p.withhold(toClient)
	outcome := make(chan queue.Outcome, 1)
	go func() { outcome <- q.Publish(t.Context(), topic, []queue.Message{letter("silent")})[0] }()
	seen := collect(t, subscribe(t, direct, queue.SubscribeOptions{}), func(seen map[string]bool) bool { return seen["silent"] })
	if len(seen) != 2 {
		t.Errorf("delivered %v", seen)
	}
	p.cut()
	if o := <-outcome; o.Fate != queue.Unknown || !errors.Is(o.Err, queue.ErrDisconnected) {
		t.Fatalf("fate %s (%v), want unknown, disconnected", o.Fate, o.Err)
	}
	p.heal()
	confirmed(t, q, letter("after"))
}

// TestSilentBroker: a broker that neither takes nor answers, as one in alarm does.
func TestSilentBroker(t *testing.T) {
	cfg := settings(t, broker(t))
	p, address := newProxy(t, broker(t))
	cfg.URL = config.Secret(address)
	cfg.PublishTimeout, cfg.BrokerWait = 500*time.Millisecond, 100*time.Millisecond
	q := open(t, cfg)
	confirmed(t, q, letter("first"))
	p.withhold(toBroker)
	o := q.Publish(t.Context(), topic, []queue.Message{letter("slow")})[0]
	if o.Fate != queue.Unknown || !errors.Is(o.Err, queue.ErrTimeout) {
		t.Fatalf("fate %s (%v), want unknown, timeout", o.Fate, o.Err)
	}
	// Once it says that it is blocked, nothing more is sent.
	rabbitmq.SetBlocked(q, "low on memory")
	o = q.Publish(t.Context(), topic, []queue.Message{letter("not sent")})[0]
	if o.Fate != queue.Refused || !errors.Is(o.Err, queue.ErrBlocked) {
		t.Fatalf("fate %s (%v), want refused, blocked", o.Fate, o.Err)
	}
	if err := q.Ping(patient(t)); !errors.Is(err, queue.ErrBlocked) {
		t.Fatalf("ping: %v, want blocked", err)
	}
	p.heal()
	rabbitmq.SetBlocked(q, "")
	confirmed(t, q, letter("after"))
	seen := collect(t, subscribe(t, q, queue.SubscribeOptions{}), func(seen map[string]bool) bool { return seen["first"] && seen["slow"] && seen["after"] })
	if seen["not sent"] {
		t.Error("a refused message was delivered")
	}
}

// TestBrokerAway: a broker that is not there refuses definitely and soon; everything works once it is.
func TestBrokerAway(t *testing.T) {
	cfg := settings(t, broker(t))
	p, address := newProxy(t, broker(t))
	p.refuse()
	cfg.URL = config.Secret(address)
	cfg.BrokerWait = 100 * time.Millisecond
	q := open(t, cfg)
	start := time.Now()
	o := q.Publish(t.Context(), topic, []queue.Message{letter("early")})[0]
	if o.Fate != queue.Refused || !errors.Is(o.Err, queue.ErrDisconnected) || time.Since(start) > cfg.PublishTimeout {
		t.Fatalf("after %s: fate %s (%v), want refused, disconnected", time.Since(start), o.Fate, o.Err)
	}
	if err := q.Ping(patient(t)); !errors.Is(err, queue.ErrDisconnected) {
		t.Fatalf("ping: %v", err)
	}
	if _, err := q.Depth(patient(t), topic); !errors.Is(err, queue.ErrDisconnected) {
		t.Fatalf("depth: %v", err)
	}
	s := subscribe(t, q, queue.SubscribeOptions{})
	if _, err := s.Receive(patient(t)); !errors.Is(err, queue.ErrDisconnected) {
		t.Fatalf("receive: %v", err)
	}
	p.heal()
	confirmed(t, q, letter("late"))
	if seen := collect(t, s, func(seen map[string]bool) bool { return seen["late"] }); seen["early"] {
		t.Error("a refused message was delivered")
	}
}

// TestDeliveriesOfLostConnection: they are void, and come again.
func TestDeliveriesOfLostConnection(t *testing.T) {
	cfg := settings(t, broker(t))
	p, address := newProxy(t, broker(t))
	cfg.URL = config.Secret(address)
	q := open(t, cfg)
	confirmed(t, q, letter("m"))
	s := subscribe(t, q, queue.SubscribeOptions{})
	batch, err := s.Receive(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	p.cut()
	if _, err := s.Receive(patient(t)); !errors.Is(err, queue.ErrDisconnected) {
		t.Fatalf("receive: %v, want disconnected", err)
	}
	if err := s.Ack(patient(t), batch...); !errors.Is(err, queue.ErrStale) {
		t.Fatalf("ack: %v, want stale", err)
	}
	again, err := s.Receive(patient(t))
	if err != nil || len(again) != 1 || again[0].ID != "m" || again[0].Attempts < 2 {
		t.Fatalf("received %+v (%v), want the message again", again, err)
	}
	if err := s.Ack(patient(t), batch...); !errors.Is(err, queue.ErrStale) {
		t.Fatalf("ack of the old delivery: %v, want stale", err)
	}
	if err := s.Ack(patient(t), again...); err != nil {
		t.Fatal(err)
	}
}

// TestQueueDeleted: an unroutable message is acked by the broker; its return makes it refused.
func TestQueueDeleted(t *testing.T) {
	cfg := settings(t, broker(t))
	q := open(t, cfg)
	confirmed(t, q, letter("first"))
	conn, err := amqp.Dial(broker(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's end
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDelete(cfg.Prefix+"."+topic, false, false, false); err != nil {
		t.Fatal(err)
	}
	o := q.Publish(t.Context(), topic, []queue.Message{letter("lost")})[0]
	if o.Fate != queue.Refused || !errors.Is(o.Err, queue.ErrUnroutable) {
		t.Fatalf("fate %s (%v), want refused, unroutable", o.Fate, o.Err)
	}
	confirmed(t, q, letter("after")) // the queue is declared anew
	collect(t, subscribe(t, q, queue.SubscribeOptions{}), func(seen map[string]bool) bool { return seen["after"] })
}

// TestOtherBounds: a queue that exists with other bounds is used as it is, so that a changed config does
// not stop a shop.
func TestOtherBounds(t *testing.T) {
	cfg := settings(t, broker(t))
	confirmed(t, open(t, cfg), letter("first"))
	cfg.MaxReady, cfg.DeliveryLimit = 5, 50
	q := open(t, cfg)
	confirmed(t, q, letter("second"))
	collect(t, subscribe(t, q, queue.SubscribeOptions{}), func(seen map[string]bool) bool { return seen["first"] && seen["second"] })
}

// TestForeignQueue: a queue of our name that does not keep what we promise is an error that names the fix.
func TestForeignQueue(t *testing.T) {
	cfg := settings(t, broker(t))
	conn, err := amqp.Dial(broker(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's end
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(cfg.Prefix+"."+topic, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	o := open(t, cfg).Publish(t.Context(), topic, []queue.Message{letter("m")})[0]
	if o.Fate != queue.Refused || !errors.Is(o.Err, queue.ErrRefused) || !strings.Contains(o.Err.Error(), "none of ours") {
		t.Fatalf("fate %s (%v), want refused", o.Fate, o.Err)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("calls of %d", size), func(b *testing.B) {
			cfg := settings(b, broker(b))
			q := open(b, cfg)
			list := make([]queue.Message, size)
			for i := range list {
				list[i] = queue.Message{ID: "4611686018427387904", Body: make([]byte, 400)}
			}
			b.SetParallelism(64)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					for _, o := range q.Publish(b.Context(), topic, list) {
						if o.Fate != queue.Confirmed {
							b.Errorf("%s: %v", o.Fate, o.Err)
						}
					}
				}
			})
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// TestDepthOfASilentBroker: counting ends with its context while the broker does not answer, as it does
// not on a blocked connection.
func TestDepthOfASilentBroker(t *testing.T) {
	p, address := newProxy(t, broker(t))
	q := open(t, settings(t, address))
	confirmed(t, q, letter("first"))
	p.withhold(toClient)
	defer p.heal()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := q.Depth(ctx, topic); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("depth of a silent broker: %v, want the deadline's error", err)
	}
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("depth took %s, its context 100ms", took)
	}
}
