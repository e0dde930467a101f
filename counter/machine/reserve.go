package machine

import "headgate.example/lib/sale"

// reserve carries out a RESERVE whose user's name has this hash.
func (s *State) reserve(c *Command, name uint32) Result {
	sl, acct, live, refusal := s.judge(c.Sale, c.User, c.Key, name, c.Quantity, s.wall)
	s.recent = sl
	if live != 0 {
		r := s.orderResult(CodeAlready, s.holds.get(live))
		r.Expires = s.expires(s.holds.get(live))
		return r
	}
	if refusal.Code != 0 {
		return refusal
	}
	if s.holds.len() >= s.limits.holds {
		return busy("sale", "this shard keeps its limit of %d holds", s.limits.holds)
	}
	if sl.ids.live >= s.limits.holdsPerSale {
		return busy("sale", "this sale keeps its limit of %d holds", s.limits.holdsPerSale)
	}
	id, ok := s.mint()
	if !ok {
		return busy("order", "order ids are at their limit ahead of the clock: check the leader's clock")
	}
	if acct == 0 {
		acct = s.addAccount(hashIn(sl.index, name), sl.index, c.User)
	}
	slot, prev := s.freeSlot(acct)
	r, h := s.addHold(sl, acct, prev, id, c.Quantity, slot, sale.Held, c.Key)
	h.due = s.served + sl.terms.HoldForMillis
	s.enqueue(&sl.waiting, r, h)
	sl.available -= c.Quantity
	sl.held += c.Quantity
	s.nextServed = min(s.nextServed, h.due)
	result := s.orderResult(CodeReserved, h)
	result.Expires = s.expires(h)
	return result
}

// judge is the one place that decides over a reservation, for Apply and Refuse alike. It gives the
// sale, the user's account if there is one, and either the live order of this user and key, or a
// refusal, or neither.
func (s *State) judge(saleID, user, key string, name uint32, quantity, wall int64) (sl *saleState, acct, live ref, refusal Result) {
	sl = s.saleNamed(saleID)
	if sl == nil {
		return nil, 0, 0, Result{Code: CodeNoSale}
	}
	if sl.forgotten {
		return sl, 0, 0, Result{Code: CodeEnded}
	}
	if sl.ring != nil {
		if owner := sl.ring.Owner(user); owner != s.opts.Shard {
			return sl, 0, 0, Result{Code: CodeWrongShard, Reason: owner}
		}
	}
	var units int64
	orders := 0
	if acct = s.findHashed(hashIn(sl.index, name), sl.index, user); acct != 0 {
		if live = s.liveOrder(acct, key); live != 0 {
			return sl, acct, live, Result{}
		}
		a := s.accounts.get(acct)
		units, orders = a.units, int(a.orders)
	}
	refusal = sl.refusal(units, quantity, wall)
	if orders >= s.limits.liveOrders && (refusal.Code == 0 || refusal.Code > CodeLimit) {
		refusal = Result{Code: CodeLimit, Detail: int64(s.limits.liveOrders)}
	}
	return sl, acct, 0, refusal
}

// refusal says why a user with this many units may not have quantity more. Code 0: nothing is against it.
func (sl *saleState) refusal(units, quantity, wall int64) Result {
	switch {
	case sl.paused:
		return Result{Code: CodePaused}
	case !sl.closed && wall < sl.terms.OpensAt:
		return Result{Code: CodeNotOpen, Detail: sl.terms.OpensAt}
	case !sl.closed && sl.available == 0 && sl.scheduled > 0 && !sl.shared():
		return Result{Code: CodeNotOpen, Detail: sl.nextRelease()}
	case sl.closed || sl.terms.EndsAt != 0 && wall >= sl.terms.EndsAt:
		return Result{Code: CodeEnded}
	case sl.terms.Limit > 0 && units+quantity > sl.terms.Limit:
		return Result{Code: CodeLimit, Detail: sl.terms.Limit}
	case sl.available < quantity && sl.shared():
		return Result{Code: CodeDry, Detail: sl.available}
	case sl.available == 0:
		return Result{Code: CodeSoldOut, Detail: sl.held}
	case sl.available < quantity:
		return Result{Code: CodeInsufficient, Detail: sl.available}
	}
	return Result{}
}

// Refuse answers a reservation from what is applied, without the log, when the answer is certainly a
// refusal: Apply would give the same at these times. False means that the log must decide: it might be
// granted, the user has a live order under this key, something is due that could change the answer, or
// the request is not valid. CodeDry and CodeWrongShard are such answers too. wall and served are the leader's clocks in milliseconds. It allocates nothing.
func (s *State) Refuse(saleID, user, key string, quantity, wall, served int64) (Result, bool) {
	c := Command{Kind: Reserve, Sale: saleID, User: user, Key: key, Quantity: quantity}
	if c.checkReserve() != nil {
		return Result{}, false
	}
	wall = clampWall(wall)
	sl, _, live, refusal := s.judge(saleID, user, key, s.hashName(user), quantity, wall)
	if live != 0 || refusal.Code == 0 {
		return Result{}, false
	}
	if sl == nil || sl.forgotten {
		return refusal, true
	}
	if len(sl.releases) > 0 && sl.releases[0].At <= wall {
		return Result{}, false
	}
	if r := sl.waiting.head; r != 0 && s.holds.get(r).due <= served {
		return Result{}, false
	}
	return refusal, true
}

func (s *State) orderResult(code Code, h *hold) Result {
	return Result{Code: code, Order: h.id, State: h.state, Quantity: int64(h.quantity), Slot: int64(h.slot)}
}

// expires is when a hold is expected to run out by the wall clock, if the shard serves until then.
func (s *State) expires(h *hold) int64 {
	if h.state != sale.Held {
		return 0
	}
	return s.wall + h.due - s.served
}
