package machine

import (
	"fmt"

	"headgate.example/lib/sale"
)

// CheckInvariants walks the whole state and names the first thing that does not hold. For tests, and
// after reading a snapshot: it takes some 100 ns for each hold.
func (s *State) CheckInvariants() error {
	kept := 0
	for _, sl := range s.byName {
		kept += sl.ids.live
	}
	if kept != s.holds.len() {
		return fmt.Errorf("%d holds are kept, their sales know %d", s.holds.len(), kept)
	}
	if len(s.byName) != len(s.active)+len(s.graves) {
		return fmt.Errorf("%d sales are known, %d are active and %d forgotten", len(s.byName), len(s.active), len(s.graves))
	}
	for _, list := range [][]*saleState{s.active, s.graves} {
		for _, sl := range list {
			if err := s.checkSale(sl); err != nil {
				return err
			}
		}
	}
	return s.rules.checkCounts()
}

func (rs *ruleSet) checkCounts() error {
	inUse, graves := 0, 0
	for i := range rs.log {
		switch r := &rs.log[i]; {
		case r.Kind == 0:
		case r.Removed:
			graves++
		default:
			inUse++
		}
	}
	if inUse != rs.inUse || graves != rs.graves || inUse+graves != len(rs.at) {
		return fmt.Errorf("rules: %d in force and %d removed, counted %d and %d", rs.inUse, rs.graves, inUse, graves)
	}
	return nil
}

// checkSale holds the totals of a sale against each other and against its orders, each found by its id.
func (s *State) checkSale(sl *saleState) error {
	if err := sl.checkTotals(); err != nil || sl.forgotten {
		return err // of a forgotten one the orders are being freed; its totals are final
	}
	all := orders{holds: s.holds.frozen, accounts: s.accounts.frozen, names: s.longNames.frozen}
	return all.check(sl, func(visit func(*hold) error) (err error) {
		sl.ids.each(0, func(id sale.OrderID) bool {
			if r := s.byID.find(id); r == 0 {
				err = fmt.Errorf("sale %s: order %d is missing", sl.terms.ID, id)
			} else {
				err = visit(s.holds.get(r))
			}
			return err == nil
		})
		return err
	})
}

// checkTotals holds the totals of a sale against each other.
func (sl *saleState) checkTotals() error {
	id := sl.terms.ID
	for _, v := range sl.numbers() {
		if *v < 0 {
			return fmt.Errorf("sale %s: a total is negative: %+v", id, sl.info(0))
		}
	}
	if err := sl.checkPairs(); err != nil {
		return err
	}
	var staged int64
	for i, r := range sl.releases {
		if staged += r.Units; r.Units <= 0 || r.Units > sale.MaxUnits || i > 0 && sl.releases[i-1].At >= r.At {
			return fmt.Errorf("sale %s: staged release %d is out of order or empty", id, i)
		}
	}
	switch {
	case sl.alloc+sl.taken-sl.given != sl.scheduled+sl.available+sl.held+sl.confirmed:
		return fmt.Errorf("sale %s: alloc %d + taken %d - given %d is not scheduled %d + available %d + held %d + confirmed %d",
			id, sl.alloc, sl.taken, sl.given, sl.scheduled, sl.available, sl.held, sl.confirmed)
	case sl.alloc != sl.share(sl.stock)+sl.debt:
		return fmt.Errorf("sale %s: alloc %d is not the share %d of stock %d + debt %d", id, sl.alloc, sl.share(sl.stock), sl.stock, sl.debt)
	case sl.debt > 0 && sl.available+sl.scheduled > 0:
		return fmt.Errorf("sale %s: owes %d units while %d are available and %d scheduled", id, sl.debt, sl.available, sl.scheduled)
	case staged != sl.scheduled:
		return fmt.Errorf("sale %s: %d units are scheduled, the releases have %d", id, sl.scheduled, staged)
	case sl.forgotten:
		return nil
	case sl.part < 1 || sl.part > sl.parts || sl.parts > MaxRestoreParts:
		return fmt.Errorf("sale %s: part %d of %d of its restore", id, sl.part, sl.parts)
	}
	return nil
}

// checkPairs holds what moved between this shard and each other one against the sums.
func (sl *saleState) checkPairs() error {
	id := sl.terms.ID
	if n := len(sl.terms.Shards); n > 1 && len(sl.pairs) != n || n == 1 && sl.pairs != nil {
		return fmt.Errorf("sale %s: %d shards and %d counters of transfers", id, n, len(sl.pairs))
	}
	var given, taken int64
	for i, p := range sl.pairs {
		if p.acknowledged < 0 || p.given < p.acknowledged || p.taken < 0 || p.given > MaxMoved || p.taken > MaxMoved || i == sl.self && p != (pair{}) {
			return fmt.Errorf("sale %s: given %d, acknowledged %d, taken %d with shard %s", id, p.given, p.acknowledged, p.taken, sl.terms.Shards[i])
		}
		given += p.given
		taken += p.taken
	}
	if given != sl.given || taken != sl.taken {
		return fmt.Errorf("sale %s: given %d and taken %d, the pairs sum to %d and %d", id, sl.given, sl.taken, given, taken)
	}
	return nil
}
