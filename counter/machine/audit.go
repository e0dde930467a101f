package machine

import (
	"fmt"

	"headgate.example/lib/sale"
)

// Audit is what AUDIT shows of one sale.
type Audit struct {
	sale.Info
	Incarnation     int64 // differs between a sale and its restored form; ever higher
	HeldOrders      int64
	ConfirmedOrders int64
	ReleasedOrders  int64          // that are still kept
	ExpiredOrders   int64          // that are still kept
	ExcessOrders    int64          // orders that lost a clash of slots when the sale was restored
	Excess          []sale.OrderID // the first MaxExcessListed of them
	FromBackup      bool           // it waits for SALE.RESTORE
	Transfers       []Transfer     // with each other shard, in the order of the terms
	Violation       string         // which invariant does not hold; "" when all do
}

// Auditing is an audit that has begun: later entries do not change what it counts, and Finish may run
// beside them.
type Auditing struct {
	audit   Audit
	sale    saleState
	orders  orders
	problem error // of the totals by themselves
}

// BeginAudit freezes the state for the audit of one sale. Like Snapshot it changes no outcome, but it
// needs the state for itself; it copies lists of chunks, 8 bytes for each 512 records. False: the sale is
// unknown.
func (s *State) BeginAudit(saleID string, wall int64) (*Auditing, bool) {
	sl := s.byName[saleID]
	if sl == nil {
		return nil, false
	}
	a := &Auditing{
		audit: Audit{
			Info: sl.info(wall), Incarnation: sl.incarnation, HeldOrders: sl.heldOrders, ConfirmedOrders: sl.confirmedOrders,
			ReleasedOrders: sl.releasedOrders, ExpiredOrders: sl.expiredOrders, ExcessOrders: sl.excessCount, Excess: sl.excess,
			FromBackup: sl.recovered(),
			Transfers:  sl.transfers(),
		},
		sale: *sl, problem: sl.checkTotals(),
	}
	a.sale.ids = idPages{live: sl.ids.live}
	if a.problem == nil && !sl.forgotten {
		a.orders = orders{holds: s.holds.freeze(), accounts: s.accounts.freeze(), names: s.longNames.freeze()}
	}
	return a, true
}

// Finish counts the sale's orders anew and holds them against its totals. It walks all records of the
// shard, some 10 ns each, and those of the sale with their users, some 50 ns each.
func (a *Auditing) Finish() Audit {
	err := a.problem
	if err == nil && !a.sale.forgotten {
		err = a.orders.check(&a.sale, a.orders.of(&a.sale))
	}
	if err != nil {
		a.audit.Violation = err.Error()
	}
	a.orders = orders{} // the frozen chunks may go
	return a.audit
}

// Audit is BeginAudit and Finish, for when nothing is applied beside it.
func (s *State) Audit(saleID string, wall int64) (Audit, bool) {
	a, known := s.BeginAudit(saleID, wall)
	if !known {
		return Audit{}, false
	}
	return a.Finish(), true
}

// orders are the records of all sales of a shard, for reading.
type orders struct {
	holds    frozen[hold]
	accounts frozen[account]
	names    frozen[string]
}

// of walks the records of one sale, in no order.
func (o *orders) of(sl *saleState) func(visit func(*hold) error) error {
	return func(visit func(*hold) error) error {
		for r := ref(1); r <= o.holds.top; r++ {
			h := o.holds.get(r)
			if h.id == 0 || o.accounts.get(h.account).sale != sl.index {
				continue
			}
			if err := visit(h); err != nil {
				return err
			}
		}
		return nil
	}
}

// check holds the totals of a sale against its orders.
func (o *orders) check(sl *saleState, each func(visit func(*hold) error) error) error {
	var counted saleState
	kept, waiting, finished := 0, 0, 0
	err := each(func(h *hold) error {
		kept++
		*counted.count(h.state)++
		switch h.state {
		case sale.Held:
			counted.held += int64(h.quantity)
		case sale.Confirmed:
			counted.confirmed += int64(h.quantity)
		}
		if h.slot == 1 || !h.state.Live() {
			return o.checkAccount(sl, h)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// A queue that leads in a circle must not be followed for ever.
	for r := sl.waiting.head; r != 0 && waiting <= kept; r = o.holds.get(r).qNext {
		waiting++
	}
	for r := sl.finished.head; r != 0 && finished <= kept; r = o.holds.get(r).qNext {
		finished++
	}
	switch {
	case kept != sl.ids.live:
		return fmt.Errorf("sale %s: %d orders are kept, its index has %d", sl.terms.ID, kept, sl.ids.live)
	case counted.held != sl.held || counted.confirmed != sl.confirmed:
		return fmt.Errorf("sale %s: the orders hold %d and have confirmed %d units, the totals say %d and %d",
			sl.terms.ID, counted.held, counted.confirmed, sl.held, sl.confirmed)
	case counted.heldOrders != sl.heldOrders || counted.confirmedOrders != sl.confirmedOrders ||
		counted.releasedOrders != sl.releasedOrders || counted.expiredOrders != sl.expiredOrders:
		return fmt.Errorf("sale %s: the counts of its orders are wrong", sl.terms.ID)
	case int64(waiting) != sl.heldOrders || int64(finished) != sl.releasedOrders+sl.expiredOrders:
		return fmt.Errorf("sale %s: %d orders wait and %d are finished in its queues, not %d and %d", sl.terms.ID,
			waiting, finished, sl.heldOrders, sl.releasedOrders+sl.expiredOrders)
	}
	return nil
}

// checkAccount holds a user's sums against their live orders.
func (o *orders) checkAccount(sl *saleState, of *hold) error {
	a := o.accounts.get(of.account)
	var units int64
	var count int32
	var slot uint32
	for r := a.live; r != 0; {
		h := o.holds.get(r)
		if !h.state.Live() || h.slot <= slot {
			return fmt.Errorf("sale %s: the live orders of %s are out of order", sl.terms.ID, a.user.in(&o.names))
		}
		units, count, slot, r = units+int64(h.quantity), count+1, h.slot, h.uNext
	}
	if units != a.units || count != a.orders {
		return fmt.Errorf("sale %s: %s has %d orders of %d units, the account says %d of %d",
			sl.terms.ID, a.user.in(&o.names), count, units, a.orders, a.units)
	}
	return nil
}
