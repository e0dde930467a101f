package replica

import (
	"context"
	"sync"

	"headgate.example/counter/machine"
)

// Call is some commands of one caller, who wants them in the log together and in this order. Between
// two uses it may be reused with Reset.
type Call struct {
	Commands []machine.Command
	// Results has one result per command, once Wait returned nil.
	Results []machine.Result

	weight int
	err    error
	done   chan struct{}
}

// commandsKept is how many commands' memory a call keeps for its next use.
const commandsKept = 256

// NewCall returns an empty call.
func NewCall() *Call { return &Call{done: make(chan struct{}, 1)} }

// Reset empties the call for its next use, which must not be while it is proposed.
func (c *Call) Reset() {
	clear(c.Commands)
	if c.Commands = c.Commands[:0]; cap(c.Commands) > commandsKept {
		c.Commands = nil
	}
	c.Results, c.err, c.weight = nil, nil, 0
}

// Wait returns when the fate of the call's commands is known, the same for all of them: nil,
// ErrNotAccepted, ErrUnknown or *NotLeaderError. It always returns, at the latest when the replica closes.
func (c *Call) Wait() error {
	<-c.done
	return c.err
}

func (c *Call) finish(results []machine.Result, err error) {
	c.Results, c.err = results, err
	c.done <- struct{}{}
}

// Add appends the commands of one request, all or none: false when they do not fit into the same log
// entry as what the call holds already. An empty call takes up to MaxGroup commands.
func (r *Replica) Add(c *Call, commands ...machine.Command) bool {
	sum := c.weight
	for i := range commands {
		sum += weight(&commands[i], r.cfg.MaxGroup)
	}
	if sum > r.cfg.MaxGroup && len(c.Commands) > 0 {
		return false
	}
	c.Commands = append(c.Commands, commands...)
	c.weight = sum
	return true
}

// weight is a command's share of a group, so that a group stays within machine.MaxEntryBytes.
func weight(c *machine.Command, maxGroup int) int {
	switch c.Kind {
	case machine.RestoreSale:
		return maxGroup
	case machine.OpenSale:
		return min(32, maxGroup)
	}
	return 1
}

// queue holds the calls that wait for the log, and counts those in flight. Its lock is a leaf: nothing
// is called while it is held.
type queue struct {
	mu        sync.Mutex
	changed   sync.Cond
	calls     []*Call
	commands  int // in calls
	inFlight  int // groups given to raft and not settled
	tick      bool
	closed    bool
	stopped   bool
	maxQueued int
}

func newQueue(maxQueued int) *queue {
	q := &queue{maxQueued: maxQueued}
	q.changed.L = &q.mu
	return q
}

func (q *queue) put(c *Call) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return notAccepted("the counter is stopping")
	case q.commands+len(c.Commands) > q.maxQueued && q.commands > 0:
		return ErrBusy
	}
	q.calls = append(q.calls, c)
	q.commands += len(c.Commands)
	q.changed.Broadcast()
	return nil
}

// askTick asks for an entry without commands, if nothing else is on its way.
func (q *queue) askTick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.commands == 0 && q.inFlight == 0 && !q.closed {
		q.tick = true
		q.changed.Broadcast()
	}
}

// take waits for something to do and for a free place in flight, then takes the first calls up to
// maxGroup in weight. It takes late, so that as many as possible share an entry. No calls and true
// is a tick; false ends the loop.
func (q *queue) take(maxGroup, maxInFlight int) ([]*Call, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.stopped && (q.inFlight >= maxInFlight || len(q.calls) == 0 && !q.tick) {
		q.changed.Wait()
	}
	if q.stopped {
		return nil, false
	}
	taken, sum := 0, 0
	for taken < len(q.calls) {
		w := q.calls[taken].weight
		if taken > 0 && sum+w > maxGroup {
			break
		}
		sum += w
		q.commands -= len(q.calls[taken].Commands)
		taken++
	}
	group := make([]*Call, taken)
	copy(group, q.calls)
	rest := copy(q.calls, q.calls[taken:])
	clear(q.calls[rest:])
	q.calls = q.calls[:rest]
	q.tick = false
	q.inFlight++
	return group, true
}

func (q *queue) landed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight--
	q.changed.Broadcast()
}

// close refuses further calls.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

// drained waits until nothing is queued or in flight, or the context ends.
func (q *queue) drained(ctx context.Context) {
	defer context.AfterFunc(ctx, q.wake)()
	q.mu.Lock()
	defer q.mu.Unlock()
	for (len(q.calls) > 0 || q.inFlight > 0) && ctx.Err() == nil {
		q.changed.Wait()
	}
}

// stop ends take, and answers the calls that nobody will take any more.
func (q *queue) stop() {
	q.mu.Lock()
	q.closed, q.stopped = true, true
	left := q.calls
	q.calls, q.commands = nil, 0
	q.changed.Broadcast()
	q.mu.Unlock()
	for _, c := range left {
		c.finish(nil, notAccepted("the counter is stopping"))
	}
}

// settled waits for the groups in flight, after raft has stopped and answered them.
func (q *queue) settled() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.inFlight > 0 {
		q.changed.Wait()
	}
}

func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed.Broadcast()
}

func (q *queue) depth() (commands, inFlight int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.commands, q.inFlight
}
