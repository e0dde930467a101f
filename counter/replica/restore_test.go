package replica

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// A voter with an empty log asks for entry 1. If there were one, raft would send it the log from there on,
// without the state that was restored.
func TestRestoredLogHasNoFirstEntry(t *testing.T) {
	from := open(t, testConfig(t))
	ready(t, from)
	openSale(t, from, 10)
	if _, err := propose(from, reserve(1)); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t)
	if err := Restore(t.Context(), cfg, from.state); err != nil {
		t.Fatal(err)
	}
	cfg.Bootstrap = false
	r := open(t, cfg)
	ready(t, r)
	if err := r.wal.GetLog(1, new(raft.Log)); err == nil {
		t.Error("the restored log has an entry 1")
	}
	if err := r.Latest(5*time.Second, func(s *machine.State, _ Clock) {
		if orders, _ := s.UserOrders("1", "u1"); len(orders) != 1 {
			t.Errorf("restored orders: %v", orders)
		}
	}); err != nil {
		t.Error(err)
	}
}

// Readings that freeze the state come one after the other, and each is of the moment of its turn.
func TestFrozenReadingsTakeTurns(t *testing.T) {
	r := open(t, testConfig(t))
	ready(t, r)
	openSale(t, r, 10)
	audit := func(use func(*machine.Auditing)) error {
		var begun *machine.Auditing
		return r.Frozen(5*time.Second, func(s *machine.State, now Clock) { begun, _ = s.BeginAudit("1", now.Wall) }, func() { use(begun) })
	}
	if err := audit(func(first *machine.Auditing) {
		if err := r.Frozen(50*time.Millisecond, func(*machine.State, Clock) {}, func() {}); err == nil {
			t.Error("a second one came in between")
		}
		if _, err := propose(r, reserve(1)); err != nil { // the log goes on meanwhile
			t.Error(err)
		}
		if a := first.Finish(); a.HeldOrders != 0 || a.Violation != "" {
			t.Errorf("the first: %+v", a)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := audit(func(second *machine.Auditing) {
		if a := second.Finish(); a.HeldOrders != 1 || a.Violation != "" {
			t.Errorf("the second: %+v", a)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
