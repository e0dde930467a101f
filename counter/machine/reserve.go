package machine

import "headgate.example/lib/sale"

// reserve carries out a RESERVE whose user's name has this hash. out is zero before.
func (s *State) reserve(c *Command, name uint32, out *Result) {
	sl, acct, live, refusal := s.judge(c.Sale, c.User, c.Key, name, c.Quantity, s.wall)
	s.recent = sl
	switch {
	case live != 0:
		s.reserved(out, CodeAlready, s.holds.get(live))
		return
	case refusal.code != 0:
		*out = refusal.result()
		return
	case s.holds.len() >= s.limits.holds:
		*out = busy("sale", "this shard keeps its limit of %d holds", s.limits.holds)
		return
	case sl.ids.live >= s.limits.holdsPerSale:
		*out = busy("sale", "this sale keeps its limit of %d holds", s.limits.holdsPerSale)
		return
	}
	id, ok := s.mint()
	if !ok {
		*out = busy("order", "order ids are at their limit ahead of the clock: check the leader's clock")
		return
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
	s.reserved(out, CodeReserved, h)
}

// reserved fills the result of a reservation that led to this hold.
func (s *State) reserved(out *Result, code Code, h *hold) {
	out.Code, out.Order, out.State, out.Quantity, out.Slot = code, h.id, h.state, int64(h.quantity), int64(h.slot)
	out.Expires = s.expires(h)
}

// refused is what a refusal says: a small part of a Result, since most are refused when it counts.
type refused struct {
	code   Code // 0: it is none
	detail int64
	reason string
}

func (r *refused) result() Result { return Result{Code: r.code, Detail: r.detail, Reason: r.reason} }

// judge is the one place that decides over a reservation, for Apply and Refuse alike. It gives the
// sale, the user's account if there is one, and either the live order of this user and key, or a
// refusal, or neither.
func (s *State) judge(saleID, user, key string, name uint32, quantity, wall int64) (sl *saleState, acct, live ref, refusal refused) {
	sl = s.saleNamed(saleID)
	if sl == nil {
		return nil, 0, 0, refused{code: CodeNoSale}
	}
	if sl.forgotten {
		return sl, 0, 0, refused{code: CodeEnded}
	}
	if sl.ring != nil {
		if owner := sl.ring.Owner(user); owner != s.opts.Shard {
			return sl, 0, 0, refused{code: CodeWrongShard, reason: owner}
		}
	}
	var units int64
	orders := 0
	if acct = s.findHashed(hashIn(sl.index, name), sl.index, user); acct != 0 {
		if live = s.liveOrder(acct, key); live != 0 {
			return sl, acct, live, refused{}
		}
		a := s.accounts.get(acct)
		units, orders = a.units, int(a.orders)
	}
	refusal = sl.refusal(units, quantity, wall)
	if orders >= s.limits.liveOrders && (refusal.code == 0 || refusal.code > CodeLimit) {
		refusal = refused{code: CodeLimit, detail: int64(s.limits.liveOrders)}
	}
	return sl, acct, 0, refusal
}

// refusal says why a user with this many units may not have quantity more, if anything is against it.
func (sl *saleState) refusal(units, quantity, wall int64) refused {
	switch {
	case sl.paused:
		return refused{code: CodePaused}
	case !sl.closed && wall < sl.terms.OpensAt:
		return refused{code: CodeNotOpen, detail: sl.terms.OpensAt}
	case !sl.closed && sl.available == 0 && sl.scheduled > 0 && !sl.shared():
		return refused{code: CodeNotOpen, detail: sl.nextRelease()}
	case sl.closed || sl.terms.EndsAt != 0 && wall >= sl.terms.EndsAt:
		return refused{code: CodeEnded}
	case sl.terms.Limit > 0 && units+quantity > sl.terms.Limit:
		return refused{code: CodeLimit, detail: sl.terms.Limit}
	case sl.available < quantity && sl.shared():
		return refused{code: CodeDry, detail: sl.available}
	case sl.available == 0:
		return refused{code: CodeSoldOut, detail: sl.held}
	case sl.available < quantity:
		return refused{code: CodeInsufficient, detail: sl.available}
	}
	return refused{}
}

// Refuse answers a reservation from what is applied, without the log, when the answer is certainly a
// refusal: Apply would give the same at these times. False means that the log must decide: it might be
// granted, the user has a live order under this key, something is due that could change the answer, or
// the request is not valid. CodeDry and CodeWrongShard are such answers too. wall and served are the leader's clocks in milliseconds. It allocates nothing.
func (s *State) Refuse(saleID, user, key string, quantity, wall, served int64) (Result, bool) {
	c := Command{Kind: Reserve, Sale: saleID, User: user, Key: key, Quantity: quantity}
	if s.check(&c) != nil {
		return Result{}, false
	}
	wall = clampWall(wall)
	sl, _, live, refusal := s.judge(saleID, user, key, s.hashName(user), quantity, wall)
	if live != 0 || refusal.code == 0 {
		return Result{}, false
	}
	if sl == nil || sl.forgotten {
		return refusal.result(), true
	}
	if len(sl.releases) > 0 && sl.releases[0].At <= wall {
		return Result{}, false
	}
	if r := sl.waiting.head; r != 0 && s.holds.get(r).due <= served {
		return Result{}, false
	}
	return refusal.result(), true
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
