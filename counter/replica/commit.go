package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// proposeTimeout bounds the wait for raft to take an entry over; beyond it the group was not accepted.
const proposeTimeout = 5 * time.Second

func notAccepted(reason string) error { return fmt.Errorf("%w: %s", ErrNotAccepted, reason) }

// Propose queues a call for the log. An error means that it certainly was not done: ErrBusy,
// ErrNotAccepted or *NotLeaderError. Otherwise the caller must Wait. The commands come from Add.
func (r *Replica) Propose(c *Call) error {
	if r.tenure.Load() == nil {
		return r.notLeading()
	}
	if err := r.diskAllows(c); err != nil {
		return err
	}
	return r.queue.put(c)
}

// notLeading says why this voter does not serve, and who might.
func (r *Replica) notLeading() error {
	if err := r.Err(); err != nil {
		return fmt.Errorf("%w: the log cannot be written, restart the counter: %w", ErrNotAccepted, err)
	}
	if client := r.leaderClient(); client != "" {
		return &NotLeaderError{Client: client}
	}
	return notAccepted("no leader serves yet")
}

// leaderClient is the RESP address of another voter who leads, or "".
func (r *Replica) leaderClient() string {
	if _, id := r.raft.LeaderWithID(); id != "" && string(id) != r.id.Voter {
		return r.clientOf(string(id))
	}
	return ""
}

// commitLoop turns queued calls into log entries. It alone stamps and proposes, so the stamps rise in
// the order of the log.
func (r *Replica) commitLoop() {
	for {
		calls, ok := r.queue.take(r.cfg.MaxGroup, r.cfg.InFlight)
		if !ok {
			return
		}
		r.propose(calls)
	}
}

func (r *Replica) propose(calls []*Call) {
	term := r.tenure.Load()
	if term == nil {
		r.finish(calls, nil, r.notLeading())
		r.queue.landed()
		return
	}
	began := r.cfg.Monotonic()
	e := machine.Entry{Wall: r.wall.millis(), Served: term.served.millis(began, term.stalled(began))}
	for _, c := range calls {
		e.Commands = append(e.Commands, c.Commands...)
	}
	term.started(began)
	future := r.raft.Apply(e.Append(make([]byte, 0, 64+96*len(e.Commands))), proposeTimeout)
	go func() { // bounded by InFlight; Close waits for it in settled
		defer r.queue.landed()
		err := r.await(future)
		term.finished()
		if err != nil {
			r.finish(calls, nil, fate(err))
			return
		}
		results := future.Response().([]machine.Result)
		if len(results) != len(e.Commands) {
			panic(fmt.Sprintf("counter: %d results of %d commands", len(results), len(e.Commands)))
		}
		r.finish(calls, results, nil)
		r.cfg.OnGroup(len(e.Commands), r.cfg.Monotonic()-began)
	}()
}

// await waits for raft's answer. A raft that has stopped may leave entries unanswered that it had
// handed to its FSM.
func (r *Replica) await(future raft.ApplyFuture) error {
	answer := make(chan error, 1)
	go func() { answer <- future.Error() }()
	select {
	case err := <-answer:
		return err
	case <-r.down:
		return raft.ErrRaftShutdown
	}
}

// finish gives each call its share of the results.
func (r *Replica) finish(calls []*Call, results []machine.Result, err error) {
	for _, c := range calls {
		if err != nil {
			c.finish(nil, err)
			continue
		}
		n := len(c.Commands)
		c.finish(results[:n:n], nil)
		results = results[n:]
	}
}

// fate tells what raft certainly did not take from what it may have written.
func fate(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}
