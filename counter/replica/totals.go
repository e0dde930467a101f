package replica

import "headgate.example/counter/machine"

// Totals adds up the applied state of this voter, whoever leads.
func (r *Replica) Totals() machine.Totals {
	r.stateMu.RLock()
	defer r.stateMu.RUnlock()
	return r.state.Totals()
}
