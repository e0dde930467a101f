package replica

import "headgate.example/counter/machine"

// Tenure identifies the term in which this voter serves as the leader: equal values are one term, nil
// means that it does not serve.
func (r *Replica) Tenure() any {
	if t := r.serving(); t != nil {
		return t
	}
	return nil
}

// Peek reads applied state without verifying that this voter still leads: for decisions that the log or
// a peer checks again, never for an answer. An error means that it does not serve.
func (r *Replica) Peek(read func(*machine.State, Clock)) error { return r.look(read) }
