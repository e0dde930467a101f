package borrow

import "time"

// waiter is a buyer who waits for units of other shards.
type waiter struct {
	id       uint64
	quantity int64
	since    time.Duration
	proposed bool // the log is deciding
}

// waiters are the buyers who wait, the first one first.
type waiters struct {
	byID     map[uint64]*waiter
	list     []*waiter // those that left have no id, and are dropped now and then
	walking  bool      // each is under way: nothing may be dropped
	waiting  int64     // units that those want who are not proposed
	proposed int64     // units that those want who are
}

func newWaiters() waiters { return waiters{byID: make(map[uint64]*waiter)} }

func (q *waiters) count(w *waiter) *int64 {
	if w.proposed {
		return &q.proposed
	}
	return &q.waiting
}

func (q *waiters) add(w *waiter) {
	q.byID[w.id] = w
	q.list = append(q.list, w)
	q.waiting += w.quantity
}

func (q *waiters) propose(w *waiter, proposed bool) {
	*q.count(w) -= w.quantity
	w.proposed = proposed
	*q.count(w) += w.quantity
}

func (q *waiters) remove(id uint64) {
	w := q.byID[id]
	if w == nil {
		return
	}
	*q.count(w) -= w.quantity
	delete(q.byID, id)
	w.id = 0
	q.tidy()
}

// tidy drops those that left from the front, and all of them when they are the most.
func (q *waiters) tidy() {
	if q.walking {
		return
	}
	for len(q.list) > 0 && q.list[0].id == 0 {
		q.list[0] = nil
		q.list = q.list[1:]
	}
	if len(q.list) > 64 && len(q.list) > 4*len(q.byID) {
		kept := q.list[:0]
		for _, w := range q.list {
			if w.id != 0 {
				kept = append(kept, w)
			}
		}
		clear(q.list[len(kept):])
		q.list = kept
	}
}

// each calls do for every buyer who is not proposed, the first one first, until it says false. do may
// propose or remove that one.
func (q *waiters) each(do func(*waiter) bool) {
	q.walking = true
	for _, w := range q.list {
		if w.id != 0 && !w.proposed && !do(w) {
			break
		}
	}
	q.walking = false
	q.tidy()
}

// wait takes a buyer in, or back after a proposal that found the shard dry again.
func (b *Broker) wait(id uint64, quantity int64) {
	if w := b.queue.byID[id]; w != nil {
		b.queue.propose(w, false)
		return
	}
	if result, ok := b.verdict.Refuse(b.now, b.local.Incarnation, b.local.Supply, quantity); ok {
		b.do(Action{Kind: Refuse, Buyer: id, Result: result})
		return
	}
	switch {
	case len(b.queue.byID) >= b.cfg.MaxWaiting:
		b.do(Action{Kind: Busy, Buyer: id})
	case b.phase == idle && b.now < b.holdOff && b.anySilent():
		b.do(Action{Kind: TryAgain, Buyer: id})
	default:
		b.queue.add(&waiter{id: id, quantity: quantity, since: b.now})
	}
}

func (b *Broker) anySilent() bool {
	for i := range b.peers {
		if b.peers[i].silentFor > 0 {
			return true
		}
	}
	return false
}

// need is how many units the waiting buyers want beyond what is here.
func (b *Broker) need() int64 {
	return max(b.queue.waiting-max(b.local.Available-b.queue.proposed, 0), 0)
}

// answer proposes the buyers for whom there is enough, the first ones first, and answers those whose
// fate is known or who have waited long enough.
func (b *Broker) answer() {
	if b.queue.waiting == 0 {
		return
	}
	left := b.local.Available - b.queue.proposed
	stopped := b.local.Paused || b.local.Closed || b.local.Forgotten || b.local.Restoring
	holds := b.decided()
	blocked := false
	b.queue.each(func(w *waiter) bool {
		if stopped || !blocked && w.quantity <= left {
			left -= w.quantity
			b.queue.propose(w, true)
			b.do(Action{Kind: Propose, Buyer: w.id})
			return true
		}
		if holds {
			if result, ok := b.verdict.refusal(w.quantity); ok {
				b.do(Action{Kind: Refuse, Buyer: w.id, Result: result})
				b.queue.remove(w.id)
				return true
			}
		}
		if b.now >= w.since+b.cfg.Patience {
			b.leave(w, TryAgain)
			return true
		}
		blocked = true
		b.wake(w.since + b.cfg.Patience)
		return holds // without a verdict the later ones, who came later, only wait
	})
}

func (b *Broker) leave(w *waiter, kind ActionKind) {
	b.do(Action{Kind: kind, Buyer: w.id})
	b.queue.remove(w.id)
}
