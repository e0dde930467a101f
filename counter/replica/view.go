package replica

import (
	"sync"
	"time"

	"headgate.example/counter/machine"
)

// View is applied state held still for reading, until End. The state does not move meanwhile, and no log
// entry is applied: hold it for a bounded number of reads, and wait for nothing.
type View struct {
	State *machine.State
	Clock Clock
	lock  *sync.RWMutex
}

// Look begins a View of what was true at most 100 ms ago, as Fresh reads it.
func (r *Replica) Look(wait time.Duration) (View, error) {
	if err := r.fresh(wait); err != nil {
		return View{}, err
	}
	clock, err := r.hold()
	if err != nil {
		return View{}, err
	}
	return View{State: r.state, Clock: clock, lock: &r.stateMu}, nil
}

// Frozen is Latest for what takes long: freeze is called with the state for itself and only marks what
// later entries shall not change, as machine.State.Snapshot does; use reads that, beside everybody else.
// One caller at a time, since whatever is edited meanwhile is kept twice; the others wait as long for their
// turn as for the verification.
func (r *Replica) Frozen(wait time.Duration, freeze func(*machine.State, Clock), use func()) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case r.freezing <- struct{}{}:
		defer func() { <-r.freezing }()
	case <-timer.C:
		return notAccepted("another long reading lasts for more than " + wait.String())
	}
	if r.tenure.Load() == nil {
		return r.notLeading()
	}
	if err := r.verify(wait); err != nil {
		return err
	}
	if err := r.freeze(freeze); err != nil {
		return err
	}
	defer r.cfg.LongWork()()
	use()
	return nil
}

func (r *Replica) freeze(freeze func(*machine.State, Clock)) error {
	term := r.tenure.Load()
	if term == nil {
		return r.notLeading()
	}
	clock := Clock{Wall: r.wall.millis(), Served: r.servedMillis(term, r.cfg.Monotonic())}
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	clock.Applied = r.applied.Load()
	freeze(r.state, clock)
	return nil
}

// End lets go of the state. The zero View has nothing to let go of.
func (v *View) End() {
	if v.lock != nil {
		v.lock.RUnlock()
	}
	*v = View{}
}
