package simulation

import (
	"fmt"
	"strings"
	"time"

	"headgate.example/counter/machine"
)

// admin brings the changes of the sale to all its shards, one revision after the other.
type admin struct {
	w        *world
	revision int64
	stock    int64
	left     int  // changes to make before the network heals
	early    bool // the sale is forgotten while everything still goes on
	over     bool
	doing    string
}

func (w *world) beginAdmin() {
	w.admin = &admin{w: w, stock: w.terms.Stock, left: w.rng.IntN(5)}
	w.truth.maxStock = w.terms.Stock
	a := w.admin
	a.change(machine.Command{Kind: machine.OpenSale, Terms: &w.terms}, func() {
		a.change(machine.Command{Kind: machine.ResumeSale}, a.next)
	})
}

// next draws what the operator does next, until all heals.
func (a *admin) next() {
	w := a.w
	if a.left == 0 || w.healed {
		if !w.healed && w.chance(0.2) {
			a.early = true
			w.after(w.between(0, time.Second), a.forget)
			return
		}
		a.settle()
		return
	}
	a.left--
	w.after(w.between(10*time.Millisecond, 2*time.Second), func() {
		resume := func() { a.change(machine.Command{Kind: machine.ResumeSale}, a.next) }
		switch p := w.rng.Float64(); {
		case p < 0.08 && len(w.shards) > 1:
			a.change(machine.Command{Kind: machine.PauseSale}, func() { a.disaster(pick(w, w.shards...), resume) })
		case p < 0.2:
			a.change(machine.Command{Kind: machine.PauseSale}, func() { w.after(w.between(0, time.Second), resume) })
		case p < 0.5:
			a.stock += w.rng.Int64N(12)
			a.change(machine.Command{Kind: machine.SetStock, Total: a.stock}, a.next)
		default:
			a.change(machine.Command{Kind: machine.PauseSale}, func() {
				a.stock = w.rng.Int64N(a.stock + 1)
				a.change(machine.Command{Kind: machine.SetStock, Total: a.stock}, resume)
			})
		}
	})
}

// change brings the next revision to every shard. Those that owe units are resumed before the others,
// while what the others have is still there to pay with.
func (a *admin) change(c machine.Command, then func()) {
	w := a.w
	a.revision++
	c.Sale, c.Revision = saleID, a.revision
	a.doing = fmt.Sprintf("%s %d", c.Kind, c.Revision)
	if c.Kind != machine.ResumeSale {
		a.all(w.shards, c, then)
		return
	}
	var indebted, others []*shard
	for _, sh := range w.shards {
		if row, known := sh.state.Collect(saleID); known && row.Debt > 0 {
			indebted = append(indebted, sh)
		} else {
			others = append(others, sh)
		}
	}
	a.all(indebted, c, func() { a.all(others, c, then) })
}

func (a *admin) all(shards []*shard, c machine.Command, then func()) {
	left := len(shards)
	if left == 0 {
		then()
		return
	}
	for _, sh := range shards {
		a.one(sh, c, func() {
			if left--; left == 0 {
				then()
			}
		})
	}
}

// one repeats a change at one shard until it is there.
func (a *admin) one(sh *shard, c machine.Command, then func()) {
	w := a.w
	again := func() { w.after(w.between(10*time.Millisecond, 100*time.Millisecond), func() { a.one(sh, c, then) }) }
	w.call(w.everybody(), sh, w.callTimeout(), func(n *node, reply func(any)) {
		if c.Kind == machine.ResumeSale {
			n.resume(c, reply)
			return
		}
		n.change(c, reply)
	}, func(answer any, ok bool) {
		r, decided := answer.(machine.Result)
		switch {
		case !ok || !decided:
			again()
		case r.Code == machine.CodeOK:
			then()
		case c.Kind == machine.ForgetSale && r.Code == machine.CodeErr:
			again() // something is held or on its way
		default:
			w.fail("%s %d at %s is answered %+v", c.Kind, c.Revision, sh.name, r)
		}
	})
}

// settle waits until every buyer has an answer, holds what they were told against the state, and forgets
// the sale: which waits until nothing is held or on its way. Then nothing may have been lost.
func (a *admin) settle() {
	w := a.w
	if !w.healed || len(w.undone()) > 0 {
		w.after(20*time.Millisecond, a.settle)
		return
	}
	w.checkOrders()
	a.forget()
}

func (a *admin) forget() {
	a.change(machine.Command{Kind: machine.CloseSale}, func() {
		a.change(machine.Command{Kind: machine.ForgetSale}, a.end)
	})
}

// end: when every shard has forgotten the sale, nothing may be on its way.
func (a *admin) end() {
	w := a.w
	if left := w.moving(); len(left) > 0 {
		w.fail("forgotten, but %s", strings.Join(left, "; "))
	}
	if !w.healed || len(w.undone()) > 0 {
		w.after(20*time.Millisecond, a.end)
		return
	}
	a.over = true
}

func (w *world) over() bool { return w.admin != nil && w.admin.over }

// unsettled says what is still going on, or "".
func (w *world) unsettled() string {
	what := append(w.undone(), w.moving()...)
	if len(what) > 0 && w.admin != nil {
		what = append(what, w.admin.doing)
	}
	return strings.Join(what, "; ")
}

// moving lists what is held or on its way.
func (w *world) moving() (what []string) {
	for _, row := range w.rows() {
		if row.Held > 0 {
			what = append(what, fmt.Sprintf("%s: %d held", row.Shard, row.Held))
		}
		for _, t := range row.Transfers {
			back := w.takenFrom(t.Peer, row.Shard)
			if t.Given != t.Acknowledged || t.Given != back {
				what = append(what, fmt.Sprintf("%s gave %d to %s, which took %d and acknowledged %d", row.Shard, t.Given, t.Peer, back, t.Acknowledged))
			}
		}
	}
	return what
}

// undone lists the buyers who have no answer, and the shards without a leader.
func (w *world) undone() (what []string) {
	for _, b := range w.buyers {
		if !b.done {
			what = append(what, "buyer "+b.user)
		}
	}
	for _, sh := range w.shards {
		if sh.node == nil {
			what = append(what, sh.name+" has no leader")
		}
	}
	return what
}

func (w *world) takenFrom(taker, giver string) int64 {
	row, _ := w.shard(taker).state.Collect(saleID)
	for _, t := range row.Transfers {
		if t.Peer == giver {
			return t.Taken
		}
	}
	return 0
}
