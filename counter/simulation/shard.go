package simulation

import (
	"bytes"
	"time"

	"headgate.example/counter/borrow"
	"headgate.example/counter/machine"
	"headgate.example/lib/sale"
)

// shard is one shard: its log, which never loses what is committed, and whoever leads it now.
type shard struct {
	w      *world
	name   string
	index  int
	number int

	log     [][]byte // committed entries, encoded
	base    []byte   // a snapshot
	based   int      // how many entries of the log are in it
	state   *machine.State
	applied int // entries of the log in state
	node    *node
	terms   int

	served int64 // the highest stamp of an entry
	holds  []tracked
	lost   bool // all of it, once: see disaster
}

// tracked is a hold that was granted, and when it may expire.
type tracked struct {
	order sale.OrderID
	due   int64 // served ms
}

// node is one leader's tenure.
type node struct {
	sh     *shard
	state  *machine.State // what is committed and applied
	ahead  *machine.State // with what is in flight, only where the rules are broken on purpose
	broker *borrow.Broker
	began  time.Duration
	served int64
	newest int // entry version that it writes
	skew   int64
	hung   bool
	since  time.Duration // hung

	batch    []proposal
	inFlight []flight
	landAt   time.Duration

	waiting   map[uint64]*request
	lastBuyer uint64
	wake      uint64
	last      machine.Collected
}

type proposal struct {
	command machine.Command
	done    func(machine.Result, bool)
}

type flight struct {
	entry     []byte
	proposals []proposal
}

func (sh *shard) options() machine.Options { return machine.Options{Shard: sh.name, Number: sh.number} }

func (n *node) alive() bool { return n.sh.node == n }

func (n *node) wall() int64 { return bornWall + n.sh.w.now.Milliseconds() + n.skew }

func (n *node) servedNow() int64 { return n.served + (n.sh.w.now - n.began).Milliseconds() }

// elect gives the shard a leader, who replays the log from the last snapshot.
func (sh *shard) elect() {
	w := sh.w
	state := machine.New(sh.options())
	if sh.base != nil {
		var err error
		if state, err = machine.Read(bytes.NewReader(sh.base), sh.options()); err != nil {
			w.fail("%s reads its snapshot: %v", sh.name, err)
			return
		}
	}
	for i := sh.based; i < sh.applied; i++ {
		sh.decode(sh.log[i], func(e *machine.Entry) { state.Apply(e, nil) })
	}
	if sh.state != nil && !bytes.Equal(sh.snapshot(state), sh.snapshot(sh.state)) {
		w.fail("%s: the replayed log gives another state than the one it gave before", sh.name)
		return
	}
	sh.state = state
	for sh.applied < len(sh.log) {
		sh.apply(sh.log[sh.applied])
	}
	sh.terms++
	n := &node{sh: sh, state: state, newest: machine.EntryVersion, began: w.now, served: state.Served(), waiting: make(map[uint64]*request)}
	if n.skew = w.rng.Int64N(400) - 200; w.chance(0.08) && !w.healed {
		n.skew = w.rng.Int64N(40_000) - 20_000
	}
	if sh.terms%5 == 0 {
		n.newest-- // another voter still runs the program before
	}
	if len(w.shards) > 1 {
		n.broker = borrow.New(borrow.Config{Self: sh.name, Shards: w.terms.Shards, MaxWaiting: 8})
	}
	if readAhead {
		n.ahead = sh.copyOf(state)
	}
	sh.node = n
	w.note("%s has a leader, term %d, with %d entries", sh.name, sh.terms, len(sh.log))
	n.tick()
	n.step(borrow.Event{Kind: borrow.Tick})
}

func (sh *shard) snapshot(s *machine.State) []byte {
	var b bytes.Buffer
	if _, err := s.Snapshot().WriteTo(&b); err != nil {
		sh.w.fail("%s writes a snapshot: %v", sh.name, err)
	}
	return b.Bytes()
}

func (sh *shard) copyOf(s *machine.State) *machine.State {
	c, err := machine.Read(bytes.NewReader(sh.snapshot(s)), sh.options())
	if err != nil {
		sh.w.fail("%s reads its snapshot: %v", sh.name, err)
	}
	return c
}

func (sh *shard) decode(b []byte, apply func(*machine.Entry)) {
	e, err := machine.DecodeEntry(b)
	if err != nil {
		sh.w.fail("%s reads an entry: %v", sh.name, err)
		return
	}
	apply(&e)
}

// crash ends a leader. Of what it had in flight a part may have reached the others, which makes it
// committed; nobody was told.
func (sh *shard) crash() {
	w, n := sh.w, sh.node
	kept := w.rng.IntN(len(n.inFlight) + 1)
	if n.hung && w.chance(0.7) {
		kept = 0
	}
	for _, f := range n.inFlight[:kept] {
		sh.log = append(sh.log, f.entry)
	}
	w.note("%s loses its leader; %d of %d entries in flight are kept", sh.name, kept, len(n.inFlight))
	sh.node = nil
	w.report.Crashes++
	if w.chance(0.3) {
		sh.base, sh.based = sh.snapshot(sh.state), sh.applied
	}
	away := w.between(20*time.Millisecond, 1500*time.Millisecond)
	if w.healed {
		away = 20 * time.Millisecond
	}
	w.after(away, sh.elect)
}

// hang cuts a leader off from its voters: nothing commits any more, until another one takes over.
func (sh *shard) hang() {
	n := sh.node
	n.hung, n.since = true, sh.w.now
	sh.w.note("%s hangs", sh.name)
	sh.w.after(sh.w.between(300*time.Millisecond, time.Second), func() {
		if n.alive() {
			sh.crash()
		}
	})
}

// verified tells whether the leader may answer from memory: it knows that it led within the last 100 ms.
func (n *node) verified() bool { return !n.hung || n.sh.w.now < n.since+100*time.Millisecond }

// propose puts a command into the next entry. done is called with its result when it is committed, and
// with false when it certainly was not accepted; it is not called when the leader falls before.
func (n *node) propose(c machine.Command, done func(machine.Result, bool)) {
	w := n.sh.w
	if !w.healed && w.chance(0.01) {
		w.after(0, func() { done(machine.Result{}, false) })
		return
	}
	n.batch = append(n.batch, proposal{c, done})
	if len(n.batch) == 1 {
		w.after(w.between(1, time.Millisecond), n.flush)
	}
}

func (n *node) flush() {
	if !n.alive() || len(n.batch) == 0 {
		return
	}
	w := n.sh.w
	var commands machine.Encoded
	for _, p := range n.batch {
		if p.done != nil {
			commands.Add(&p.command, n.newest)
		}
	}
	f := flight{entry: machine.AppendEntry(nil, n.wall(), n.servedNow(), &commands), proposals: n.batch}
	n.batch = nil
	n.inFlight = append(n.inFlight, f)
	if readAhead {
		n.sh.decode(f.entry, func(e *machine.Entry) { n.ahead.Apply(e, nil) })
	}
	n.landAt = max(n.landAt, w.now+w.between(300*time.Microsecond, 5*time.Millisecond))
	w.after(n.landAt-w.now, n.land)
}

// land commits the oldest entry in flight.
func (n *node) land() {
	if !n.alive() || n.hung {
		return
	}
	f := n.inFlight[0]
	n.inFlight = n.inFlight[1:]
	n.sh.log = append(n.sh.log, f.entry)
	results := n.sh.apply(f.entry)
	for _, p := range f.proposals {
		if p.done != nil && len(results) > 0 {
			p.done(results[0], true)
			results = results[1:]
		}
	}
	if row := n.row(); row.Supply != n.last.Supply || given(&row) != given(&n.last) || row.Debt != n.last.Debt ||
		row.Revision != n.last.Revision || row.Paused != n.last.Paused {
		n.last = row
		n.step(borrow.Event{Kind: borrow.Tick})
	}
}

// tick lets time do its work in the state, every now and then.
func (n *node) tick() {
	n.sh.w.after(40*time.Millisecond, func() {
		if !n.alive() {
			return
		}
		n.bringUp()
		n.tick()
	})
}

// bringUp proposes an entry without commands when something is due.
func (n *node) bringUp() {
	if len(n.batch) == 0 && len(n.inFlight) == 0 && n.state.Due(n.wall(), n.servedNow()) {
		n.batch = append(n.batch, proposal{})
		n.flush()
	}
}
