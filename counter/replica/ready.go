package replica

import (
	"time"

	"headgate.example/counter/machine"
)

// How memory for the orders of a rush is made ready (machine.State.Wants): a look now and then, and while something is
// missing, a piece at a time with a pause behind each, so that a few percent of a core go there. A million orders
// take four seconds. The rush itself is left alone, as long as it is short.
const (
	readyEvery  = 50 * time.Millisecond
	readyPause  = 2 * time.Millisecond
	rushEntries = 10 // of the log, between two looks
	rushWait    = 2 * time.Second
)

func (r *Replica) readyLoop() {
	timer := time.NewTimer(readyEvery)
	defer timer.Stop()
	var rush rush
	for {
		select {
		case <-timer.C:
			if rush.look(r.applied.Load(), r.cfg.Monotonic()) || !r.makeReady() {
				timer.Reset(readyEvery)
			} else {
				timer.Reset(readyPause)
			}
		case <-r.stop:
			return
		}
	}
}

// rush tells when the log grows fast.
type rush struct {
	index     uint64
	at, began time.Duration
	on        bool
}

// look gives whether there is a rush, which has not lasted for long, by how far the log has grown.
func (u *rush) look(index uint64, now time.Duration) bool {
	if now-u.at >= readyEvery {
		was := u.on
		u.on = index-u.index >= rushEntries
		if !was {
			u.began = now
		}
		u.index, u.at = index, now
	}
	return u.on && now-u.began < rushWait
}

// makeReady makes one piece of memory, without the state's lock; false when none is missing.
func (r *Replica) makeReady() bool {
	want, missing := r.wants()
	if missing {
		spare := want.Make()
		r.stateMu.Lock()
		r.state.Keep(spare)
		r.stateMu.Unlock()
	}
	return missing
}

func (r *Replica) wants() (machine.Want, bool) {
	r.stateMu.RLock()
	defer r.stateMu.RUnlock()
	return r.state.Wants()
}

// MemoryReady tells whether the memory is there for all orders that the units on sale allow, or for machine.MaxReady of them.
func (r *Replica) MemoryReady() bool {
	_, missing := r.wants()
	return !missing
}
