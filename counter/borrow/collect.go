package borrow

import (
	"slices"
	"time"

	"headgate.example/counter/machine"
)

// collection is a double collect: the rows of all shards, twice. When nothing came to any shard between
// its first row and its second, then at the moment between the two passes every shard had what its first
// row says, and nothing was on its way.
type collection struct {
	second bool
	since  time.Duration // when the first pass began
	began  time.Duration // when this pass began
	rows   map[string]machine.Collected
	first  map[string]machine.Collected
	left   int
	failed bool
}

// renew collects again while the last verdict holds, unless buyers or a debt bring a collect about anyway.
func (b *Broker) renew() {
	if b.phase == idle && b.decided() && b.verdict.Aging(b.now) && b.now >= b.holdOff && b.need() == 0 && b.local.Debt == 0 {
		b.beginCollect(false)
	}
}

func (b *Broker) beginCollect(second bool) {
	c := &b.collect
	if c.first = nil; second {
		c.first = c.rows
	} else {
		c.since = b.now
	}
	c.second, c.began, c.failed, c.left = second, b.now, false, len(b.cfg.Shards)
	c.rows = make(map[string]machine.Collected, len(b.cfg.Shards))
	b.phase = collecting
	b.seq++
	for _, name := range b.cfg.Shards {
		b.do(Action{Kind: Collect, Seq: b.seq, Peer: name})
	}
}

func (b *Broker) collected(ev *Event) {
	c := &b.collect
	p := slices.IndexFunc(b.peers, func(p peer) bool { return p.name == ev.Peer })
	if ev.Kind == CollectFailed || ev.Row.Restoring {
		c.failed = true
		if p >= 0 {
			b.silent(&b.peers[p])
		}
	} else {
		if p >= 0 {
			b.peers[p].silentFor = 0
		}
		c.rows[ev.Peer] = ev.Row
	}
	if c.left--; c.left > 0 {
		return
	}
	b.phase = idle
	switch {
	case c.failed || len(c.rows) < len(b.cfg.Shards):
		b.undecided()
	case b.inTransfer():
	case !c.second:
		b.beginCollect(true)
	default:
		b.conclude()
	}
}

// inTransfer looks for gifts that have not arrived. One to this shard is accepted at once; others may
// have landed by the next round.
func (b *Broker) inTransfer() bool {
	for i := range b.peers {
		row := b.collect.rows[b.peers[i].name]
		for _, t := range row.Transfers {
			if t.Peer == b.cfg.Self && t.Given > b.taken(b.peers[i].name) {
				b.accept(i, t.Given)
				return true
			}
		}
	}
	for _, giver := range b.cfg.Shards {
		for _, t := range b.collect.rows[giver].Transfers {
			if t.Given != takenOf(b.collect.rows[t.Peer].Transfers, giver) {
				b.newRound()
				b.slowDown()
				return true
			}
		}
	}
	return false
}

func takenOf(transfers []machine.Transfer, giver string) int64 {
	for i := range transfers {
		if transfers[i].Peer == giver {
			return transfers[i].Taken
		}
	}
	return -1
}

// conclude compares the two passes.
func (b *Broker) conclude() {
	b.newRound()
	v := &Verdict{}
	for _, name := range b.cfg.Shards {
		first, second := b.collect.first[name], b.collect.rows[name]
		if !sameSupply(&first, &second) {
			b.slowDown()
			return
		}
		v.held += second.Held
		if second.Forgotten {
			continue // what a tombstone has is not for sale
		}
		v.available += second.Available
		v.scheduled += second.Scheduled
		if second.Scheduled > 0 && (v.next == 0 || second.NextReleaseAt < v.next) {
			v.next = second.NextReleaseAt
		}
	}
	own := b.collect.rows[b.cfg.Self]
	v.since, v.supply, v.incarnation = b.collect.since, own.Supply, own.Incarnation
	v.renewAt, v.until = b.collect.began+b.cfg.KeepFor/2, b.collect.began+b.cfg.KeepFor
	b.verdict = v
	if b.local.Debt > 0 && v.nothing() {
		b.debtLater()
	}
	b.answer()
	if b.need() > 0 || b.local.Debt > 0 && !v.nothing() {
		b.slowDown() // somebody has units: go and get them
		b.cursor = b.richest()
	}
}

// richest is the peer that has most.
func (b *Broker) richest() (at int) {
	for i := range b.peers {
		if b.collect.rows[b.peers[i].name].Available > b.collect.rows[b.peers[at].name].Available {
			at = i
		}
	}
	return at
}

// sameSupply tells whether nothing came to a shard and nothing left it between two rows.
func sameSupply(a, b *machine.Collected) bool {
	if a.Incarnation != b.Incarnation || a.Supply != b.Supply || a.Available != b.Available || a.Scheduled != b.Scheduled ||
		a.Forgotten != b.Forgotten || len(a.Transfers) != len(b.Transfers) {
		return false
	}
	for i := range a.Transfers {
		if x, y := &a.Transfers[i], &b.Transfers[i]; x.Peer != y.Peer || x.Given != y.Given || x.Taken != y.Taken {
			return false
		}
	}
	return true
}
