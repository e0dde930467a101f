package machine

import (
	"slices"

	"headgate.example/hashring"
	"headgate.example/lib/sale"
)

// digest tells the content of one change of a sale from another's.
type digest [16]byte

// saleState is one sale at this shard, or the tombstone of one.
type saleState struct {
	index       uint32         // in State.sales; not written to snapshots
	terms       *sale.Terms    // as opened or restored; never changed
	self        int            // this shard's position in terms.Shards
	ring        *hashring.Ring // of a sale with several shards, until it is forgotten
	pairs       []pair         // by position in terms.Shards; nil with one shard
	incarnation int64
	revision    int64
	content     digest // of the change that made this revision
	paused      bool
	closed      bool
	forgotten   bool
	forgets     int64 // orders tombstones by age
	forgetDue   int64 // served ms at which a tombstone's orders are freed

	part, parts int    // of a restore; part < parts: more are to come
	head        digest // what all parts of a restore must agree on
	excess      []sale.OrderID
	excessCount int64

	stock, alloc, taken, given            int64
	scheduled, available, held, confirmed int64
	debt, releasedTotal, expiredTotal     int64
	supply                                int64 // the supply version
	releases                              []sale.Release
	waiting                               queue // held holds, by due
	finished                              queue // released and expired holds, by due
	heldOrders, confirmedOrders           int64
	releasedOrders, expiredOrders         int64
	ids                                   idPages
}

// count gives the number of orders that are kept in a state.
func (sl *saleState) count(state sale.HoldState) *int64 {
	switch state {
	case sale.Held:
		return &sl.heldOrders
	case sale.Confirmed:
		return &sl.confirmedOrders
	case sale.Released:
		return &sl.releasedOrders
	}
	return &sl.expiredOrders
}

func (sl *saleState) restoring() bool { return sl.part < sl.parts }

// addSupply puts units on sale, or pays what is owed with them first.
func (sl *saleState) addSupply(units int64) {
	paid := min(units, sl.debt)
	sl.debt -= paid
	sl.alloc -= paid
	if units -= paid; units > 0 {
		sl.available += units
		sl.supply++
	}
}

// release puts the staged releases up to wall on sale.
func (sl *saleState) release(wall int64) {
	for len(sl.releases) > 0 && sl.releases[0].At <= wall {
		units := sl.releases[0].Units
		sl.releases = sl.releases[1:]
		sl.scheduled -= units
		sl.addSupply(units)
	}
}

// setStock moves the stock of the whole sale to total, and this shard's part of it: a raise pays what is owed and then goes on sale; a cut takes
// staged units, latest first, then available ones, and owes the rest.
func (sl *saleState) setStock(total int64) {
	change := sl.share(total) - sl.share(sl.stock)
	sl.stock = total
	if change >= 0 {
		paid := min(change, sl.debt)
		sl.debt -= paid
		sl.alloc += change - paid
		if change > paid {
			sl.available += change - paid
			sl.supply++
		}
		return
	}
	cut := sl.cutScheduled(-change)
	fromAvailable := min(cut, sl.available)
	sl.available -= fromAvailable
	sl.debt += cut - fromAvailable
	sl.alloc -= -change - (cut - fromAvailable)
}

// cutScheduled takes up to units from the staged releases, latest first, and answers what is left to cut.
func (sl *saleState) cutScheduled(units int64) int64 {
	sl.releases = slices.Clone(sl.releases) // a snapshot may share it
	for n := len(sl.releases); units > 0 && n > 0; n-- {
		last := &sl.releases[n-1]
		taken := min(units, last.Units)
		last.Units -= taken
		sl.scheduled -= taken
		units -= taken
		if last.Units == 0 {
			sl.releases = sl.releases[:n-1]
		}
	}
	return units
}

// stockUp sets the supply of a sale that begins, or is restored with units sold or given away already:
// those come out of what is available, then out of the earliest releases, and the rest is owed.
func (sl *saleState) stockUp(wall int64) {
	sl.releases = sl.ownReleases()
	sl.scheduled = 0
	for _, r := range sl.releases {
		sl.scheduled += r.Units
	}
	sl.stock, sl.alloc, sl.debt = sl.terms.Stock, sl.share(sl.terms.Stock), 0
	sl.available = sl.alloc - sl.scheduled
	sl.release(wall)
	sold := sl.held + sl.confirmed + sl.given - sl.taken
	if sold < 0 {
		sl.available -= sold
		sold = 0
	}
	taken := min(sold, sl.available)
	sl.available -= taken
	for sold -= taken; sold > 0 && len(sl.releases) > 0; {
		first := &sl.releases[0]
		taken = min(sold, first.Units)
		first.Units -= taken
		sl.scheduled -= taken
		sold -= taken
		if first.Units == 0 {
			sl.releases = sl.releases[1:]
		}
	}
	sl.debt += sold
	sl.alloc += sold
	sl.supply++
}

func (sl *saleState) nextRelease() int64 {
	if len(sl.releases) == 0 {
		return 0
	}
	return sl.releases[0].At
}

func (sl *saleState) info(wall int64) sale.Info {
	return sale.Info{
		ID: sl.terms.ID, Revision: sl.revision, Paused: sl.paused, Closed: sl.closed, Forgotten: sl.forgotten,
		Stock: sl.stock, Limit: sl.terms.Limit, OpensAt: sl.terms.OpensAt, EndsAt: sl.terms.EndsAt,
		NextReleaseAt: sl.nextRelease(), HoldForMillis: sl.terms.HoldForMillis,
		Alloc: sl.alloc, Taken: sl.taken, Given: sl.given, Scheduled: sl.scheduled, Available: sl.available,
		Held: sl.held, Confirmed: sl.confirmed, Debt: sl.debt, ReleasedTotal: sl.releasedTotal,
		ExpiredTotal: sl.expiredTotal, SupplyVersion: sl.supply, Now: wall, Shards: sl.terms.Shards,
		Ring: sl.terms.Ring, RetainForMillis: sl.terms.RetainForMillis,
	}
}
