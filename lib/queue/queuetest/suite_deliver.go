package queuetest

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/queue"
)

func testFates(t *testing.T, open Opener) {
	q := open(t)
	list := []queue.Message{
		message("first"),
		{ID: "large", Body: make([]byte, queue.MaxBodyBytes+1)},
		{ID: "largest", Body: bytes.Repeat([]byte{7}, queue.MaxBodyBytes)},
		{ID: strings.Repeat("x", queue.MaxIDBytes+1)},
		{ID: "negative", Delay: -1},
		{ID: "late", Delay: queue.MaxDelay + 1},
		message("last"),
	}
	want := []error{nil, queue.ErrTooLarge, nil, queue.ErrTooLarge, queue.ErrInvalid, queue.ErrInvalid, nil}
	outcomes := q.Publish(patient(t), topic, list)
	if len(outcomes) != len(list) {
		t.Fatalf("%d outcomes for %d messages", len(outcomes), len(list))
	}
	for i, o := range outcomes {
		switch {
		case want[i] == nil && (o.Fate != queue.Confirmed || o.Err != nil):
			t.Errorf("message %d: %s (%v), want confirmed", i, o.Fate, o.Err)
		case want[i] != nil && o.Fate != queue.Refused:
			t.Errorf("message %d: %s, want refused", i, o.Fate)
		case want[i] != nil:
			wantError(t, o.Err, want[i])
		}
	}
	refused(t, q.Publish(patient(t), "No Topic", messages(2, "m%d")), 2, queue.ErrInvalid)
	refused(t, q.Publish(patient(t), queue.DeadTopic(topic), messages(2, "m%d")), 2, queue.ErrInvalid)
	refused(t, q.Publish(patient(t), topic, make([]queue.Message, queue.MaxMessages+1)), queue.MaxMessages+1, queue.ErrInvalid)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	refused(t, q.Publish(ended, topic, messages(2, "m%d")), 2, context.Canceled)
	if o := q.Publish(patient(t), topic, nil); len(o) != 0 {
		t.Errorf("no messages gave %d outcomes", len(o))
	}

	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 10})
	got := map[string]bool{}
	for _, d := range receive(t, s, 3) {
		got[d.ID] = true
	}
	if !got["first"] || !got["largest"] || !got["last"] {
		t.Fatalf("delivered %v, want the confirmed three", got)
	}
	wantNothing(t, s)
}

func refused(t *testing.T, outcomes []queue.Outcome, n int, why error) {
	t.Helper()
	if len(outcomes) != n {
		t.Fatalf("%d outcomes for %d messages", len(outcomes), n)
	}
	for i, o := range outcomes {
		if o.Fate != queue.Refused {
			t.Fatalf("message %d: %s (%v), want refused", i, o.Fate, o.Err)
		}
		wantError(t, o.Err, why)
	}
}

func testContent(t *testing.T, open Opener) {
	q := open(t)
	before := time.Now().Add(-time.Second)
	bodies := map[string][]byte{"empty": {}, "binary": {0, 0xff, '\n', 0x80, '"'}, "": []byte("no id"), "ünï": []byte("{}")}
	for id, body := range bodies {
		publish(t, q, queue.Message{ID: id, Body: body})
	}
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 3})
	for _, d := range receive(t, s, len(bodies)) {
		if want, ok := bodies[d.ID]; !ok || !bytes.Equal(d.Body, want) {
			t.Errorf("delivery %q has body %q, want %q", d.ID, d.Body, want)
		}
		if d.Attempts != 1 || d.Reason != "" {
			t.Errorf("delivery %q: attempts %d, reason %q, want 1 and none", d.ID, d.Attempts, d.Reason)
		}
		if d.PublishedAt.Before(before) || d.PublishedAt.After(time.Now().Add(time.Second)) {
			t.Errorf("delivery %q: published at %s", d.ID, d.PublishedAt)
		}
	}
}

func testOwnBodies(t *testing.T, open Opener) {
	q := open(t)
	body := []byte("before")
	publish(t, q, queue.Message{ID: "m", Body: body})
	copy(body, "after!")
	s := subscribe(t, q, topic, queue.SubscribeOptions{})
	if d := receive(t, s, 1)[0]; string(d.Body) != "before" {
		t.Fatalf("body %q, want what was published", d.Body)
	}
}

func testBatch(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, messages(25, "m%d")...)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 10, Linger: 20 * time.Millisecond})
	for left := 25; left > 0; {
		batch, err := s.Receive(patient(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(batch) > 10 {
			t.Fatalf("a batch of %d, want at most 10", len(batch))
		}
		left -= len(batch)
		ack(t, s, batch...)
	}
	// A batch that lingers ends early when it is full ...
	full := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 3, Linger: queue.MaxLinger})
	closeAll(t, s)
	done := make(chan []queue.Delivery, 1)
	start := time.Now()
	go func() {
		batch, _ := full.Receive(patient(t))
		done <- batch
	}()
	for i := range 3 {
		publish(t, q, message("late%d", i))
	}
	batch := <-done
	if took := time.Since(start); len(batch) != 3 || took > queue.MaxLinger {
		t.Fatalf("a batch of %d after %s, want 3 at once", len(batch), took)
	}
	ack(t, full, batch...)
	closeAll(t, full)
	// ... and else when the linger is over.
	short := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 10, Linger: 50 * time.Millisecond})
	publish(t, q, message("alone"))
	if batch := receive(t, short, 1); batch[0].ID != "alone" {
		t.Fatalf("received %q", batch[0].ID)
	}
}

func testAck(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, messages(6, "m%d")...)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 6})
	list := receive(t, s, 6)
	ack(t, s) // none is fine
	ack(t, s, list[4], list[1])
	ack(t, s, list[0], list[2], list[3])
	closeAll(t, s)
	again := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 6})
	d := receive(t, again, 1)
	if d[0].ID != list[5].ID {
		t.Fatalf("%q came again, want %q, the only one not acknowledged", d[0].ID, list[5].ID)
	}
	ack(t, again, d...)
	wantDepth(t, q, queue.Depth{})
	wantNothing(t, again)
}

func testPrefetch(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, messages(5, "m%d")...)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 2, Prefetch: 3})
	list := receive(t, s, 3)
	wantNothing(t, s)
	ack(t, s, list[0])
	list = append(list, receive(t, s, 1)...)
	ack(t, s, list[1:]...)
	ack(t, s, receive(t, s, 1)...)
	wantDepth(t, q, queue.Depth{})
}

func testTopics(t *testing.T, open Opener) {
	q := open(t)
	const other = "other"
	publish(t, q, message("one"))
	if o := q.Publish(patient(t), other, []queue.Message{message("two")}); o[0].Fate != queue.Confirmed {
		t.Fatalf("publishing to another topic: %v", o[0].Err)
	}
	s := subscribe(t, q, other, queue.SubscribeOptions{BatchSize: 2})
	if d := receive(t, s, 1); d[0].ID != "two" {
		t.Fatalf("received %q under another topic", d[0].ID)
	}
	wantNothing(t, s)
}

func testOptions(t *testing.T, open Opener) {
	q := open(t)
	for _, o := range []queue.SubscribeOptions{
		{BatchSize: -1},
		{BatchSize: queue.MaxPrefetch + 1},
		{BatchSize: 5, Prefetch: 4},
		{Prefetch: queue.MaxPrefetch + 1},
		{Linger: -1},
		{Linger: queue.MaxLinger + 1},
	} {
		_, err := q.Subscribe(patient(t), topic, o)
		wantError(t, err, queue.ErrInvalid)
	}
	for _, name := range []string{"", "Orders", "a.b", "a.dead.dead", strings.Repeat("a", queue.MaxTopicBytes+1)} {
		_, err := q.Subscribe(patient(t), name, queue.SubscribeOptions{})
		wantError(t, err, queue.ErrInvalid)
		_, err = q.Depth(patient(t), name)
		wantError(t, err, queue.ErrInvalid)
	}
	if err := q.Ping(patient(t)); err != nil {
		t.Fatalf("ping: %v", err)
	}
}
