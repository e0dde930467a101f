package machine

import "slices"

// Totals are sums over the sales that are not forgotten.
type Totals struct {
	Sales, Paused                                              int
	FromBackup                                                 []string // sales that wait for SALE.RESTORE, by id
	Scheduled, Available, Held, Confirmed, Debt                int64    // units
	HeldOrders, ConfirmedOrders, ReleasedOrders, ExpiredOrders int64    // that are kept
}

// Totals adds the sales up, at most MaxSales of them.
func (s *State) Totals() (t Totals) {
	t.Sales = len(s.active)
	for _, sl := range s.active {
		t.Paused += b2i(sl.paused)
		if sl.recovered() {
			t.FromBackup = append(t.FromBackup, sl.terms.ID)
		}
		t.Scheduled += sl.scheduled
		t.Available += sl.available
		t.Held += sl.held
		t.Confirmed += sl.confirmed
		t.Debt += sl.debt
		t.HeldOrders += sl.heldOrders
		t.ConfirmedOrders += sl.confirmedOrders
		t.ReleasedOrders += sl.releasedOrders
		t.ExpiredOrders += sl.expiredOrders
	}
	slices.Sort(t.FromBackup)
	return t
}

// NamedTotal is one total by the names that metrics and INFO use.
type NamedTotal struct {
	Kind  string // units or orders
	State string
	Count int64
}

// Named lists the totals of units and orders, always the same ones in the same order.
func (t *Totals) Named() []NamedTotal {
	return []NamedTotal{
		{"units", "scheduled", t.Scheduled}, {"units", "available", t.Available}, {"units", "held", t.Held},
		{"units", "confirmed", t.Confirmed}, {"units", "debt", t.Debt},
		{"orders", "held", t.HeldOrders}, {"orders", "confirmed", t.ConfirmedOrders},
		{"orders", "released", t.ReleasedOrders}, {"orders", "expired", t.ExpiredOrders},
	}
}
