package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// effort is what the Go runtime may take of the machine.
type effort struct {
	threads int // that run Go code at a time
	garbage int // percent of the memory in use that may gather as garbage before it is collected (GOGC)
}

// efforts changes between two of them. While something computes for long it takes all that speeds it up, so that
// nobody waits behind it. In its daily work, many short hand-overs between a few goroutines, the counter takes
//
//   - half of the cores: Go wakes an idle thread at each hand-over, which finds nothing and goes back to sleep, and
//     on two cores that would cost a third of all CPU time; the kernel's part (network, syncing) and the clients
//     need the rest;
//   - a quarter of its memory for garbage: orders hold no pointers, so that collecting is cheap, while memory that
//     was never used has to be got from the system, page by page.
type efforts struct {
	set         func(effort)
	daily, long effort

	mu    sync.Mutex
	works int // computations under way
}

// newEfforts is for a machine, or a quota, of so many cores.
func newEfforts(cores int, set func(effort)) *efforts {
	e := &efforts{
		set:   set,
		daily: effort{threads: max(1, cores/2), garbage: 25},
		long:  effort{threads: cores + 1, garbage: 100}, // one of the threads may be syncing
	}
	e.set(e.daily)
	return e
}

// chooseEfforts gives what brackets a long computation. What the environment says of the runtime stays so.
func chooseEfforts() func() (done func()) {
	return newEfforts(runtime.GOMAXPROCS(0), func(e effort) {
		if os.Getenv("GOMAXPROCS") == "" {
			runtime.GOMAXPROCS(e.threads)
		}
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(e.garbage)
		}
	}).longWork
}

// longWork takes the larger effort until done is called, for the last computation that is under way.
func (e *efforts) longWork() (done func()) {
	e.change(1)
	return sync.OnceFunc(func() { e.change(-1) })
}

func (e *efforts) change(by int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.works += by
	switch {
	case by > 0 && e.works == 1:
		e.set(e.long)
	case e.works == 0:
		e.set(e.daily)
	}
}
