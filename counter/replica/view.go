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

// End lets go of the state. The zero View has nothing to let go of.
func (v *View) End() {
	if v.lock != nil {
		v.lock.RUnlock()
	}
	*v = View{}
}
