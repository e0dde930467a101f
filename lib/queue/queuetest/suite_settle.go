package queuetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/queue"
)

func testHoldBack(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, messages(2, "m%d")...)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 2, Prefetch: 2})
	list := receive(t, s, 2)
	const delay = 300 * time.Millisecond
	start := time.Now()
	if err := s.HoldBack(patient(t), delay, list[0]); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Ack(patient(t), list[0]), queue.ErrStale)
	ack(t, s, list[1])
	again := receive(t, s, 1)[0]
	if took := time.Since(start); took < delay {
		t.Errorf("came again after %s, want at least %s", took, delay)
	}
	if again.ID != list[0].ID || string(again.Body) != string(list[0].Body) || again.Attempts < 2 || !again.PublishedAt.Equal(list[0].PublishedAt) {
		t.Errorf("came again as %+v, want %+v with two attempts", again, list[0])
	}
	wantError(t, s.Ack(patient(t), list[0]), queue.ErrStale) // the first delivery is not the second
	if err := s.HoldBack(patient(t), 0, again); err != nil {
		t.Fatal(err)
	}
	third := receive(t, s, 1)[0]
	if third.Attempts < 3 {
		t.Errorf("third delivery says %d attempts", third.Attempts)
	}
	wantError(t, s.HoldBack(patient(t), -1, third), queue.ErrInvalid)
	wantError(t, s.HoldBack(patient(t), queue.MaxDelay+1, third), queue.ErrInvalid)
	ack(t, s, third)
	wantDepth(t, q, queue.Depth{})
}

// testHoldBackRestart: what is held back is so after a restart, and comes in its time.
func testHoldBackRestart(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, messages(2, "m%d")...)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 2})
	list := receive(t, s, 2)
	if err := s.HoldBack(patient(t), time.Hour, list[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.HoldBack(patient(t), 300*time.Millisecond, list[1]); err != nil {
		t.Fatal(err)
	}
	closeAll(t, s, q)
	q = open(t)
	s = subscribe(t, q, topic, queue.SubscribeOptions{})
	d := receive(t, s, 1)[0]
	if d.ID != list[1].ID {
		t.Errorf("%q came, want %q", d.ID, list[1].ID)
	}
	ack(t, s, d)
	wantDepth(t, q, queue.Depth{Delayed: 1})
	wantNothing(t, s)
}

func testDeadLetter(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, messages(3, "m%d")...)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 3})
	list := receive(t, s, 3)
	reason := "cannot be read: byte 7" + strings.Repeat(" é", queue.MaxReasonBytes)
	if err := s.DeadLetter(patient(t), reason, list[0], list[2]); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.DeadLetter(patient(t), reason, list[0]), queue.ErrStale)
	ack(t, s, list[1])
	wantDepth(t, q, queue.Depth{Dead: 2})
	closeAll(t, s, q)

	q = open(t)
	dead := subscribe(t, q, queue.DeadTopic(topic), queue.SubscribeOptions{BatchSize: 2})
	for _, d := range receive(t, dead, 2) {
		if d.ID != list[0].ID && d.ID != list[2].ID || string(d.Body) != d.ID {
			t.Errorf("dead letter %q with body %q", d.ID, d.Body)
		}
		if d.Reason != queue.CutReason(reason) {
			t.Errorf("reason %q, want what was given", d.Reason)
		}
		wantError(t, dead.DeadLetter(patient(t), "twice", d), queue.ErrInvalid)
		ack(t, dead, d)
	}
	wantDepth(t, q, queue.Depth{})
}

func testDeliveryLimit(t *testing.T, open Opener) {
	q := open(t, func(c *queue.Config) { c.DeliveryLimit = 10 })
	publish(t, q, message("poison"))
	dead := subscribe(t, q, queue.DeadTopic(topic), queue.SubscribeOptions{})
	found := make(chan []queue.Delivery, 1)
	go func() {
		list, _ := dead.Receive(patient(t))
		found <- list
	}()
	for count := 0; ; count++ {
		s := subscribe(t, q, topic, queue.SubscribeOptions{})
		delivered := make(chan error, 1)
		go func() {
			_, err := s.Receive(patient(t))
			delivered <- err
		}()
		select {
		case err := <-delivered:
			if err != nil {
				t.Fatal(err)
			}
			closeAll(t, s) // its process died
			if count > 12 {
				t.Fatalf("delivered %d times, want at most about 10", count)
			}
			continue
		case list := <-found:
			closeAll(t, s)
			wantError(t, <-delivered, queue.ErrClosed)
			if len(list) != 1 || list[0].ID != "poison" || !strings.Contains(list[0].Reason, "delivery") || count < 9 {
				t.Fatalf("after %d deliveries: dead letters %+v, want the message with its reason after about 10", count, list)
			}
			ack(t, dead, list...)
		}
		return
	}
}

// testDelayed: each message comes when its own delay is over, also where a longer one was published before it.
func testDelayed(t *testing.T, open Opener) {
	q := open(t)
	start := time.Now()
	long, short, now := message("long"), message("short"), message("now")
	long.Delay, short.Delay = time.Hour, 200*time.Millisecond
	publish(t, q, long, short, now)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 3})
	list := receive(t, s, 2)
	if took := time.Since(start); took < short.Delay {
		t.Errorf("%d came within %s, want one of them after %s", len(list), took, short.Delay)
	}
	for _, want := range []queue.Message{now, short} {
		if !slices.ContainsFunc(list, func(d queue.Delivery) bool { return d.ID == want.ID }) {
			t.Errorf("%q did not come", want.ID)
		}
	}
	ack(t, s, list...)
	wantDepth(t, q, queue.Depth{Delayed: 1})
}

func testDepth(t *testing.T, open Opener) {
	q := open(t)
	wantDepth(t, q, queue.Depth{})
	publish(t, q, messages(5, "m%d")...)
	wantDepth(t, q, queue.Depth{Ready: 5})
	late := message("late")
	late.Delay = time.Hour
	publish(t, q, late)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 3, Prefetch: 3})
	list := receive(t, s, 3)
	wantDepth(t, q, queue.Depth{Ready: 2, Unacked: 3, Delayed: 1})
	if err := s.DeadLetter(patient(t), "why not", list[0]); err != nil {
		t.Fatal(err)
	}
	closeAll(t, s)
	wantDepth(t, q, queue.Depth{Ready: 4, Delayed: 1, Dead: 1})
}

func testRedelivery(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, messages(4, "m%d")...)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 4})
	list := receive(t, s, 4)
	ack(t, s, list[3])
	closeAll(t, s)
	s = subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 4})
	for _, d := range receive(t, s, 3) {
		if d.Attempts < 2 {
			t.Errorf("%q came again with %d attempts", d.ID, d.Attempts)
		}
	}
	closeAll(t, q) // and when the whole handle goes
	q = open(t)
	s = subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 4})
	list = receive(t, s, 3)
	for _, d := range list {
		if d.Attempts < 3 {
			t.Errorf("%q came a third time with %d attempts", d.ID, d.Attempts)
		}
	}
	ack(t, s, list...)
	wantDepth(t, q, queue.Depth{})
}

func testStale(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, messages(3, "m%d")...)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 3})
	list := receive(t, s, 3)
	ack(t, s, list[0])
	wantError(t, s.Ack(patient(t), list[0]), queue.ErrStale)
	wantError(t, s.Ack(patient(t), list[0], list[1]), queue.ErrStale) // and list[1] is removed
	wantError(t, s.Ack(patient(t), list[1]), queue.ErrStale)
	other := subscribe(t, q, topic, queue.SubscribeOptions{})
	wantError(t, other.Ack(patient(t), list[2]), queue.ErrStale) // another's
	closeAll(t, s)
	wantError(t, s.Ack(patient(t), list[2]), queue.ErrStale)
	wantError(t, s.HoldBack(patient(t), time.Second, list[2]), queue.ErrStale)
	again := receive(t, other, 1)
	if again[0].ID != list[2].ID {
		t.Fatalf("%q came again, want %q", again[0].ID, list[2].ID)
	}
	ack(t, other, again...)
	wantDepth(t, q, queue.Depth{})
}
