package replica

import (
	"testing"

	"headgate.example/counter/machine"
)

// A second entry waits until it has as many commands as the first, or the first has landed.
func TestGroupIsTakenWhenRipe(t *testing.T) {
	const inFlight = 2
	q := newQueue(1000)
	put := func(commands int) {
		t.Helper()
		c := NewCall()
		for range commands {
			c.commands.Add(&machine.Command{Kind: machine.Confirm, Order: 1}, machine.EntryVersion)
			c.weight++
		}
		if err := q.put(c); err != nil {
			t.Fatal(err)
		}
	}
	ripe := func(want bool) {
		t.Helper()
		q.mu.Lock()
		defer q.mu.Unlock()
		if got := q.ripe(inFlight); got != want {
			t.Errorf("ripe is %v with %d commands and %d groups in flight", got, q.commands, len(q.flying))
		}
	}
	take := func(want int) *group {
		t.Helper()
		ripe(true)
		g := q.take(100, inFlight)
		if g.commands != want {
			t.Errorf("%d commands were taken, want %d", g.commands, want)
		}
		return g
	}
	ripe(false)
	put(3)
	first := take(3)
	ripe(false)
	put(2)
	ripe(false)
	put(1)
	second := take(3)
	put(10)
	ripe(false) // no place
	q.giveUp(first)
	third := take(10)
	q.giveUp(second)
	put(9)
	ripe(false)
	q.giveUp(third)
	take(9)
}

func TestTickIsTakenAlone(t *testing.T) {
	q := newQueue(1000)
	q.askTick()
	if g := q.take(100, 2); len(g.calls) != 0 {
		t.Errorf("a tick has %d calls", len(g.calls))
	}
}
