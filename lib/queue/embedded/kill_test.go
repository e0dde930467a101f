package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/queue"
	"headgate.example/lib/queue/embedded"
	"headgate.example/lib/queue/queuetest"
)

// childFile makes the test's own program play a process that is killed: the value is the queue's file.
const childFile = "HEADGATE_QUEUE_CHILD_FILE"

// TestChild is the process that TestKill kills. It takes and acknowledges some messages of its parent,
// keeps the next batch, and publishes until it dies; it prints what was confirmed.
func TestChild(t *testing.T) {
	path := os.Getenv(childFile)
	if path == "" {
		t.Skip("only for TestKill")
	}
	q := open(t, path)
	s, err := q.Subscribe(t.Context(), "orders", queue.SubscribeOptions{BatchSize: 10, Prefetch: 20})
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ack(t.Context(), first...); err != nil {
		t.Fatal(err)
	}
	for _, d := range first {
		fmt.Println("acked", d.ID)
	}
	held, err := s.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range held {
		fmt.Println("held", d.ID)
	}
	for n := 0; ; n++ {
		m := queue.Message{ID: fmt.Sprintf("child-%d", n)}
		if o := q.Publish(t.Context(), "orders", []queue.Message{m})[0]; o.Fate == queue.Confirmed {
			fmt.Println("confirmed", m.ID)
		}
	}
}

// TestKill: what a killed process had confirmed is there, what it held comes again, what it had
// acknowledged does not, and a consumer in another process meanwhile goes on.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path)
	want := map[string]bool{}
	var list []queue.Message
	for i := range 20 {
		list = append(list, queue.Message{ID: fmt.Sprintf("parent-%d", i)})
		want[list[i].ID] = true
	}
	for i, o := range q.Publish(t.Context(), "orders", list) {
		if o.Fate != queue.Confirmed {
			t.Fatalf("message %d: %v", i, o.Err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestChild$") //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), childFile+"="+path)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	held, confirmed := 0, 0
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		what, id, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "acked":
			delete(want, id)
		case "held":
			held++
		case "confirmed":
			want[id] = true
			if confirmed++; confirmed == 50 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	_ = cmd.Wait() // killed
	if held == 0 || confirmed < 50 {
		t.Fatalf("the child held %d and confirmed %d before it ended by itself", held, confirmed)
	}

	killed := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := q.Subscribe(ctx, "orders", queue.SubscribeOptions{BatchSize: 500})
	if err != nil {
		t.Fatal(err)
	}
	for len(want) > 0 {
		batch, err := s.Receive(ctx)
		if err != nil {
			t.Fatalf("%d messages are missing, %v among them: %v", len(want), want, err)
		}
		for _, d := range batch {
			if !want[d.ID] && !strings.HasPrefix(d.ID, "child-") {
				t.Errorf("%s was acknowledged and came again", d.ID)
			}
			delete(want, d.ID)
		}
		if err := s.Ack(ctx, batch...); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("everything was there %s after the kill", time.Since(killed))
	if d, err := q.Depth(ctx, "orders"); err != nil || d != (queue.Depth{}) {
		t.Errorf("depth %+v (%v), want nothing", d, err)
	}
}

// TestSilentSubscription: a subscription that gave no sign of life for too long (a machine asleep) loses
// its claims, knows it, and goes on under a new number.
func TestSilentSubscription(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	sleeper := open(t, path)
	o := sleeper.Publish(t.Context(), "orders", []queue.Message{{ID: "m"}})
	if o[0].Fate != queue.Confirmed {
		t.Fatal(o[0].Err)
	}
	s, err := sleeper.Subscribe(t.Context(), "orders", queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := s.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Another process whose clock is ahead takes it for dead.
	cfg := queue.DefaultConfig()
	cfg.Path = path
	ahead, err := embedded.Open(t.Context(), cfg, queuetest.Log(t), embedded.WithClock(func() time.Time { return time.Now().Add(time.Hour) }))
	if err != nil {
		t.Fatal(err)
	}
	other, err := ahead.Subscribe(t.Context(), "orders", queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := other.Receive(t.Context())
	if err != nil || len(again) != 1 || again[0].Attempts != 2 {
		t.Fatalf("received %+v (%v), want the message again", again, err)
	}
	if err := s.Ack(t.Context(), batch...); !errors.Is(err, queue.ErrStale) {
		t.Fatalf("ack of a lost claim: %v, want stale", err)
	}
	if err := ahead.Close(); err != nil { // gives the message back
		t.Fatal(err)
	}
	if batch, err = s.Receive(t.Context()); err != nil || len(batch) != 1 {
		t.Fatalf("received %+v (%v), want the message a third time", batch, err)
	}
	if err := s.Ack(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
}

// TestLaterFormat: a file of a later program is refused with a clear word.
func TestLaterFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	embedded.SetFormat(t, path, 2)
	cfg := queue.DefaultConfig()
	cfg.Path = path
	if _, err := embedded.Open(t.Context(), cfg, queuetest.Log(t)); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Fatalf("error %v, want one that asks for a newer program", err)
	}
}

// TestNoFile: a file that is none of ours is an error, not a new queue.
func TestNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := queue.DefaultConfig()
	cfg.Path = path
	if _, err := embedded.Open(t.Context(), cfg, queuetest.Log(t)); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("error %v, want one that names the file", err)
	}
}

// TestClockSetBack: immediate messages do not wait for the clock.
func TestClockSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, path)
	if o := q.Publish(t.Context(), "orders", []queue.Message{{ID: "m"}}); o[0].Fate != queue.Confirmed {
		t.Fatal(o[0].Err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := queue.DefaultConfig()
	cfg.Path = path
	back, err := embedded.Open(t.Context(), cfg, queuetest.Log(t), embedded.WithClock(func() time.Time { return time.Now().Add(-24 * time.Hour) }))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close() //nolint:errcheck // a test's end
	s, err := back.Subscribe(t.Context(), "orders", queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := s.Receive(t.Context()); err != nil || len(d) != 1 {
		t.Fatalf("received %+v (%v)", d, err)
	}
}
