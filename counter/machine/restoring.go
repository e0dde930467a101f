package machine

import (
	"cmp"
	"fmt"
	"slices"

	"headgate.example/lib/sale"
)

// restore rebuilds a sale, or takes a further part of one. Either all of a part is taken or nothing.
func (s *State) restore(c *Command, version int) Result {
	r := c.Restore
	if refusal, refused := s.misplaced("terms.", &r.Terms, version); refused {
		return refusal
	}
	content, head := digestOf(c), r.headDigest()
	part, parts := r.part()
	sl := s.byName[r.Terms.ID]
	switch {
	case sl != nil && sl.revision == r.Revision && sl.content == content:
		return sl.restored()
	case sl != nil && !sl.recovered() && !(sl.restoring() && sl.head == head && part == sl.part+1):
		return Result{Code: CodeConflict, Revision: sl.revision}
	case sl != nil && sl.recovered() && r.Revision < sl.revision:
		return Result{Code: CodeConflict, Revision: sl.revision}
	case (sl == nil || sl.recovered()) && part != 1:
		return wrong("part", "must be 1: nothing of this sale has come yet")
	}
	floor := r.IDFloor
	for i := range r.Sold {
		floor = max(floor, r.Sold[i].Order)
	}
	if floor.IDMillis() > s.wall-sale.EpochMillis+MaxIDFloorMillis {
		return wrong("id_floor", "with the orders, lies %d ms ahead of the clock, more than a day: check the number and the leader's clock",
			floor.IDMillis()-(s.wall-sale.EpochMillis))
	}
	for i := range r.Transfers {
		if r.Transfers[i].Peer == s.opts.Shard {
			return wrong(fmt.Sprintf("transfers[%d].peer", i), "is this shard itself")
		}
	}
	if refusal, refused := s.checkSold(sl, r); refused {
		return refusal
	}
	if sl != nil && sl.recovered() { // ledger and queue know better than the backup
		s.dropSale(sl)
		sl = nil
	}
	if sl == nil {
		s.raiseIDs(floor)
		var refusal Result
		var refused bool
		if sl, refusal, refused = s.newSale(&r.Terms); refused {
			return refusal
		}
		sl.head, sl.revision = head, r.Revision
		sl.closed, sl.paused = r.Closed, !r.Closed
		sl.moved(r.Transfers)
	}
	s.raiseIDs(floor)
	sl.part, sl.parts, sl.content = part, parts, content
	s.takeSold(sl, r.Sold)
	sl.stockUp(s.wall)
	s.schedule(sl)
	return sl.restored()
}

// moved sets what moved between this shard and the others. What they took is known to have arrived.
func (sl *saleState) moved(transfers []RestoredTransfer) {
	for _, t := range transfers {
		sl.pairs[slices.Index(sl.terms.Shards, t.Peer)] = pair{given: t.Given, acknowledged: t.Given, taken: t.Taken}
		sl.given += t.Given
		sl.taken += t.Taken
	}
}

func (sl *saleState) restored() Result {
	return Result{Code: CodeOK, Revision: sl.revision, Detail: sl.excessCount, Excess: sl.excess}
}

// headDigest names what all parts of a restore have in common.
func (r *Restore) headDigest() digest {
	_, parts := r.part()
	return digestOf(&Command{Kind: RestoreSale, Restore: &Restore{Terms: r.Terms, Revision: r.Revision, Closed: r.Closed, Parts: parts, Transfers: r.Transfers}})
}

// checkSold refuses orders that cannot belong to this sale, before anything is changed.
func (s *State) checkSold(sl *saleState, r *Restore) (Result, bool) {
	kept := 0
	replaced := sl != nil && sl.recovered() // its own orders will be gone
	if sl != nil && !replaced {
		kept = sl.ids.live
	}
	if kept+len(r.Sold) > s.limits.holdsPerSale || s.holds.len()+len(r.Sold) > s.limits.holds {
		return busy("sold", "this shard keeps its limit of holds"), true
	}
	seen := make(map[sale.OrderID]int, len(r.Sold))
	orders := make(map[string]int)
	for i := range r.Sold {
		o := &r.Sold[i]
		field := fmt.Sprintf("sold[%d].order", i)
		if o.Order.Shard() != s.opts.Number {
			return wrong(field, "belongs to shard number %d, this is %d", o.Order.Shard(), s.opts.Number), true
		}
		if first, twice := seen[o.Order]; twice && r.Sold[first] != *o {
			return wrong(field, "differs from sold[%d] with the same id", first), true
		}
		seen[o.Order] = i
		if known := s.byID.find(o.Order); known != 0 && !s.matches(sl, known, o) {
			return wrong(field, "is known already, with another binding"), true
		}
		if _, counted := orders[o.User]; !counted && sl != nil && !replaced {
			if acct := s.findAccount(sl.index, o.User); acct != 0 {
				orders[o.User] = int(s.accounts.get(acct).orders)
			}
		}
		if orders[o.User]++; orders[o.User] > s.limits.liveOrders {
			return wrong(fmt.Sprintf("sold[%d].user", i), "has more than %d orders", s.limits.liveOrders), true
		}
	}
	return Result{}, false
}

// matches tells whether a known order of the sale is the one that is being restored.
func (s *State) matches(sl *saleState, known ref, o *SoldOrder) bool {
	h := s.holds.get(known)
	a := s.accounts.get(h.account)
	return sl != nil && a.sale == sl.index && s.userOf(a) == o.User && int64(h.quantity) == o.Quantity && int64(h.slot) == o.Slot
}

// takeSold enters the orders as confirmed. Of two with one slot the higher id stays: its reuse of the
// slot proves that the lower one was freed.
func (s *State) takeSold(sl *saleState, sold []SoldOrder) {
	sold = slices.Clone(sold)
	slices.SortFunc(sold, func(a, b SoldOrder) int { return cmp.Compare(a.Order, b.Order) })
	for i := range sold {
		o := &sold[i]
		if s.byID.find(o.Order) != 0 || slices.Contains(sl.excess, o.Order) {
			continue // a repetition
		}
		acct := s.ensureAccount(sl.index, o.User)
		prev, clash := s.slotPlace(acct, uint32(o.Slot))
		if clash != 0 && s.holds.get(clash).id > o.Order {
			sl.lose(o.Order)
			continue
		}
		_, h := s.addHold(sl, acct, prev, o.Order, o.Quantity, uint32(o.Slot), sale.Confirmed, o.Key)
		h.reserved = sale.EpochMillis + o.Order.IDMillis()
		sl.confirmed += o.Quantity
		if clash != 0 {
			lost := s.holds.get(clash)
			sl.lose(lost.id)
			sl.confirmed -= int64(lost.quantity)
			s.dropHold(sl, clash)
		}
	}
}

// lose notes an order that lost its slot to another.
func (sl *saleState) lose(id sale.OrderID) {
	sl.excessCount++
	if len(sl.excess) < MaxExcessListed {
		sl.excess = append(slices.Clone(sl.excess), id) // a snapshot and Results may share it
		slices.Sort(sl.excess)
	}
}

// slotPlace gives the live hold before a slot, and the one that has it, or 0.
func (s *State) slotPlace(acct ref, slot uint32) (prev, same ref) {
	for r := s.accounts.get(acct).live; r != 0; {
		h := s.holds.get(r)
		if h.slot == slot {
			return prev, r
		}
		if h.slot > slot {
			break
		}
		prev, r = r, h.uNext
	}
	return prev, 0
}
