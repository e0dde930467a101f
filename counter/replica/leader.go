package replica

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// barrierTimeout bounds one try to bring the barrier into the log after an election.
const barrierTimeout = 5 * time.Second

// tenure is one term of this voter as a leader that serves, from its barrier on.
type tenure struct {
	term   uint64 // raft's
	served *servedClock

	mu    sync.Mutex
	begun []time.Duration // of the groups in flight, oldest first
}

// stallAfter is how long a group may be in flight before served time stops: a log that does not
// move confirms no hold.
const stallAfter = time.Second

func (t *tenure) started(at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = append(t.begun, at)
}

func (t *tenure) finished() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = t.begun[1:] // groups finish in the order of the log
}

func (t *tenure) stalled(now time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.begun) > 0 && now-t.begun[0] > stallAfter
}

// servedMillis looks at the tenure's served time, which stands still while nobody could confirm a hold.
func (r *Replica) servedMillis(t *tenure, now time.Duration) int64 {
	return t.served.millis(now, t.stalled(now) || diskState(r.disk.Load()) == diskFull)
}

// serving gives the tenure, nil when this voter does not serve. A loss of leadership that was soon made
// good may reach leadershipLoop late, and as one change: the tenure of an earlier term then stands, but
// another voter may have led since, and no barrier has passed.
func (r *Replica) serving() *tenure {
	if t := r.tenure.Load(); t != nil && t.term == r.raft.CurrentTerm() {
		return t
	}
	return nil
}

// leadershipLoop opens and ends tenures. raft announces a leader before anything is committed, and
// may report a loss late, which is why readers also ask the verifier.
func (r *Replica) leadershipLoop() {
	for {
		select {
		case leads := <-r.raft.LeaderCh():
			r.tenure.Store(nil)
			if leads {
				r.takeOffice()
			} else {
				r.verifier.forget()
			}
		case <-r.retake: // a hand-over failed
			if r.tenure.Load() == nil {
				r.takeOffice()
			}
		case <-r.stop:
			return
		}
	}
}

func (r *Replica) takeOffice() {
	r.verifier.forget()
	for r.raft.State() == raft.Leader && r.Err() == nil {
		term := r.raft.CurrentTerm()
		err := r.raft.Barrier(barrierTimeout).Error()
		if err == nil && r.raft.CurrentTerm() == term {
			r.beginTenure(term)
			return
		}
		r.cfg.Log.Warn("waiting for the log after the election", "error", err)
		select {
		case <-r.stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// beginTenure is called when a barrier has passed in the term.
func (r *Replica) beginTenure(term uint64) {
	r.noteApplied(r.raft.AppliedIndex())
	r.endApplying()
	r.noteFormat() // the log up to the barrier may have brought other servers
	r.stateMu.RLock()
	served := r.state.Served()
	r.stateMu.RUnlock()
	r.office.Lock()
	defer r.office.Unlock()
	if r.leaving {
		return
	}
	r.tenure.Store(&tenure{term: term, served: newServedClock(served, r.cfg.Monotonic())})
	r.cfg.Log.Info("this counter leads its shard", "shard", r.cfg.Shard, "voter", r.id.Voter, "applied", r.raft.AppliedIndex())
}

// Ready is nil while this voter leads and serves; else why not.
func (r *Replica) Ready() error {
	if r.serving() == nil {
		return r.notLeading()
	}
	return nil
}

// verifier lets all readers share one VerifyLeader at a time.
type verifier struct {
	kick chan struct{}
	// verified is the monotonic time at which the last successful verification began; -1: none.
	verified atomic.Int64

	mu   sync.Mutex
	next *round // the round that has not begun
}

type round struct {
	done chan struct{}
	err  error
}

func newVerifier() *verifier {
	v := &verifier{kick: make(chan struct{}, 1)}
	v.forget()
	return v
}

func (v *verifier) forget() { v.verified.Store(-1) }

// join returns a round that begins after now.
func (v *verifier) join() *round {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.next == nil {
		v.next = &round{done: make(chan struct{})}
	}
	select {
	case v.kick <- struct{}{}:
	default:
	}
	return v.next
}

func (r *Replica) verifyLoop() {
	v := r.verifier
	for {
		select {
		case <-v.kick:
		case <-r.stop:
			v.mu.Lock()
			left := v.next
			v.next = &round{done: make(chan struct{}), err: notAccepted("the counter is stopping")}
			close(v.next.done)
			v.mu.Unlock()
			if left != nil {
				left.err = notAccepted("the counter is stopping")
				close(left.done)
			}
			return
		}
		v.mu.Lock()
		now := v.next
		v.next = nil
		v.mu.Unlock()
		if now == nil {
			continue
		}
		term := r.serving()
		switch began, err := r.confirmLeader(); {
		case err != nil:
			v.forget()
			now.err = r.notLeading()
		case term == nil || r.serving() != term:
			now.err = r.notLeading()
		default:
			v.verified.Store(int64(began))
		}
		close(now.done)
	}
}

// fresh waits until this leader was verified less than verifiedFor ago.
func (r *Replica) fresh(wait time.Duration) error {
	if r.serving() == nil {
		return r.notLeading()
	}
	age := r.cfg.Monotonic() - time.Duration(r.verifier.verified.Load())
	if known := r.verifier.verified.Load() >= 0; known && age < verifiedFor {
		if age > verifiedFor/2 {
			r.verifier.join() // ahead of time, so that under load nobody waits
		}
		return nil
	}
	return r.verify(wait)
}

// verify waits for a verification that begins after the call.
func (r *Replica) verify(wait time.Duration) error {
	now := r.verifier.join()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-now.done:
		return now.err
	case <-timer.C:
		return notAccepted("the leader could not be verified in " + wait.String())
	}
}

// Clock is the time that a read is answered at.
type Clock struct {
	Wall    int64 // milliseconds since 1970
	Served  int64 // milliseconds of served time
	Applied uint64
}

// Fresh reads applied state by a leader verified within the last 100 ms: for refusals from memory and
// for what may be a moment old. It waits at most so long for the verification. read must not keep the
// state.
func (r *Replica) Fresh(wait time.Duration, read func(*machine.State, Clock)) error {
	if err := r.fresh(wait); err != nil {
		return err
	}
	return r.look(read)
}

// Latest reads state that holds every command acknowledged before the call. A reply is sent only after
// its command was applied, and a new leader serves only after its barrier, so a verification that
// begins now makes the applied state good enough. It waits at most so long for that.
func (r *Replica) Latest(wait time.Duration, read func(*machine.State, Clock)) error {
	if r.serving() == nil {
		return r.notLeading()
	}
	if err := r.verify(wait); err != nil {
		return err
	}
	return r.look(read)
}

func (r *Replica) look(read func(*machine.State, Clock)) error {
	clock, err := r.hold()
	if err != nil {
		return err
	}
	defer r.stateMu.RUnlock()
	read(r.state, clock)
	return nil
}

// hold read-locks the state, unless there is no tenure.
func (r *Replica) hold() (Clock, error) {
	term := r.serving()
	if term == nil {
		return Clock{}, r.notLeading()
	}
	now := r.cfg.Monotonic()
	clock := Clock{Wall: r.wall.millis(), Served: r.servedMillis(term, now)}
	r.stateMu.RLock()
	clock.Applied = r.applied.Load()
	return clock, nil
}

// HandOver lets another voter lead, before a stop: no new commands; what is in flight is answered (up
// to the context's end); nothing is answered from memory any more; then another voter is told to stand
// for election at once. Afterwards this one names the new leader to whoever asks.
func (r *Replica) HandOver(ctx context.Context) error {
	if r.cfg.alone() {
		return nil
	}
	r.queue.close()
	r.queue.drained(ctx)
	r.office.Lock()
	r.leaving = true
	r.office.Unlock()
	return r.transfer()
}

// transfer gives the leadership away. The next leader does not wait for the others' heartbeats to
// stop, so this one stops answering from memory before it.
func (r *Replica) transfer() error {
	r.office.Lock()
	led := r.tenure.Swap(nil) != nil
	r.office.Unlock()
	r.verifier.forget()
	if !led {
		return nil
	}
	if err := r.raft.LeadershipTransfer().Error(); err != nil {
		select {
		case r.retake <- struct{}{}:
		default:
		}
		return fmt.Errorf("handing over the leadership: %w", err)
	}
	return nil
}
