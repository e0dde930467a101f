package queuetest_test

import (
	"errors"
	"path/filepath"
	"testing"

	"headgate.example/lib/queue"
	"headgate.example/lib/queue/embedded"
	"headgate.example/lib/queue/queuetest"
)

func faulty(t *testing.T) *queuetest.Faulty {
	t.Helper()
	cfg := queue.DefaultConfig()
	cfg.Path = filepath.Join(t.TempDir(), "queue.db")
	q, err := embedded.Open(t.Context(), cfg, queuetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return queuetest.NewFaulty(q)
}

// TestFaultyConforms: without a script the decorator changes nothing.
func TestFaultyConforms(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Opener {
		path := filepath.Join(t.TempDir(), "queue.db")
		return func(t *testing.T, change ...func(*queue.Config)) queue.Queue {
			cfg := queue.DefaultConfig()
			cfg.Path = path
			for _, f := range change {
				f(&cfg)
			}
			q, err := embedded.Open(t.Context(), cfg, queuetest.Log(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = q.Close() })
			return queuetest.NewFaulty(q)
		}
	})
}

func TestScript(t *testing.T) {
	q := faulty(t)
	q.Script(queuetest.Refuse, queuetest.UnknownLost, queuetest.UnknownStored, queuetest.UnknownDuplicate)
	q.Decide(func(_ string, m queue.Message) queuetest.Step {
		if m.ID == "chosen" {
			return queuetest.Refuse
		}
		return queuetest.Pass
	})
	list := []queue.Message{{ID: "refused"}, {ID: "lost"}, {ID: "stored"}, {ID: "twice"}, {ID: "chosen"}, {ID: "fine"}}
	want := []queue.Fate{queue.Refused, queue.Unknown, queue.Unknown, queue.Unknown, queue.Refused, queue.Confirmed}
	for i, o := range q.Publish(t.Context(), "orders", list) {
		if o.Fate != want[i] || (o.Err == nil) != (want[i] == queue.Confirmed) {
			t.Errorf("%s: %s (%v), want %s", list[i].ID, o.Fate, o.Err, want[i])
		}
	}
	lost := errors.New("away")
	q.FailReceive(lost)
	q.FailSettling(nil, lost)
	s, err := q.Subscribe(t.Context(), "orders", queue.SubscribeOptions{BatchSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(t.Context()); !errors.Is(err, lost) {
		t.Fatalf("receive: %v, want the scripted error", err)
	}
	batch, err := s.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, d := range batch {
		seen[d.ID]++
	}
	if len(seen) != 3 || seen["stored"] != 1 || seen["twice"] != 2 || seen["fine"] != 1 {
		t.Fatalf("delivered %v", seen)
	}
	if err := s.Ack(t.Context(), batch[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.Ack(t.Context(), batch[1]); !errors.Is(err, lost) {
		t.Fatalf("ack: %v, want the scripted error", err)
	}
	if err := s.Ack(t.Context(), batch[1:]...); err != nil {
		t.Fatal(err)
	}
}
