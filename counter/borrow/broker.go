package borrow

import (
	"slices"
	"time"

	"headgate.example/counter/machine"
)

// Config says which sale a Broker serves, and its bounds. Zero values mean the defaults.
type Config struct {
	Self   string   // this shard's name
	Shards []string // of the sale, in the order of its terms
	// MaxWaiting bounds the buyers who wait; one more is told Busy. Default 10,000.
	MaxWaiting int
	// Patience bounds a buyer's wait; then TryAgain. It must be shorter than callers wait. Default 1 s.
	Patience time.Duration
	// KeepFor is how long a verdict over all shards may be used. Default 250 ms.
	KeepFor time.Duration
	// GiveAfter is how long a gift may stay unacknowledged before it is brought to the taker, who
	// mostly has it from the answer to its ask. Default 200 ms; failures double it up to 5 s.
	GiveAfter time.Duration
	// SilentFor is how long a peer that did not answer is left alone; failures double it up to 2 s.
	// Default 250 ms.
	SilentFor time.Duration
	// Pace is the pause after a round that found units and got none; it doubles up to 100 ms. Default 2 ms.
	Pace time.Duration
	// DebtEvery is the pause after units that this shard owes were found nowhere; it doubles up to 5 s.
	// Default 250 ms.
	DebtEvery time.Duration
}

const (
	maxGiveAfter = 5 * time.Second
	maxSilentFor = 2 * time.Second
	maxPace      = 100 * time.Millisecond
	maxDebtEvery = 5 * time.Second
)

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Patience, time.Second}, {&c.KeepFor, 250 * time.Millisecond}, {&c.GiveAfter, 200 * time.Millisecond},
		{&c.SilentFor, 250 * time.Millisecond}, {&c.Pace, 2 * time.Millisecond}, {&c.DebtEvery, 250 * time.Millisecond},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = 10_000
	}
	return c
}

type phase uint8

const (
	idle phase = iota
	asking
	accepting
	collecting
)

// Broker decides for one sale at the leader of one shard. It is not safe for concurrent use.
type Broker struct {
	cfg   Config
	peers []peer // in ring order, starting after this shard
	queue waiters

	phase   phase
	seq     uint64 // of what is under way; an answer with another is late and means nothing
	busy    int    // index of the peer that is asked or whose gift is accepted
	wanted  int64
	cursor  int // index of the peer to ask first
	holdOff time.Duration
	pace    time.Duration

	debtAt    time.Duration
	debtEvery time.Duration

	collect collection
	verdict *Verdict

	now     time.Duration
	local   machine.Collected
	actions []Action
	wakeAt  time.Duration
}

// peer is another shard.
type peer struct {
	name        string
	silentUntil time.Duration
	silentFor   time.Duration // 0: it answered last
	asked       bool          // in this round

	giving    bool  // Give or Acknowledge is under way
	given     int64 // the gift that giveAt is for
	giveAt    time.Duration
	giveAfter time.Duration
	took      int64         // what it said it took
	noteAt    time.Duration // not to log that again before
}

// New gives the broker of a sale. It panics when Self is not one of at least two Shards.
func New(cfg Config) *Broker {
	cfg = cfg.withDefaults()
	at := slices.Index(cfg.Shards, cfg.Self)
	if at < 0 || len(cfg.Shards) < 2 {
		panic("borrow: a broker needs its own shard and others")
	}
	b := &Broker{cfg: cfg, queue: newWaiters(), debtEvery: cfg.DebtEvery, pace: cfg.Pace}
	for i := 1; i < len(cfg.Shards); i++ {
		b.peers = append(b.peers, peer{name: cfg.Shards[(at+i)%len(cfg.Shards)]})
	}
	return b
}

// Step takes one event and appends what is to be done about it, in this order. The caller carries the
// actions out after Step has returned.
func (b *Broker) Step(ev *Event, actions []Action) []Action {
	b.now, b.local, b.actions = max(b.now, ev.Now), ev.Local, actions
	b.take(ev)
	b.run()
	actions, b.actions = b.actions, nil
	return actions
}

// Waiting is the number of buyers who wait.
func (b *Broker) Waiting() int { return len(b.queue.byID) }

// Verdict is what the latest double collect found, nil before the first one. Only Step makes a new one.
func (b *Broker) Verdict() *Verdict { return b.verdict }

// decided tells whether the latest verdict may still be used, as far as this shard is concerned.
func (b *Broker) decided() bool {
	return b.verdict.holds(b.now, b.local.Incarnation, b.local.Supply)
}

// MayResume tells whether the sale may be resumed: this shard owes nothing, or nothing to pay it with
// is left at any shard.
func (b *Broker) MayResume(now time.Duration, local *machine.Collected) bool {
	return local.Debt == 0 || b.verdict.holds(now, local.Incarnation, local.Supply) && b.verdict.nothing()
}

func (b *Broker) take(ev *Event) {
	switch ev.Kind {
	case Dry:
		b.wait(ev.Buyer, ev.Quantity)
	case Done:
		b.queue.remove(ev.Buyer)
	case WantResume:
		b.debtAt = b.now
	case Renew:
		b.renew()
	case Gave, GiveFailed, Acknowledged:
		b.gave(ev)
	case Collected, CollectFailed:
		if b.phase == collecting && ev.Seq == b.seq {
			b.collected(ev)
		}
	case Asked, AskFailed:
		if b.phase == asking && ev.Seq == b.seq {
			b.asked(ev)
		}
	case Accepted, AcceptFailed:
		if b.phase == accepting && ev.Seq == b.seq {
			b.accepted(ev)
		}
	}
}

// run does whatever is to be done now.
func (b *Broker) run() {
	b.wakeAt = 0
	b.give()
	b.answer()
	for b.phase == idle && b.next() {
	}
	if b.wakeAt != 0 {
		b.do(Action{Kind: Wake, At: b.wakeAt})
	}
}

func (b *Broker) do(a Action) { b.actions = append(b.actions, a) }

// wake notes a time at which there is something to do, unless it is noted for earlier.
func (b *Broker) wake(at time.Duration) {
	if b.wakeAt == 0 || at < b.wakeAt {
		b.wakeAt = max(at, 1)
	}
}

// next begins what is to be done for buyers and debts: an ask, or a collect when all were asked in vain.
// It reports whether there may be more to do at once.
func (b *Broker) next() bool {
	need := b.need()
	owes := b.local.Debt > 0
	switch {
	case b.local.Forgotten || b.local.Restoring, need == 0 && !owes:
		b.newRound()
		return false
	case need == 0 && b.now < b.debtAt:
		b.wake(b.debtAt)
		return false
	case b.now < b.holdOff:
		b.wake(b.holdOff)
		return false
	}
	if at, ok := b.toAsk(); ok {
		p := &b.peers[at]
		b.phase, b.busy, p.asked = asking, at, true
		b.wanted = need
		if owes {
			b.wanted = b.local.Debt
		}
		b.seq++
		b.do(Action{Kind: Ask, Seq: b.seq, Peer: p.name, Units: b.taken(p.name), Want: b.wanted, ForDebt: owes})
		return false
	}
	for i := range b.peers {
		if b.peers[i].silentFor > 0 {
			b.undecided()
			return true
		}
	}
	b.beginCollect(false)
	return false
}

// toAsk gives the next peer that was not asked in this round: those that answer first.
func (b *Broker) toAsk() (int, bool) {
	for _, probe := range []bool{false, true} {
		for i := range b.peers {
			at := (b.cursor + i) % len(b.peers)
			p := &b.peers[at]
			if !p.asked && probe == (p.silentFor > 0) && (!probe || b.now >= p.silentUntil) {
				return at, true
			}
		}
	}
	return 0, false
}

func (b *Broker) newRound() {
	for i := range b.peers {
		b.peers[i].asked = false
	}
}

// taken is what this shard ever took of a peer.
func (b *Broker) taken(name string) int64 {
	for i := range b.local.Transfers {
		if t := &b.local.Transfers[i]; t.Peer == name {
			return t.Taken
		}
	}
	return 0
}

func (b *Broker) asked(ev *Event) {
	b.phase = idle
	p := &b.peers[b.busy]
	taken := b.taken(p.name)
	if ev.Kind == AskFailed || ev.Units < taken {
		b.silent(p)
		return
	}
	p.silentFor = 0
	if ev.Units > taken {
		b.accept(b.busy, ev.Units)
	}
}

func (b *Broker) accept(at int, units int64) {
	b.phase, b.busy = accepting, at
	b.seq++
	b.do(Action{Kind: Accept, Seq: b.seq, Peer: b.peers[at].name, Units: units})
}

// accepted begins a new round: where something was, more may be.
func (b *Broker) accepted(ev *Event) {
	b.phase = idle
	b.newRound()
	b.cursor = b.busy
	if ev.Kind == AcceptFailed {
		b.slowDown()
		return
	}
	b.pace, b.debtEvery = b.cfg.Pace, b.cfg.DebtEvery
}

// silent notes that a peer did not answer.
func (b *Broker) silent(p *peer) {
	p.silentFor = min(max(2*p.silentFor, b.cfg.SilentFor), maxSilentFor)
	p.silentUntil = b.now + p.silentFor
}

// undecided ends a round in which a peer did not answer: nobody can be told that nothing is left.
func (b *Broker) undecided() {
	b.queue.each(func(w *waiter) bool {
		b.leave(w, TryAgain)
		return true
	})
	b.newRound()
	b.holdOff = b.now + b.cfg.SilentFor
	b.debtLater()
}

func (b *Broker) slowDown() {
	b.holdOff = b.now + b.pace
	b.pace = min(2*b.pace, maxPace)
}

func (b *Broker) debtLater() {
	b.debtAt = b.now + b.debtEvery
	b.debtEvery = min(2*b.debtEvery, maxDebtEvery)
}
