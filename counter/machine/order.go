package machine

import "headgate.example/lib/sale"

// known gives the record of an order in a sale that is not forgotten; otherwise the Code says why not.
func (s *State) known(id sale.OrderID) (r ref, sl *saleState, code Code) {
	if r = s.byID.find(id); r == 0 {
		return 0, nil, CodeUnknown
	}
	if sl = s.saleOf(s.holds.get(r)); sl.forgotten {
		return 0, sl, CodeForgotten
	}
	return r, sl, 0
}

// stateCode is the answer for an order that stays in the state it is in.
func stateCode(state sale.HoldState) Code {
	switch state {
	case sale.Held:
		return CodeHeld
	case sale.Confirmed:
		return CodeConfirmed
	case sale.Released:
		return CodeReleased
	}
	return CodeExpired
}

func (s *State) confirm(id sale.OrderID) Result {
	r, sl, code := s.known(id)
	if code != 0 {
		return Result{Code: CodeUnknown, Order: id}
	}
	if s.holds.get(r).state == sale.Held {
		h := s.holds.edit(r)
		s.dequeue(&sl.waiting, h)
		sl.heldOrders--
		sl.confirmedOrders++
		sl.held -= int64(h.quantity)
		sl.confirmed += int64(h.quantity)
		h.state, h.changed, h.due = sale.Confirmed, s.wall, 0
	}
	h := s.holds.get(r)
	return s.orderResult(stateCode(h.state), h)
}

func (s *State) abort(id sale.OrderID, reason string) Result {
	r, sl, code := s.known(id)
	if code != 0 {
		return Result{Code: CodeUnknown, Order: id}
	}
	if s.holds.get(r).state == sale.Held {
		s.finish(sl, r, sale.Released, Abort, reason)
	}
	h := s.holds.get(r)
	return s.orderResult(stateCode(h.state), h)
}

func (s *State) release(id sale.OrderID, reason string) Result {
	r, sl, code := s.known(id)
	if code != 0 {
		return Result{Code: code, Order: id}
	}
	h := s.holds.get(r)
	switch h.state {
	case sale.Confirmed:
		s.finish(sl, r, sale.Released, Release, reason)
		return s.orderResult(CodeReleased, s.holds.get(r))
	case sale.Released:
		return s.orderResult(CodeAlready, h)
	}
	return s.orderResult(stateCode(h.state), h)
}

// finish ends a live hold, and gives its units back.
func (s *State) finish(sl *saleState, r ref, state sale.HoldState, by Kind, reason string) {
	h := s.holds.edit(r)
	quantity := int64(h.quantity)
	*sl.count(h.state)--
	*sl.count(state)++
	if h.state == sale.Held {
		s.dequeue(&sl.waiting, h)
		sl.held -= quantity
	} else {
		sl.confirmed -= quantity
	}
	if state == sale.Expired {
		sl.expiredTotal += quantity
	} else {
		sl.releasedTotal += quantity
	}
	sl.addSupply(quantity)
	a := s.accounts.edit(h.account)
	a.units -= quantity
	a.orders--
	s.unlink(&a.live, h)
	s.linkAfter(&a.done, 0, r, h)
	if reason != "" {
		s.setNote(h, s.keyOf(h), reason)
	}
	h.state, h.by, h.changed = state, by, s.wall
	h.due = s.served + sl.terms.RetainForMillis
	s.enqueue(&sl.finished, r, h)
	s.nextServed = min(s.nextServed, h.due)
}
