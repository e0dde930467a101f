package machine

import (
	"cmp"
	"slices"
	"strings"

	"headgate.example/lib/sale"
)

// Hold is one order as the counter knows it. Times are wall-clock milliseconds since 1970.
type Hold struct {
	sale.Binding
	State      sale.HoldState
	Key        string
	ReservedAt int64
	ExpiresAt  int64  // while held: when it is expected to expire, advisory; else 0
	ChangedAt  int64  // of the last change of state
	Reason     string // given by ABORT or RELEASE
	By         Kind   // Abort or Release, whichever released it; else 0
}

func (s *State) view(sl *saleState, r ref) Hold {
	h := s.holds.get(r)
	said := noteOf(h, &s.notes.frozen)
	return Hold{
		Binding: sale.Binding{
			Order: h.id, Sale: sl.terms.ID, User: s.userOf(s.accounts.get(h.account)),
			Quantity: int64(h.quantity), Slot: int64(h.slot),
		},
		State: h.state, Key: said.key, ReservedAt: h.reserved, ExpiresAt: s.expires(h), ChangedAt: h.changed,
		Reason: said.reason, By: h.by,
	}
}

// Order gives one order. False: it is unknown, purged, or of a forgotten sale.
func (s *State) Order(id sale.OrderID) (Hold, bool) {
	r, sl, code := s.known(id)
	if code != 0 {
		return Hold{}, false
	}
	return s.view(sl, r), true
}

// UserOrders gives a user's orders in a sale, the latest first: all live ones, and the MaxUserFinished
// that finished last. False: the sale is unknown or forgotten.
func (s *State) UserOrders(saleID, user string) ([]Hold, bool) {
	sl := s.byName[saleID]
	if sl == nil || sl.forgotten {
		return nil, false
	}
	acct := s.findAccount(sl.index, user)
	if acct == 0 {
		return nil, true
	}
	var orders []Hold
	a := s.accounts.get(acct)
	for r := a.live; r != 0; r = s.holds.get(r).uNext {
		orders = append(orders, s.view(sl, r))
	}
	finished := 0
	for r := a.done; r != 0 && finished < MaxUserFinished; r = s.holds.get(r).uNext {
		orders = append(orders, s.view(sl, r))
		finished++
	}
	slices.SortFunc(orders, func(a, b Hold) int { return cmp.Compare(b.Order, a.Order) })
	return orders, true
}

// Holds gives up to limit orders of a sale with ids above after, ascending; state 0 means any state. It
// looks at MaxPage orders at most, some 50 ns each, and says how far it came: go on from upTo, until that is
// 0. False: the sale is unknown or forgotten.
func (s *State) Holds(saleID string, state sale.HoldState, after sale.OrderID, limit int) (page []Hold, upTo sale.OrderID, known bool) {
	sl := s.byName[saleID]
	if sl == nil || sl.forgotten {
		return nil, 0, false
	}
	if limit = min(limit, MaxPage); limit <= 0 {
		return nil, 0, true
	}
	looked := 0
	sl.ids.each(max(after, 0), func(id sale.OrderID) bool {
		if len(page) == limit || looked == MaxPage {
			return false
		}
		looked++
		upTo = id
		r := s.byID.find(id)
		if state == 0 || s.holds.get(r).state == state {
			page = append(page, s.view(sl, r))
		}
		return true
	})
	if len(page) < limit && looked < MaxPage {
		upTo = 0
	}
	return page, upTo, true
}

// Info gives a sale's live figures, or a tombstone's final ones. wall is what Info.Now shall say. The
// slices in it are shared and must not be changed.
func (s *State) Info(saleID string, wall int64) (sale.Info, bool) {
	sl := s.byName[saleID]
	if sl == nil {
		return sale.Info{}, false
	}
	return sl.info(wall), true
}

// Supply is a sale's incarnation and supply version, as Collect gives them; 0 and 0 when it is unknown.
func (s *State) Supply(saleID string) (incarnation, supply int64) {
	sl := s.byName[saleID]
	if sl == nil {
		return 0, 0
	}
	return sl.incarnation, sl.supply
}

// List gives the figures of all sales that are not forgotten, by id.
func (s *State) List(wall int64) []sale.Info {
	list := make([]sale.Info, 0, len(s.active))
	for _, sl := range s.active {
		list = append(list, sl.info(wall))
	}
	slices.SortFunc(list, func(a, b sale.Info) int { return strings.Compare(a.ID, b.ID) })
	return list
}
