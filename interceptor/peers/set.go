package peers

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"headgate.example/hashring"
	"headgate.example/lib/auth"
)

// Handler serves hops that came from peers.
type Handler interface {
	// ServeHop is called on the link's own goroutine, for one hop after the other: it must not wait. The
	// payload is the link's; hop.Answer or hop.Moved must be called once, then or later.
	ServeHop(hop Hop)
}

// Options are what a Set needs besides its Config.
type Options struct {
	Self       string
	Peers      []Peer // with this node
	Config     Config
	Careful    time.Duration        // see Config.CarefulFor
	Keys       func() *auth.Keyring // of hops
	UserKeys   []byte               // tells the keys apart by which nodes know users; only those that agree open links
	Clock      func() time.Time
	Wall       func() int64  // the counter's clock, ms; rather late than early
	ConfigHash func() string // shown to peers, so that differing ones stand out
	Stores     []Store       // what is handed over; the same on all nodes
	// Forgotten is the time, as Place.Since, up to which orders were remembered here and may be forgotten;
	// nil: none ever is.
	Forgotten func() int64
	Log       *slog.Logger
	// Dial opens a connection to a peer; nil: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Set is one node's view of all edges. It is safe for concurrent use.
type Set struct {
	Figures // counters

	cfg        Config
	self       string
	careful    time.Duration
	keys       func() *auth.Keyring
	userKeys   []byte
	clock      func() time.Time
	wall       func() int64
	configHash func() string
	stores     []Store
	forgotten  func() int64
	log        *slog.Logger
	dial       func(ctx context.Context, address string) (net.Conn, error)
	handler    Handler

	members []*member // the other edges, by name
	view    atomic.Pointer[view]
	opened  int64 // counter's clock, ms
	alone   bool  // there are no other edges in the config

	mu       sync.Mutex // held for changes of members and view
	draining bool
	joining  bool
	words    uint64 // the number of the last one said; they begin at the start's time, above those of a process before
	joinBy   time.Time
	held     heldParts
	through  time.Time // since when every live peer has handed over what it had for this ring; zero: not yet
	inbounds map[*inbound]struct{}
	closed   bool

	gifts   chan giftJob
	pending atomic.Int64 // gift jobs that are not done
	settled chan struct{}
	lastHop atomic.Int64   // when a hop came, unix ns
	serving sync.WaitGroup // of inbound links
	foreign foreignEpochs
}

// Figures count what happened between edges since the start.
type Figures struct {
	RingChanges   atomic.Int64
	Deaths        atomic.Int64 // peers that were alive and are not
	LostParts     atomic.Int64 // partitions taken over without what their owner knew
	EntriesSent   atomic.Int64 // budgets and marks handed over
	EntriesTaken  atomic.Int64
	FailedGifts   atomic.Int64 // handovers that did not reach the new owner
	ForeignServed atomic.Int64 // hops served here although the ring names another
	BadLinks      atomic.Int64 // links that were refused or broke the protocol
}

// New makes the Set of a node. Run makes it work; before, and until it has heard from its peers, requests
// have to wait.
func New(o Options) *Set {
	s := &Set{
		cfg: o.Config, self: o.Self, careful: o.Careful, keys: o.Keys, userKeys: o.UserKeys, clock: o.Clock, wall: o.Wall, configHash: o.ConfigHash, stores: o.Stores, forgotten: o.Forgotten,
		log: o.Log, dial: o.Dial, inbounds: map[*inbound]struct{}{}, gifts: make(chan giftJob, 64), settled: make(chan struct{}),
	}
	if s.forgotten == nil {
		s.forgotten = func() int64 { return 0 }
	}
	if s.dial == nil {
		s.dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: s.cfg.ConnectTimeout}).DialContext(ctx, "tcp", address)
		}
	}
	for _, p := range o.Peers {
		if p.Name != o.Self {
			s.members = append(s.members, &member{set: s, name: p.Name, address: p.Address, wake: make(chan struct{}, 1)})
		}
	}
	slices.SortFunc(s.members, func(a, b *member) int { return compareNames(a.name, b.name) })
	now := s.clock()
	s.words = uint64(now.UnixNano())
	s.opened = s.wall()
	s.alone = len(s.members) == 0
	s.joining = !s.alone
	s.joinBy = now.Add(joinWithin)
	s.view.Store(joiningView())
	if s.alone {
		s.mu.Lock()
		s.settle(now)
		s.mu.Unlock()
	}
	return s
}

// Begin takes the time anew since when orders are remembered, once the counter's clock is known. It may be called
// before Run, and before any request.
func (s *Set) Begin() { s.opened = s.wall() }

// joinWithin bounds how long a node that starts waits for peers that neither answer nor refuse.
const joinWithin = 2 * time.Second

// Run watches the peers and hands over, until ctx ends. handler serves their hops.
func (s *Set) Run(ctx context.Context) {
	if s.alone {
		<-ctx.Done()
		return
	}
	var group sync.WaitGroup
	for _, m := range s.members {
		group.Go(func() { m.run(ctx) })
	}
	group.Go(func() { s.handOver(ctx) })
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.tick(s.clock())
			continue
		case <-ctx.Done():
		}
		break
	}
	s.mu.Lock()
	s.closed = true
	for in := range s.inbounds {
		in.fail(context.Canceled)
	}
	s.mu.Unlock()
	group.Wait()
	s.serving.Wait()
}

// tickEvery is the precision of deadlines that no event ends.
const tickEvery = 25 * time.Millisecond

// SetHandler names who serves the hops of peers. It is called before Run.
func (s *Set) SetHandler(h Handler) { s.handler = h }

// tick ends what has waited long enough.
func (s *Set) tick(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joining {
		s.tryJoin(now)
		return
	}
	s.silentInbounds(now)
	s.resolve(now)
	s.passOn()
}

// tryJoin ends joining when each peer has answered twice or could not be reached, with the lock held.
func (s *Set) tryJoin(now time.Time) {
	if now.Before(s.joinBy) {
		for _, m := range s.members {
			if !m.alive && !m.tried {
				return
			}
		}
	}
	s.settle(now)
}

// settle makes the first real view, with the lock held.
func (s *Set) settle(now time.Time) {
	s.joining = false
	s.change(now)
	close(s.settled)
}

// Settled is closed when the node has heard from its peers, or waited for them long enough.
func (s *Set) Settled() <-chan struct{} { return s.settled }

// live lists the members of the ring, with the lock held.
func (s *Set) live(withSelf bool) []string {
	var names []string
	for _, m := range s.members {
		if m.alive && !m.draining && !m.joining() {
			names = append(names, m.name)
		}
	}
	if withSelf && (!s.draining || len(names) == 0) {
		names = append(names, s.self)
	}
	return names
}

// update makes the next view when the live members are others than before, with the lock held.
func (s *Set) update(now time.Time) {
	if s.joining {
		s.tryJoin(now)
		return
	}
	s.change(now)
}

func (s *Set) change(now time.Time) {
	old := s.view.Load()
	ring := mustRing(s.live(true))
	if old.ring != nil && old.ring.Epoch() == ring.Epoch() {
		s.resolve(now)
		return
	}
	members := make(map[string]*member, len(s.members))
	for _, m := range s.members {
		members[m.name] = m
	}
	t := transition{old: old, ring: ring, members: members, held: &s.held, first: len(s.live(false)) == 0, now: now, wall: s.wall(), wait: s.cfg.HandoverWait, opened: s.opened}
	next, gifts := t.next()
	s.RingChanges.Add(1)
	if !s.alone {
		s.log.Info("the ring changed", "epoch", ring.Epoch(), "members", ring.Members())
	}
	s.through = time.Time{}
	s.publish(next)
	s.resolve(now)
	if len(gifts) > 0 {
		s.give(giftJob{epoch: next.epoch, gifts: gifts, after: old.active})
	}
	for _, m := range s.members {
		m.poke()
	}
}

// lateParts is how long a partition that no live peer had is waited for, since it may be on its way between
// two nodes whose rings differed.
const lateParts = 2 * tickEvery

// resolve gives up what is pending when every live peer has handed over what it had for this ring, or the
// time for it is over, with the lock held: its owner died, and its budgets with him.
func (s *Set) resolve(now time.Time) {
	v := s.view.Load()
	if !v.pending || s.joining {
		return
	}
	late := ""
	for _, m := range s.members {
		if m.alive && !m.joining() && m.through != v.epoch {
			late = m.name
		}
	}
	switch {
	case late == "" && s.through.IsZero():
		s.through = now
		return
	case late == "" && now.Sub(s.through) < lateParts, late != "" && now.Before(v.deadline):
		return
	}
	next, lost := v.with(), 0
	for p := range next.parts {
		if next.parts[p].state == partPending {
			next.parts[p] = part{state: partReady, careful: now.Add(s.careful), since: s.wall() + 1} // orders of this millisecond may be lost
			lost++
		}
	}
	s.log.Warn("budgets are lost: they begin anew, carefully", "partitions", lost, "late", late)
	s.LostParts.Add(int64(lost))
	s.publish(next)
}

// passOn hands over partitions that were handed to this node by mistake, with the lock held.
func (s *Set) passOn() {
	v := s.view.Load()
	gifts := map[*member]*gift{}
	for p, since := range s.held {
		if since == nil || v.parts[p].state != partAway {
			continue
		}
		to := v.parts[p].owner
		if gifts[to] == nil {
			gifts[to] = &gift{to: to}
		}
		gifts[to].parts = append(gifts[to].parts, givenPart{partition: p, since: *since})
		s.held[p] = nil
	}
	if len(gifts) > 0 {
		s.give(giftJob{epoch: v.epoch, gifts: slices.Collect(maps.Values(gifts)), after: v.active, again: true})
	}
}

// publish puts a view in its place, with the lock held.
func (s *Set) publish(next *view) { close(s.view.Swap(next.count()).changed) }

// mustRing makes the ring of names that the config's check has let pass.
func mustRing(names []string) *hashring.Ring {
	ring, err := hashring.New(names, hashring.DefaultParams())
	if err != nil {
		panic(err) // no configured list leads here
	}
	return ring
}

func compareNames(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// peer gives the member of a name; nil: there is none.
func (s *Set) peer(name string) *member {
	for _, m := range s.members {
		if m.name == name {
			return m
		}
	}
	return nil
}
