package main

import (
	"os"
	"runtime"
	"sync"
)

// threads decides how many threads run Go code at a time. For its daily work, many short hand-overs between a few
// goroutines, the counter takes half of the cores: Go wakes an idle thread at each hand-over, which finds nothing
// and goes back to sleep, and on two cores that would cost a third of all CPU time; the kernel's part (network,
// syncing) and the clients need the rest. While something computes for long it takes all of them,
// so that nobody waits behind that.
type threads struct {
	set       func(int) // runtime.GOMAXPROCS
	few, many int

	mu   sync.Mutex
	long int // computations under way
}

// newThreads is for a machine, or a quota, of so many cores.
func newThreads(cores int, set func(int)) *threads {
	t := &threads{set: set, few: max(1, cores/2), many: cores + 1} // one of the many may be syncing
	t.set(t.few)
	return t
}

// chooseThreads gives what brackets a long computation, nil when the environment says how many threads there are.
func chooseThreads() func() (done func()) {
	if os.Getenv("GOMAXPROCS") != "" {
		return nil
	}
	return newThreads(runtime.GOMAXPROCS(0), func(n int) { runtime.GOMAXPROCS(n) }).longWork
}

// longWork takes all cores until done is called, for the last computation that is under way.
func (t *threads) longWork() (done func()) {
	t.change(1)
	return sync.OnceFunc(func() { t.change(-1) })
}

func (t *threads) change(by int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.long += by
	switch {
	case by > 0 && t.long == 1:
		t.set(t.many)
	case t.long == 0:
		t.set(t.few)
	}
}
