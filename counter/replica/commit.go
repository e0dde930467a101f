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
func (r *Replica) Propose(c *Call) error { return r.ProposeThen(c, nil) }

// ProposeThen is Propose for who does not Wait: then is called, once and from another goroutine, when the
// fate of the call is known. It must not wait for anything, since other calls wait for it.
func (r *Replica) ProposeThen(c *Call, then func()) error {
	c.then = then
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
		g := r.queue.take(r.cfg.MaxGroup, r.cfg.InFlight)
		if g == nil {
			return
		}
		r.propose(g)
	}
}

func (r *Replica) propose(g *group) {
	term := r.tenure.Load()
	if term == nil {
		r.giveUp(g, r.notLeading())
		r.queue.settle()
		return
	}
	began := r.cfg.Monotonic()
	parts := make([]*machine.Encoded, len(g.calls))
	for i, c := range g.calls {
		parts[i] = &c.commands
	}
	entry := machine.AppendEntry(nil, r.wall.millis(), r.servedMillis(term, began), parts...)
	r.queue.entered(g, entry, began)
	term.started(began)
	future := r.raft.Apply(entry, proposeTimeout)
	go func() { // bounded by InFlight; Close waits for it in settled
		defer r.queue.settle()
		err := r.await(future)
		term.finished()
		if err != nil {
			r.giveUp(g, fate(err))
			return
		}
		// Applied, so answer was called, unless the entry came to it in other memory.
		r.giveUp(g, fmt.Errorf("%w: the log entry was applied without its results", ErrUnknown))
	}()
}

// answered notes that the calls of a group were all answered: by the state machine, so that nothing which waits
// for a reply has to wait for raft's own bookkeeping.
func (r *Replica) answered(g *group) {
	if g == nil {
		return
	}
	if len(g.calls) > 0 {
		panic(fmt.Sprintf("counter: %d calls were left without results", len(g.calls)))
	}
	r.cfg.OnGroup(g.commands, r.cfg.Monotonic()-g.began)
}

// giveUp answers the calls of a group whose entry has failed.
func (r *Replica) giveUp(g *group, err error) {
	if r.queue.giveUp(g) {
		for _, c := range g.calls {
			c.finish(err)
		}
	}
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

// fate tells what raft certainly did not take from what it may have written.
func fate(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}
