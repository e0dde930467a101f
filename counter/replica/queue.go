package replica

import (
	"context"
	"slices"
	"sync"
	"time"

	"headgate.example/counter/machine"
)

// Call is some commands of one caller, who wants them in the log together and in this order. Between
// two uses it may be reused with Reset.
type Call struct {
	// Results has one result per command, once Wait returned nil, until Reset.
	Results []machine.Result

	commands machine.Encoded
	weight   int
	begins   bool // a command begins something new
	err      error
	done     chan struct{}
	then     func() // called instead of waking Wait
}

// What a call keeps for its next use, at most.
const (
	resultsKept = 256
	bytesKept   = 32 << 10
)

// NewCall returns an empty call.
func NewCall() *Call { return &Call{done: make(chan struct{}, 1)} }

// Reset empties the call for its next use, which must not be while it is proposed.
func (c *Call) Reset() {
	c.commands.Reset(bytesKept)
	clear(c.Results)
	if c.Results = c.Results[:0]; cap(c.Results) > resultsKept {
		c.Results = nil
	}
	c.err, c.weight, c.begins = nil, 0, false
}

// Len is the number of commands in the call.
func (c *Call) Len() int { return c.commands.Len() }

// Commands decodes the call's commands, in their order, until Reset; not between Propose and Wait.
func (c *Call) Commands() []machine.Command { return c.commands.Commands() }

// Wait returns when the fate of the call's commands is known, the same for all of them: nil,
// ErrNotAccepted, ErrUnknown or *NotLeaderError. It always returns, at the latest when the replica closes.
func (c *Call) Wait() error {
	<-c.done
	return c.err
}

// Err is what Wait returns, for whom then of ProposeThen has told that it is known.
func (c *Call) Err() error { return c.err }

// finish tells the fate of the call to who waits for it.
func (c *Call) finish(err error) {
	c.err = err
	if c.then != nil {
		c.then()
		return
	}
	c.done <- struct{}{}
}

// Add appends the commands of one request, which have passed Validate, all or none: false when they do
// not fit into the same log entry as what the call holds already. An empty call takes up to MaxGroup
// commands. Nothing of commands is kept.
func (r *Replica) Add(c *Call, commands ...machine.Command) bool {
	sum := c.weight
	for i := range commands {
		sum += weight(&commands[i], r.cfg.MaxGroup)
	}
	if sum > r.cfg.MaxGroup && c.Len() > 0 {
		return false
	}
	newest := r.newestFormat()
	for i := range commands {
		c.commands.Add(&commands[i], newest)
		c.begins = c.begins || begins(commands[i].Kind)
	}
	c.weight = sum
	return true
}

// begins tells what promises something new from what keeps or ends a promise.
func begins(kind machine.Kind) bool {
	switch kind {
	case machine.Reserve, machine.OpenSale, machine.RestoreSale, machine.Ban, machine.Revoke:
		return true
	}
	return false
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
	commands  int      // in calls
	flying    []*group // taken and not yet applied or given up, in the order of the log
	unsettled int      // groups that somebody still looks after
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
	case q.commands+c.Len() > q.maxQueued && q.commands > 0:
		return ErrBusy
	}
	q.calls = append(q.calls, c)
	q.commands += c.Len()
	q.changed.Broadcast()
	return nil
}

// askTick asks for an entry without commands, if nothing else is on its way.
func (q *queue) askTick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.commands == 0 && q.unsettled == 0 && !q.closed {
		q.tick = true
		q.changed.Broadcast()
	}
}

// group is the calls of one log entry.
type group struct {
	calls    []*Call // that were not answered yet
	commands int
	entry    []byte        // as given to raft
	began    time.Duration // when it was, by the monotonic clock
}

// told hands the next results of the entry's commands to its calls, and finishes those that have all of theirs.
func (g *group) told(results []machine.Result) {
	for len(results) > 0 {
		c := g.calls[0]
		n := min(c.Len()-len(c.Results), len(results))
		c.Results = append(c.Results, results[:n]...)
		if results = results[n:]; len(c.Results) == c.Len() {
			g.calls = g.calls[1:]
			c.finish(nil)
		}
	}
}

// ripe says whether to take a group now: at once when nothing is in flight; otherwise as soon as as many commands
// wait as are in flight, since a small entry between large ones costs a sync, and messages to the other
// voters, that its commands may as well share with those that come meanwhile.
func (q *queue) ripe(maxInFlight int) bool {
	if len(q.flying) == 0 {
		return len(q.calls) > 0 || q.tick
	}
	flying := 0
	for _, g := range q.flying {
		flying += g.commands
	}
	return len(q.flying) < maxInFlight && len(q.calls) > 0 && q.commands >= flying
}

// take waits until a group is ripe, then takes the first calls up to maxGroup in weight: late, so that as many
// as possible share an entry. A group without calls is a tick; nil ends the loop.
func (q *queue) take(maxGroup, maxInFlight int) *group {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.stopped && !q.ripe(maxInFlight) {
		q.changed.Wait()
	}
	if q.stopped {
		return nil
	}
	taken, sum := 0, 0
	g := &group{}
	for taken < len(q.calls) {
		c := q.calls[taken]
		if taken > 0 && sum+c.weight > maxGroup {
			break
		}
		sum += c.weight
		g.commands += c.Len()
		taken++
	}
	g.calls = append(make([]*Call, 0, taken), q.calls[:taken]...)
	q.commands -= g.commands
	rest := copy(q.calls, q.calls[taken:])
	clear(q.calls[rest:])
	q.calls = q.calls[:rest]
	q.tick = false
	q.flying = append(q.flying, g)
	q.unsettled++
	return g
}

// entered notes what is about to be given to raft for a group.
func (q *queue) entered(g *group, entry []byte, at time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	g.entry, g.began = entry, at
}

// applying gives the group whose entry this is, for the caller to answer, and frees its place in flight.
// nil: the entry is not of this leader's making, or its calls were answered already. The entry is known
// by its memory, which raft hands on from proposal to application.
func (q *queue) applying(entry []byte) *group {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, g := range q.flying {
		if len(g.entry) > 0 && len(entry) > 0 && &g.entry[0] == &entry[0] {
			q.land(g)
			return g
		}
	}
	return nil
}

// giveUp takes a group back whose entry will not be applied under the eyes of its callers: true when
// the caller must answer it, false when applying has given it to somebody else.
func (q *queue) giveUp(g *group) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.land(g)
}

func (q *queue) land(g *group) bool {
	i := slices.Index(q.flying, g)
	if i < 0 {
		return false
	}
	q.flying = slices.Delete(q.flying, i, i+1)
	q.changed.Broadcast()
	return true
}

// settle ends a group.
func (q *queue) settle() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unsettled--
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
	for (len(q.calls) > 0 || q.unsettled > 0) && ctx.Err() == nil {
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
		c.finish(notAccepted("the counter is stopping"))
	}
}

// settled waits for the groups in flight, after raft has stopped and answered them.
func (q *queue) settled() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.unsettled > 0 {
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
	return q.commands, q.unsettled
}
