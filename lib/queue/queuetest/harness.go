package queuetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"headgate.example/lib/queue"
)

// patience is how long the suite waits for what must happen.
const patience = 30 * time.Second

// topic is what the suite publishes under; each subtest has messages of its own.
const topic = "orders"

// Opener opens one more handle to the same messages. The handle is closed by the end of the test, if
// the test has not closed it.
type Opener func(t *testing.T, change ...func(*queue.Config)) queue.Queue

// Run runs the conformance suite. fresh gives an opener for messages that no other test sees.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Opener)
	}{
		{"fates", testFates},
		{"content", testContent},
		{"bodies are the subscriber's own", testOwnBodies},
		{"batch and linger", testBatch},
		{"ack", testAck},
		{"prefetch", testPrefetch},
		{"topics are apart", testTopics},
		{"hold back", testHoldBack},
		{"held back across a restart", testHoldBackRestart},
		{"dead letter", testDeadLetter},
		{"delivery limit", testDeliveryLimit},
		{"delayed", testDelayed},
		{"depth", testDepth},
		{"unsettled comes again", testRedelivery},
		{"stale", testStale},
		{"crowd", testCrowd},
		{"close", testClose},
		{"close while publishing", testCloseWhilePublishing},
		{"cancel", testCancel},
		{"full", testFull},
		{"full of delayed", testFullOfDelayed},
		{"options", testOptions},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
}

// Log gives a logger that writes to the test's output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// message makes one with an id that is also its body.
func message(format string, args ...any) queue.Message {
	id := fmt.Sprintf(format, args...)
	return queue.Message{ID: id, Body: []byte(id)}
}

func messages(n int, format string) []queue.Message {
	list := make([]queue.Message, n)
	for i := range list {
		list[i] = message(format, i)
	}
	return list
}

func publish(t *testing.T, q queue.Queue, list ...queue.Message) {
	t.Helper()
	for i, o := range q.Publish(patient(t), topic, list) {
		if o.Fate != queue.Confirmed || o.Err != nil {
			t.Fatalf("message %d (%s): fate %s (%v), want confirmed", i, list[i].ID, o.Fate, o.Err)
		}
	}
}

func subscribe(t *testing.T, q queue.Queue, name string, options queue.SubscribeOptions) queue.Subscription {
	t.Helper()
	s, err := q.Subscribe(patient(t), name, options)
	if err != nil {
		t.Fatalf("subscribing to %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing a subscription: %v", err)
		}
	})
	return s
}

// receive collects n deliveries, patiently.
func receive(t *testing.T, s queue.Subscription, n int) []queue.Delivery {
	t.Helper()
	var list []queue.Delivery
	for len(list) < n {
		batch, err := s.Receive(patient(t))
		if err != nil {
			t.Fatalf("after %d of %d deliveries: %v", len(list), n, err)
		}
		if len(batch) == 0 {
			t.Fatal("Receive gave neither deliveries nor an error")
		}
		list = append(list, batch...)
	}
	if len(list) > n {
		t.Fatalf("%d deliveries, want %d", len(list), n)
	}
	return list
}

func ack(t *testing.T, s queue.Subscription, list ...queue.Delivery) {
	t.Helper()
	if err := s.Ack(patient(t), list...); err != nil {
		t.Fatalf("ack: %v", err)
	}
}

func closeAll(t *testing.T, closers ...interface{ Close() error }) {
	t.Helper()
	for _, c := range closers {
		if err := c.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// wantDepth waits until the depth is as wanted; Unacked may be unknown.
func wantDepth(t *testing.T, q queue.Queue, want queue.Depth) {
	t.Helper()
	ctx := patient(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := q.Depth(ctx, topic)
		if err != nil {
			t.Fatalf("depth: %v", err)
		}
		if got.Unacked == queue.UnknownCount {
			got.Unacked = want.Unacked
		}
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("depth %+v, want %+v", got, want)
		}
	}
}

// wantNothing fails when anything is delivered for a little while.
func wantNothing(t *testing.T, s queue.Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	list, err := s.Receive(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("received %d deliveries (%v), want none", len(list), err)
	}
}
