package simulation

import (
	"time"
)

// delay draws how long a message is on its way.
func (w *world) delay() time.Duration {
	if w.chance(w.slow) {
		return w.between(time.Millisecond, 400*time.Millisecond)
	}
	if w.far {
		return w.between(5*time.Millisecond, 50*time.Millisecond)
	}
	return w.between(100*time.Microsecond, 3*time.Millisecond)
}

// send brings a message from one end to another: perhaps never, perhaps twice.
func (w *world) send(from, to int, arrive func()) {
	copies := 1
	if w.chance(w.double) {
		copies = 2
	}
	for range copies {
		w.report.Messages++
		if w.chance(w.drop) {
			continue
		}
		w.after(w.delay(), func() {
			if w.cuts[from][to] <= w.now {
				arrive()
			}
		})
	}
}

// everybody is the end at which buyers and the operator are.
func (w *world) everybody() int { return len(w.shards) }

// call asks the leader of a shard and waits for its answer. done is called once: with false when none
// came in time, whatever became of the request.
func (w *world) call(from int, to *shard, timeout time.Duration, serve func(n *node, reply func(any)), done func(any, bool)) {
	finished := false
	finish := func(answer any, ok bool) {
		if !finished {
			finished = true
			done(answer, ok)
		}
	}
	w.send(from, to.index, func() {
		if to.node == nil { // nobody leads
			w.send(to.index, from, func() { finish(nil, false) })
			return
		}
		serve(to.node, func(answer any) {
			w.send(to.index, from, func() { finish(answer, true) })
		})
	})
	w.after(timeout, func() { finish(nil, false) })
}
