package queuetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"headgate.example/lib/queue"
)

// testCrowd: many publishers and consumers on several handles; every confirmed message is delivered at
// least once, and nothing that was not published.
func testCrowd(t *testing.T, open Opener) {
	const publishers, calls, perCall, consumers = 8, 40, 5, 3
	handles := []queue.Queue{open(t), open(t)}
	ctx, cancel := context.WithCancel(patient(t))
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{}
	var consuming, publishing sync.WaitGroup
	for i := range consumers {
		s := subscribe(t, handles[i%2], topic, queue.SubscribeOptions{BatchSize: 50})
		consuming.Go(func() {
			for {
				batch, err := s.Receive(ctx)
				if errors.Is(err, queue.ErrDisconnected) {
					continue // a broker may stumble over a queue that is being created
				}
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("receive: %v", err)
					}
					return
				}
				mu.Lock()
				for _, d := range batch {
					seen[d.ID]++
				}
				if len(seen) == publishers*calls*perCall {
					cancel()
				}
				mu.Unlock()
				if err := s.Ack(t.Context(), batch...); err != nil && !errors.Is(err, queue.ErrStale) {
					t.Errorf("ack: %v", err)
				}
			}
		})
	}
	for i := range publishers {
		publishing.Go(func() {
			for call := range calls {
				for list := messages(perCall, fmt.Sprintf("p%d-%d-%%d", i, call)); len(list) > 0; {
					var again []queue.Message
					for j, o := range handles[i%2].Publish(t.Context(), topic, list) {
						switch {
						case o.Fate == queue.Confirmed:
						case o.Fate == queue.Refused && errors.Is(o.Err, queue.ErrTimeout): // the machine stalls
							again = append(again, list[j])
						default:
							t.Errorf("publisher %d: %s (%v)", i, o.Fate, o.Err)
						}
					}
					list = again
				}
			}
		})
	}
	publishing.Wait()
	consuming.Wait()
	for i := range publishers {
		for call := range calls {
			for m := range perCall {
				if id := fmt.Sprintf("p%d-%d-%d", i, call, m); seen[id] == 0 {
					t.Errorf("%s was confirmed and never delivered", id)
				}
			}
		}
	}
	if len(seen) != publishers*calls*perCall {
		t.Errorf("%d different messages, want %d", len(seen), publishers*calls*perCall)
	}
	wantDepth(t, handles[0], queue.Depth{})
}

func testClose(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, message("m"))
	s := subscribe(t, q, topic, queue.SubscribeOptions{})
	receive(t, s, 1)
	waiting := make(chan error, 1)
	go func() {
		_, err := s.Receive(t.Context())
		waiting <- err
	}()
	closeAll(t, s, s)
	wantError(t, <-waiting, queue.ErrClosed)
	_, err := s.Receive(patient(t))
	wantError(t, err, queue.ErrClosed)

	s = subscribe(t, q, topic, queue.SubscribeOptions{})
	receive(t, s, 1)
	go func() {
		_, err := s.Receive(t.Context())
		waiting <- err
	}()
	closeAll(t, q, q, s)
	wantError(t, <-waiting, queue.ErrClosed)
	refused(t, q.Publish(patient(t), topic, messages(2, "m%d")), 2, queue.ErrClosed)
	_, err = q.Subscribe(patient(t), topic, queue.SubscribeOptions{})
	wantError(t, err, queue.ErrClosed)
	_, err = q.Depth(patient(t), topic)
	wantError(t, err, queue.ErrClosed)
	wantError(t, q.Ping(patient(t)), queue.ErrClosed)
}

// testCloseWhilePublishing: whatever a closing handle says of a message is true afterwards.
func testCloseWhilePublishing(t *testing.T, open Opener) {
	q := open(t)
	publish(t, q, message("start"))
	var mu sync.Mutex
	fates := map[string]queue.Fate{"start": queue.Confirmed}
	var publishing sync.WaitGroup
	begun := make(chan struct{}, 1)
	for i := range 4 {
		publishing.Go(func() {
			for n := 0; ; n++ {
				m := message("p%d-%d", i, n)
				o := q.Publish(t.Context(), topic, []queue.Message{m})[0]
				mu.Lock()
				fates[m.ID] = o.Fate
				mu.Unlock()
				if n == 20 {
					select {
					case begun <- struct{}{}:
					default:
					}
				}
				if o.Fate != queue.Confirmed {
					if !errors.Is(o.Err, queue.ErrClosed) && !errors.Is(o.Err, queue.ErrDisconnected) {
						t.Errorf("%s: %s (%v), want confirmed or closed", m.ID, o.Fate, o.Err)
					}
					return
				}
			}
		})
	}
	<-begun
	closeAll(t, q)
	publishing.Wait()
	q = open(t)
	publish(t, q, message("end"))
	fates["end"] = queue.Confirmed
	checkFates(t, q, fates)
}

// checkFates drains the queue: confirmed messages are there, refused ones are not.
func checkFates(t *testing.T, q queue.Queue, fates map[string]queue.Fate) {
	t.Helper()
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 500})
	missing := 0
	for _, fate := range fates {
		if fate == queue.Confirmed {
			missing++
		}
	}
	seen := map[string]bool{}
	for missing > 0 {
		batch, err := s.Receive(patient(t))
		if err != nil {
			t.Fatalf("%d confirmed messages are missing: %v", missing, err)
		}
		for _, d := range batch {
			fate, known := fates[d.ID]
			if !known || fate == queue.Refused {
				t.Errorf("%s was delivered, its fate was said to be %s", d.ID, fate)
			}
			if fate == queue.Confirmed && !seen[d.ID] {
				missing--
			}
			seen[d.ID] = true
		}
		ack(t, s, batch...)
	}
}

func testCancel(t *testing.T, open Opener) {
	q := open(t)
	s := subscribe(t, q, topic, queue.SubscribeOptions{BatchSize: 2, Linger: queue.MaxLinger})
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, err := s.Receive(ctx)
		waiting <- err
	}()
	cancel()
	wantError(t, <-waiting, context.Canceled)
	// A cancelled call loses nothing.
	publish(t, q, messages(2, "m%d")...)
	ack(t, s, receive(t, s, 2)...)
}

func testFull(t *testing.T, open Opener) {
	q := open(t, func(c *queue.Config) { c.MaxReady = 10 })
	fates := map[string]queue.Fate{}
	full := false
	for i := 0; !full && i < 500; i++ {
		m := message("m%d", i)
		o := q.Publish(patient(t), topic, []queue.Message{m})[0]
		fates[m.ID] = o.Fate
		full = o.Fate == queue.Refused
		switch {
		case o.Fate == queue.Unknown:
			t.Fatalf("message %d: %v, want a definite fate", i, o.Err)
		case full && i < 10:
			t.Fatalf("message %d refused: %v, want room for 10", i, o.Err)
		case full && !errors.Is(o.Err, queue.ErrFull) && !errors.Is(o.Err, queue.ErrRefused):
			t.Fatalf("refused with %v", o.Err)
		}
	}
	if !full {
		t.Fatal("500 messages fit into a queue for 10")
	}
	checkFates(t, q, fates)
	publish(t, q, message("room again"))
}

// testFullOfDelayed: what waits for its time is bounded, too, and apart from what is ready.
func testFullOfDelayed(t *testing.T, open Opener) {
	q := open(t, func(c *queue.Config) { c.MaxReady = 10 })
	publish(t, q, message("ready"))
	taken := 0
	for ; taken < 500; taken++ {
		m := message("later%d", taken)
		m.Delay = time.Hour
		o := q.Publish(patient(t), topic, []queue.Message{m})[0]
		if o.Fate == queue.Refused && (errors.Is(o.Err, queue.ErrFull) || errors.Is(o.Err, queue.ErrRefused)) {
			break
		}
		if o.Fate != queue.Confirmed {
			t.Fatalf("message %d: fate %s (%v)", taken, o.Fate, o.Err)
		}
	}
	if taken < 10 || taken == 500 {
		t.Fatalf("%d delayed messages fit into room for 10", taken)
	}
	publish(t, q, message("ready, too"))
	if d, err := q.Depth(t.Context(), topic); err != nil || d.Delayed != taken {
		t.Fatalf("%+v, %v; want %d delayed", d, err, taken)
	}
}
