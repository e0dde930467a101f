package peers

import (
	"strconv"
	"sync/atomic"
	"time"

	"headgate.example/hashring"
	"headgate.example/interceptor/userkey"
)

// partitions is the number of groups that keys fall into, each with one owner.
const partitions = hashring.DefaultPartitions

// partitionOf gives the group of a key: it depends on the slot only.
func partitionOf(key uint64) int { return int(userkey.Slot(key)) % partitions }

// names are the nodes of the ring; none while joining.
func (v *view) names() []string {
	if v.ring == nil {
		return nil
	}
	return v.ring.Members()
}

// partState is how far this node may serve a partition.
type partState uint8

const (
	partAway    partState = iota // another node owns it
	partPending                  // ours, but what its former owner knows has not arrived yet
	partReady                    // ours
)

// part is one partition as this node sees it.
type part struct {
	state   partState
	given   bool      // away, and handed over by this node: who still sends it here is told so
	owner   *member   // of what is away; nil: this node
	careful time.Time // ready: until then budgets that are not known here are not known at all
	since   int64     // ready: who ordered is remembered since then, counter's clock, ms
}

// view is one node's picture of the ring at one moment. It is immutable but for its counters.
type view struct {
	ring     *hashring.Ring // nil while joining
	epoch    uint64
	parts    [partitions]part
	pending  bool          // some part is
	deadline time.Time     // of what is pending: what has not arrived by then is taken for lost
	changed  chan struct{} // closed when another view takes its place
	active   *sections
}

// sections counts requests that are between finding their owner to be this node and having taken from its
// budgets: what is handed over must be read after they are through.
type sections struct {
	count [64]struct {
		n atomic.Int64
		_ [56]byte // a cache line each
	}
}

func (s *sections) quiet() bool {
	for i := range s.count {
		if s.count[i].n.Load() != 0 {
			return false
		}
	}
	return true
}

// Section is one such request. The zero value is none.
type Section struct{ n *atomic.Int64 }

// Leave ends it; more than once does no harm.
func (s *Section) Leave() {
	if s.n != nil {
		s.n.Add(-1)
		s.n = nil
	}
}

// gift is what one other member gets after a change of the ring: partitions that are its own now, with
// whatever this node kept of their users, and since when orders are remembered in them.
type gift struct {
	to    *member
	parts []givenPart
}

type givenPart struct {
	partition int
	since     int64
}

// heldParts are partitions that were handed over to this node although its ring names another, with their
// since: either its ring is behind, or the sender's is. They wait for the ring, or are passed on.
type heldParts [partitions]*int64

// transition is all that the next view depends on.
type transition struct {
	old     *view
	ring    *hashring.Ring     // of the live members
	members map[string]*member // by name; without this node
	held    *heldParts
	first   bool // no other node serves yet: what nobody had is ours to give
	now     time.Time
	wall    int64 // counter's clock, ms
	wait    time.Duration
	opened  int64 // counter's clock when this node was opened
}

// next makes the view after a change of the ring, and says what every other member has to be told: which of
// its partitions were this node's.
func (t *transition) next() (*view, []*gift) {
	v := &view{ring: t.ring, changed: make(chan struct{}), active: t.old.active}
	v.epoch, _ = strconv.ParseUint(t.ring.Epoch(), 16, 64) // 16 hex digits
	if v.deadline = t.old.deadline; t.old.ring == nil || !t.old.pending {
		v.deadline = t.now.Add(t.wait)
	}
	names := t.ring.Members()
	gifts := map[*member]*gift{}
	for _, name := range names {
		if m := t.members[name]; m != nil {
			gifts[m] = &gift{to: m}
		}
	}
	for p := range v.parts {
		was := t.old.parts[p]
		mine := was.state == partReady
		if t.old.ring == nil {
			was, mine = part{since: t.opened}, t.first
		}
		owner := t.members[names[t.ring.PartitionOwner(p)]] // nil: this node
		switch {
		case owner == nil && mine:
			v.parts[p] = part{state: partReady, careful: was.careful, since: was.since}
		case owner == nil && t.held[p] != nil: // it came before this node knew that it is the owner
			v.parts[p] = part{state: partReady, since: *t.held[p]}
			t.held[p] = nil
		case owner == nil:
			v.parts[p] = part{state: partPending}
			v.pending = true
		default:
			v.parts[p] = part{state: partAway, owner: owner, given: mine || was.given}
			if mine {
				gifts[owner].parts = append(gifts[owner].parts, givenPart{partition: p, since: was.since})
				v.active = nil
			}
		}
	}
	if v.active == nil {
		v.active = &sections{}
	}
	list := make([]*gift, 0, len(gifts))
	for _, g := range gifts {
		list = append(list, g)
	}
	return v, list
}

// joiningView is that of a node which has not heard from its peers yet: all is pending.
func joiningView() *view {
	v := &view{changed: make(chan struct{}), active: &sections{}, pending: true}
	for p := range v.parts {
		v.parts[p].state = partPending
	}
	return v
}

// with copies a view, to be changed in its parts and published.
func (v *view) with() *view {
	return &view{ring: v.ring, epoch: v.epoch, parts: v.parts, deadline: v.deadline, changed: make(chan struct{}), active: v.active}
}

// count tells whether something is pending still.
func (v *view) count() *view {
	v.pending = false
	for p := range v.parts {
		v.pending = v.pending || v.parts[p].state == partPending
	}
	return v
}
