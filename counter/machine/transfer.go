package machine

import (
	"slices"

	"headgate.example/hashring"
	"headgate.example/lib/sale"
)

// pair is what moved between this shard and one other shard of a sale, ever.
type pair struct {
	given        int64 // to the peer
	acknowledged int64 // of given: what the peer is known to have taken
	taken        int64 // from the peer
}

// Transfer is what moved between two shards of a sale, ever, as one of them knows it.
type Transfer struct {
	Peer         string
	Given        int64 // to the peer
	Acknowledged int64 // of Given: what the peer is known to have taken; the rest may be on its way
	Taken        int64 // from the peer
}

// Collected is one shard's row of a collect: what it has of a sale at one applied index.
type Collected struct {
	Shard         string
	Incarnation   int64
	Revision      int64
	Supply        int64 // the supply version: changes whenever units become available
	Paused        bool
	Closed        bool
	Forgotten     bool
	Restoring     bool // parts of its restore are still to come: its figures are not final
	Stock         int64
	Alloc         int64
	Debt          int64
	Scheduled     int64
	NextReleaseAt int64 // wall ms; 0: nothing is scheduled here
	Available     int64
	Held          int64
	Confirmed     int64
	Transfers     []Transfer // one for each other shard, in the order of the terms
}

// shareOf is what the shard at a position has of a number of units that n shards share evenly, the
// remainder with the first ones.
func shareOf(units int64, n, position int) int64 {
	return (units + int64(n-1-position)) / int64(n)
}

// share is this shard's part of units of the whole sale. The parts of the initial stock and of each
// staged release are differences of shares of running sums, so that they too add up to an even share.
func (sl *saleState) share(units int64) int64 {
	return shareOf(units, len(sl.terms.Shards), sl.self)
}

// shared tells whether the sale has other shards.
func (sl *saleState) shared() bool { return len(sl.pairs) > 0 }

// ownReleases are this shard's parts of the staged releases, without those of which it has none.
func (sl *saleState) ownReleases() []sale.Release {
	running := sl.terms.Stock
	for _, r := range sl.terms.Releases {
		running -= r.Units
	}
	own := make([]sale.Release, 0, len(sl.terms.Releases))
	for _, r := range sl.terms.Releases {
		if part := sl.share(running+r.Units) - sl.share(running); part > 0 {
			own = append(own, sale.Release{At: r.At, Units: part})
		}
		running += r.Units
	}
	return own
}

// place finds this shard among those of the terms, and the ring that spreads the users over them.
func (s *State) place(sl *saleState) error {
	shards := sl.terms.Shards
	if sl.self = slices.Index(shards, s.opts.Shard); len(shards) == 1 {
		return nil
	}
	if sl.pairs == nil {
		sl.pairs = make([]pair, len(shards))
	}
	if sl.forgotten {
		return nil
	}
	for _, other := range s.active { // most sales share one ring
		if other.ring != nil && other.terms.Ring == sl.terms.Ring && slices.Equal(other.terms.Shards, shards) {
			sl.ring = other.ring
			return nil
		}
	}
	r := sl.terms.Ring
	ring, err := hashring.New(shards, hashring.Params{Partitions: r.Partitions, Replicas: r.Replicas, Load: r.Load})
	if err != nil {
		return err
	}
	sl.ring = ring
	return nil
}

// peer gives the pair with another shard of a command's sale, or why there is none.
func (s *State) peer(c *Command, field string) (sl *saleState, p *pair, refusal Result) {
	if sl = s.byName[c.Sale]; sl == nil {
		return nil, nil, Result{Code: CodeNoSale}
	}
	at := slices.Index(sl.terms.Shards, c.Value)
	switch {
	case at < 0:
		return nil, nil, wrong(field, "is not a shard of this sale")
	case at == sl.self:
		return nil, nil, wrong(field, "is this shard itself")
	case sl.recovered():
		return nil, nil, busy("sale", "comes from a backup: it stands still until SALE.RESTORE rebuilds it from the ledger")
	case sl.restoring():
		return nil, nil, busy("sale", "is being restored: part %d of %d has come", sl.part, sl.parts)
	}
	return sl, &sl.pairs[at], Result{}
}

// ask gives units to another shard. The taker says how many it has had of this shard before: when an
// earlier gift has not arrived, it is told of that one and nothing new is given, so that an ask that is
// repeated never gives twice.
func (s *State) ask(c *Command) Result {
	sl, p, refusal := s.peer(c, "taker")
	if refusal.Code != 0 {
		return refusal
	}
	if c.Total > p.given {
		return wrong("taken", "is %d, but only %d were ever given", c.Total, p.given)
	}
	p.acknowledged = max(p.acknowledged, c.Total)
	var units int64
	if c.Total == p.given && p.given <= MaxMoved-sale.MaxUnits && !sl.forgotten {
		units = sl.give(c.Quantity, c.ForDebt)
		p.given += units
		sl.given += units
	}
	return Result{Code: CodeOK, Detail: p.given, Quantity: units}
}

// give takes units out of this shard's supply for another: to sell, half of what is available, but at
// least what is wanted as far as it is there; for a debt, no more than is wanted, staged units too.
func (sl *saleState) give(want int64, forDebt bool) (units int64) {
	switch {
	case want == 0:
		return 0
	case forDebt:
		left := sl.cutScheduled(want)
		units = min(left, sl.available)
		sl.available -= units
		return want - left + units
	}
	units = max(min(sl.available/2, sale.MaxUnits), min(want, sl.available))
	sl.available -= units
	return units
}

// accept takes what another shard gave. It counts in any state of the sale, even in a tombstone:
// units that are refused would be lost.
func (s *State) accept(c *Command) Result {
	sl, p, refusal := s.peer(c, "giver")
	if refusal.Code != 0 {
		return refusal
	}
	units := max(c.Total-p.taken, 0)
	if units > 0 {
		p.taken += units
		sl.taken += units
		sl.addSupply(units)
		sl.supply++
	}
	return Result{Code: CodeOK, Detail: p.taken, Quantity: units}
}

// inTransfer is how much this shard gave that may not have arrived, and to whom the first of it went.
func (sl *saleState) inTransfer() (units int64, peer string) {
	for i, p := range sl.pairs {
		if p.given > p.acknowledged && units == 0 {
			peer = sl.terms.Shards[i]
		}
		units += p.given - p.acknowledged
	}
	return units, peer
}

func (sl *saleState) transfers() []Transfer {
	var list []Transfer
	for i, p := range sl.pairs {
		if i != sl.self {
			list = append(list, Transfer{Peer: sl.terms.Shards[i], Given: p.given, Acknowledged: p.acknowledged, Taken: p.taken})
		}
	}
	return list
}

// Collect gives this shard's row for a collect over the shards of a sale. It takes a few hundred
// nanoseconds: no order is looked at. False: the sale is unknown.
func (s *State) Collect(saleID string) (Collected, bool) {
	sl := s.byName[saleID]
	if sl == nil {
		return Collected{}, false
	}
	return Collected{
		Shard: s.opts.Shard, Incarnation: sl.incarnation, Revision: sl.revision, Supply: sl.supply, Paused: sl.paused,
		Closed: sl.closed, Forgotten: sl.forgotten, Restoring: sl.restoring(), Stock: sl.stock, Alloc: sl.alloc,
		Debt: sl.debt, Scheduled: sl.scheduled, NextReleaseAt: sl.nextRelease(), Available: sl.available,
		Held: sl.held, Confirmed: sl.confirmed, Transfers: sl.transfers(),
	}, true
}

// Shared lists the sales that have other shards and are not forgotten, by id: those that a leader moves
// units for.
func (s *State) Shared() []string {
	var ids []string
	for _, sl := range s.active {
		if sl.shared() {
			ids = append(ids, sl.terms.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
