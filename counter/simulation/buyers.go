package simulation

import (
	"fmt"
	"time"

	"headgate.example/counter/machine"
	"headgate.example/lib/sale"
)

// callTimeout is how long buyers and the operator wait for an answer.
func (w *world) callTimeout() time.Duration {
	if w.hot {
		return 300 * time.Millisecond
	}
	return 2 * time.Second
}

// buyer is one user, who makes one purchase after the other.
type buyer struct {
	w        *world
	user     string
	left     int // purchases to make
	patience int // refusals that may pass by, which are not for good
	wants    int64
	key      string
	done     bool
	orders   map[sale.OrderID]*order
}

// order is what a buyer knows of one order.
type order struct {
	buyer     *buyer
	binding   sale.Binding
	reserved  time.Duration
	confirmed bool // CONFIRM said so
	releasing bool // RELEASE was sent
	released  bool
}

func (w *world) beginBuyers() {
	buyers, presses := 4+w.rng.IntN(16), 4
	if w.hot {
		buyers, presses = 2+w.rng.IntN(pick(w, 6, 6, 28)), 500 // until all heals
	}
	for i := range buyers {
		b := &buyer{w: w, user: fmt.Sprintf("u%d", i), left: 1 + w.rng.IntN(presses), orders: make(map[sale.OrderID]*order)}
		w.buyers = append(w.buyers, b)
		if w.hot {
			w.after(w.between(0, time.Second), b.next)
		} else {
			w.after(w.between(0, w.healAt), b.next)
		}
	}
}

// next begins the next purchase.
func (b *buyer) next() {
	if b.left == 0 || b.w.hot && b.w.healed {
		b.done = true
		return
	}
	w := b.w
	b.left--
	b.patience = w.rng.IntN(5)
	b.wants, b.key = pick[int64](w, 1, 1, 1, 2, 3, 6), pick(w, "", "", "k1", "k2")
	if w.hot {
		b.wants = pick[int64](w, 1, 1, 1, 2)
	}
	b.press()
}

func (b *buyer) later(do func()) {
	longest := 200 * time.Millisecond
	if b.w.hot {
		longest = 30 * time.Millisecond
	}
	b.w.after(b.w.between(time.Millisecond, longest), do)
}

// press sends one RESERVE, until some answer is final.
func (b *buyer) press() {
	w := b.w
	r := request{sent: w.now, command: machine.Command{Kind: machine.Reserve, Sale: saleID, User: b.user, Quantity: b.wants, Key: b.key}}
	to := w.owner(b.user)
	lost := w.chance(0.03)
	if lost {
		to = pick(w, w.shards...)
	}
	w.call(w.everybody(), to, w.callTimeout(), func(n *node, reply func(any)) {
		served := r
		served.reply = reply
		n.reserve(&served)
	}, func(answer any, ok bool) {
		result, decided := answer.(machine.Result)
		if !ok || !decided {
			b.later(b.press)
			return
		}
		if result.Code == machine.CodeWrongShard && (to == w.owner(b.user) || result.Reason != w.owner(b.user).name) {
			w.fail("%s is sent from %s to %s", b.user, to.name, result.Reason)
		}
		b.answered(result)
	})
}

func (b *buyer) answered(r machine.Result) {
	switch r.Code {
	case machine.CodeReserved, machine.CodeAlready:
		o := b.orders[r.Order]
		if o == nil {
			o = &order{buyer: b, reserved: b.w.now, binding: sale.Binding{Order: r.Order, Sale: saleID, User: b.user, Quantity: r.Quantity, Slot: r.Slot}}
			b.orders[r.Order] = o
		}
		if o.binding.Quantity != r.Quantity || o.binding.Slot != r.Slot {
			b.w.fail("order %d has two bindings: %+v and %+v", r.Order, o.binding, r)
		}
		if r.Code == machine.CodeReserved && r.Quantity != b.wants {
			b.w.fail("%s wants %d and has %d", b.user, b.wants, r.Quantity)
		}
		if o.confirmed {
			b.later(b.next)
			return
		}
		b.later(func() { b.decide(o) })
	case machine.CodeWrongShard:
		b.later(b.press)
	case machine.CodeNoSale, machine.CodePaused, machine.CodeNotOpen:
		if b.patience--; b.patience >= 0 || r.Code == machine.CodeNoSale {
			b.w.after(b.w.between(10*time.Millisecond, 800*time.Millisecond), b.press)
			return
		}
		b.later(b.next)
	case machine.CodeSoldOut, machine.CodeInsufficient, machine.CodeLimit, machine.CodeEnded:
		if b.patience--; b.patience >= 0 && r.Code != machine.CodeEnded {
			b.wants = pick[int64](b.w, 1, b.wants)
			if b.w.hot {
				b.later(b.press)
			} else {
				b.w.after(b.w.between(10*time.Millisecond, 800*time.Millisecond), b.press)
			}
			return
		}
		b.later(b.next)
	default:
		b.w.fail("%s reserves and is answered %+v", b.user, r)
	}
}

// decide confirms, aborts, or leaves the order alone.
func (b *buyer) decide(o *order) {
	confirms := 0.65
	if b.w.hot {
		confirms = 0.05
	}
	switch p := b.w.rng.Float64(); {
	case p < confirms:
		b.settle(o, machine.Confirm)
	case p < 0.9:
		b.settle(o, machine.Abort)
	default:
		b.later(b.next)
	}
}

// settle repeats CONFIRM, ABORT or RELEASE until it is answered.
func (b *buyer) settle(o *order, kind machine.Kind) {
	w := b.w
	if kind == machine.Release {
		o.releasing = true
	}
	c := machine.Command{Kind: kind, Order: o.binding.Order}
	w.call(w.everybody(), w.shardOf(c.Order), w.callTimeout(), func(n *node, reply func(any)) {
		n.change(c, reply)
	}, func(answer any, ok bool) {
		r, decided := answer.(machine.Result)
		if !ok || !decided {
			b.later(func() { b.settle(o, kind) })
			return
		}
		b.settled(o, kind, r)
	})
}

func (b *buyer) settled(o *order, kind machine.Kind, r machine.Result) {
	w := b.w
	kept := o.confirmed && !o.releasing
	switch {
	case r.Code == machine.CodeUnknown && w.shardOf(o.binding.Order).lost && !kept:
		// it was held, or given back, when the shard was lost
	case w.admin.early && (r.Code == machine.CodeUnknown || r.Code == machine.CodeForgotten):
		// the sale was forgotten under the buyers' hands
	case r.Code == machine.CodeUnknown || r.Code == machine.CodeForgotten:
		w.fail("order %d is unknown to %s", o.binding.Order, kind)
	case kept && r.Code != machine.CodeConfirmed:
		w.fail("order %d was confirmed, and %s is answered %s", o.binding.Order, kind, r.Code)
	case kind == machine.Confirm && r.Code == machine.CodeConfirmed:
		o.confirmed = true
		if w.chance(0.3) || w.hot {
			w.after(w.between(time.Millisecond, time.Second), func() { b.settle(o, machine.Release) })
			return
		}
	case kind == machine.Confirm && r.Code == machine.CodeHeld, kind == machine.Abort && r.Code == machine.CodeHeld,
		kind == machine.Release && r.Code != machine.CodeReleased && r.Code != machine.CodeAlready:
		w.fail("order %d: %s is answered %s", o.binding.Order, kind, r.Code)
	case kind == machine.Release:
		o.released = true
	}
	b.later(b.next)
}

// checkOrders holds what buyers were told against the state, id by id.
func (w *world) checkOrders() {
	if w.admin.early {
		return
	}
	for _, b := range w.buyers {
		for id, o := range b.orders {
			h, known := w.shardOf(id).state.Order(id)
			switch {
			case !known && w.shardOf(id).lost && !(o.confirmed && !o.releasing):
			case !known:
				w.fail("order %d is lost", id)
			case h.Binding != o.binding:
				w.fail("order %d is %+v, was %+v", id, h.Binding, o.binding)
			case o.released && h.State != sale.Released:
				w.fail("order %d was given back, and is %s", id, h.State)
			case o.confirmed && !o.releasing && h.State != sale.Confirmed:
				w.fail("order %d was confirmed, and is %s", id, h.State)
			}
		}
	}
	for _, sh := range w.shards {
		page, _, _ := sh.state.Holds(saleID, sale.Confirmed, 0, machine.MaxPage)
		w.report.Sold += len(page)
	}
}
