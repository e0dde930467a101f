package machine

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"headgate.example/lib/sale"
)

// digestOf names the content of a change: two commands with equal encodings are the same change.
func digestOf(c *Command) (d digest) {
	sum := sha256.Sum256(c.append(nil, EntryVersion))
	copy(d[:], sum[:])
	return d
}

// revise holds a change against the sale's revision: it must be the next one, or the last one again.
// done tells that Result is the answer already.
func (sl *saleState) revise(revision int64, content digest) (result Result, done bool) {
	switch {
	case revision == sl.revision && content == sl.content:
		return Result{Code: CodeOK, Revision: sl.revision}, true
	case revision != sl.revision+1:
		return Result{Code: CodeConflict, Revision: sl.revision}, true
	}
	return Result{}, false
}

// change carries out the changes of a sale that is there already.
func (s *State) change(c *Command) Result {
	sl := s.byName[c.Sale]
	if sl == nil {
		return Result{Code: CodeNoSale}
	}
	content := digestOf(c)
	if result, done := sl.revise(c.Revision, content); done {
		return result
	}
	if sl.forgotten {
		return wrong("sale", "was forgotten")
	}
	if sl.recovered() {
		return wrong("sale", "comes from a backup: it stands still until SALE.RESTORE rebuilds it from the ledger")
	}
	if sl.restoring() {
		return wrong("sale", "is being restored: part %d of %d has come", sl.part, sl.parts)
	}
	if sl.closed && (c.Kind == ResumeSale || c.Kind == SetStock) {
		return wrong("sale", "is closed")
	}
	switch c.Kind {
	case PauseSale:
		sl.paused = !sl.closed
	case ResumeSale:
		sl.paused = false
	case CloseSale:
		sl.closed, sl.paused = true, false
	case SetStock:
		if c.Total < sl.stock && !sl.paused {
			return wrong("total", "is below the stock of %d: pause the sale before cutting it", sl.stock)
		}
		sl.setStock(c.Total)
	case ForgetSale:
		if refusal, refused := s.forget(sl); refused {
			return refusal
		}
	}
	sl.revision, sl.content = c.Revision, content
	return Result{Code: CodeOK, Revision: sl.revision}
}

// open begins a sale, paused.
func (s *State) open(c *Command, version int) Result {
	terms := c.Terms
	if refusal, refused := s.misplaced("", terms, version); refused {
		return refusal
	}
	content := digestOf(c)
	if sl := s.byName[terms.ID]; sl != nil {
		if result, done := sl.revise(terms.Revision, content); done {
			return result
		}
		return Result{Code: CodeConflict, Revision: sl.revision}
	}
	if terms.Revision != 1 {
		return Result{Code: CodeConflict} // a sale that was opened before is restored, not opened
	}
	sl, refusal, refused := s.newSale(terms)
	if refused {
		return refusal
	}
	sl.revision, sl.content = terms.Revision, content
	sl.stockUp(s.wall)
	s.schedule(sl)
	return Result{Code: CodeOK, Revision: sl.revision}
}

// misplaced refuses terms of sales that this shard cannot sell.
func (s *State) misplaced(prefix string, terms *sale.Terms, version int) (Result, bool) {
	if !slices.Contains(terms.Shards, s.opts.Shard) {
		return Result{Code: CodeWrongShard, Reason: terms.Shards[0]}, true
	}
	if len(terms.Shards) > 1 && version == 1 {
		return wrong(prefix+"shards", "must name one shard: format version 1 does not move units between shards"), true
	}
	return Result{}, false
}

// newSale enters an empty, paused sale.
func (s *State) newSale(terms *sale.Terms) (sl *saleState, refusal Result, refused bool) {
	if len(s.active) >= s.limits.sales {
		return nil, busy("sale", "this shard keeps its limit of %d sales: forget finished ones", s.limits.sales), true
	}
	own := *terms
	own.Releases, own.Shards = slices.Clone(terms.Releases), slices.Clone(terms.Shards)
	sl = &saleState{terms: &own, paused: true, part: 1, parts: 1}
	if err := s.place(sl); err != nil {
		return nil, wrong("ring", "%s", err), true
	}
	incarnation, ok := s.mint()
	if !ok {
		return nil, busy("order", "order ids are at their limit ahead of the clock: check the leader's clock"), true
	}
	sl.incarnation = int64(incarnation)
	s.addSale(sl)
	s.active = append(s.active, sl)
	return sl, Result{}, false
}

// forget turns a sale into its tombstone. Its orders stay for retain_for, so that RELEASE can answer
// forgotten; then they are freed, a bounded number in one entry.
func (s *State) forget(sl *saleState) (refusal Result, refused bool) {
	if sl.heldOrders > 0 {
		return wrong("sale", "%d units are still held: wait until they are confirmed or expire", sl.held), true
	}
	if units, peer := sl.inTransfer(); units > 0 {
		return wrong("sale", "%d units that were given away may not have arrived, the first at shard %s: wait until it has them", units, peer), true
	}
	if len(s.graves) >= s.limits.tombstones {
		oldest := s.graves[0]
		if oldest.ids.live > 0 {
			return busy("sale", "this shard keeps its limit of %d forgotten sales", s.limits.tombstones), true
		}
		delete(s.byName, oldest.terms.ID)
		s.recent = nil
		s.sales[oldest.index] = nil
		s.spare = append(s.spare, oldest.index)
		s.graves = slices.Delete(s.graves, 0, 1)
	}
	s.forgets++
	sl.forgotten, sl.forgets, sl.ring = true, s.forgets, nil
	sl.forgetDue = s.served + sl.terms.RetainForMillis
	s.active = slices.DeleteFunc(s.active, func(other *saleState) bool { return other == sl })
	s.graves = append(s.graves, sl)
	if sl.ids.live > 0 {
		s.nextSweep = min(s.nextSweep, sl.forgetDue)
	}
	return Result{}, false
}

func (s *State) String() string {
	return fmt.Sprintf("shard %s (%d): %d sales, %d holds, wall %d, served %d, last order %d",
		s.opts.Shard, s.opts.Number, len(s.active), s.holds.len(), s.wall, s.served, s.LastOrder())
}
