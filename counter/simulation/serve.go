package simulation

import (
	"time"

	"headgate.example/counter/borrow"
	"headgate.example/counter/machine"
	"headgate.example/lib/sale"
)

const (
	askTimeout     = 300 * time.Millisecond
	collectTimeout = 200 * time.Millisecond
)

// request is one RESERVE at a leader.
type request struct {
	command machine.Command
	sent    time.Duration
	reply   func(any)
}

// tryAgain is the answer -TRYAGAIN or -BUSY.
type tryAgain struct{}

// reader is the state that answers are taken from.
func (n *node) reader() *machine.State {
	if readAhead {
		return n.ahead
	}
	return n.state
}

func (n *node) row() machine.Collected {
	row, _ := n.reader().Collect(saleID)
	return row
}

func given(row *machine.Collected) (sum int64) {
	for _, t := range row.Transfers {
		sum += t.Given
	}
	return sum
}

func (n *node) reserve(r *request) {
	w := n.sh.w
	c := &r.command
	if n.verified() {
		result, ok := n.reader().Refuse(c.Sale, c.User, c.Key, c.Quantity, n.wall(), n.servedNow())
		switch {
		case ok && result.Code == machine.CodeDry:
			n.dry(r)
			return
		case ok:
			w.checkRefusal(r, result, "from memory by "+n.sh.name)
			r.reply(result)
			return
		}
	}
	n.decide(r, func(result machine.Result) {
		if result.Code == machine.CodeDry {
			n.dry(r)
			return
		}
		r.reply(result)
	})
}

// decide lets the log decide over a reservation.
func (n *node) decide(r *request, then func(machine.Result)) {
	n.propose(r.command, func(result machine.Result, ok bool) {
		if !ok {
			r.reply(tryAgain{})
			return
		}
		if result.Code.Refusal() {
			n.sh.w.checkRefusal(r, result, "by the log of "+n.sh.name)
		}
		then(result)
	})
}

// dry answers from what is known over all shards, or lets the buyer wait.
func (n *node) dry(r *request) {
	n.sh.w.report.Dry++
	row := n.row()
	if n.verified() {
		verdict := n.broker.Verdict()
		if result, ok := verdict.Refuse(n.mono(), row.Incarnation, row.Supply, r.command.Quantity); ok {
			if verdict.Aging(n.mono()) {
				n.back(borrow.Event{Kind: borrow.Renew})
			}
			n.sh.w.checkVerdict(r, n.verdictSince(), result, "from a kept verdict of "+n.sh.name)
			r.reply(result)
			return
		}
	}
	n.lastBuyer++
	n.waiting[n.lastBuyer] = r
	n.step(borrow.Event{Kind: borrow.Dry, Buyer: n.lastBuyer, Quantity: r.command.Quantity})
}

// verdictSince is when the collect behind the latest verdict began.
func (n *node) verdictSince() time.Duration { return n.began + n.broker.Verdict().Since() }

func (n *node) mono() time.Duration { return n.sh.w.now - n.began }

// step gives the broker an event and carries out what it decides.
func (n *node) step(ev borrow.Event) {
	if n.broker == nil || !n.alive() {
		return
	}
	var known bool
	if ev.Local, known = n.reader().Collect(saleID); !known {
		return
	}
	ev.Now = n.mono()
	for _, a := range n.broker.Step(&ev, nil) {
		n.carryOut(a)
	}
}

// back steps the broker later: nothing ends within the step that began it.
func (n *node) back(ev borrow.Event) { n.sh.w.after(0, func() { n.step(ev) }) }

func (n *node) carryOut(a borrow.Action) {
	w := n.sh.w
	switch a.Kind {
	case borrow.Ask:
		n.ask(a)
	case borrow.Accept:
		n.propose(machine.Command{Kind: machine.Accept, Sale: saleID, Value: a.Peer, Total: a.Units}, func(r machine.Result, ok bool) {
			w.report.Borrowed += int(r.Quantity)
			kind := borrow.Accepted
			if !ok || r.Code != machine.CodeOK {
				kind = borrow.AcceptFailed
			}
			n.back(borrow.Event{Kind: kind, Seq: a.Seq, Peer: a.Peer})
		})
	case borrow.Collect:
		n.collect(a)
	case borrow.Give:
		w.call(n.sh.index, w.shard(a.Peer), askTimeout, func(peer *node, reply func(any)) {
			peer.accept(n.sh.name, a.Units, reply)
		}, func(answer any, ok bool) {
			ev := borrow.Event{Kind: borrow.GiveFailed, Peer: a.Peer}
			if ok {
				ev.Kind, ev.Units = borrow.Gave, answer.(int64)
			}
			n.step(ev)
		})
	case borrow.Acknowledge:
		n.propose(machine.Command{Kind: machine.Ask, Sale: saleID, Value: a.Peer, Total: a.Units}, func(r machine.Result, ok bool) {
			if ok && r.Code != machine.CodeOK {
				w.fail("%s acknowledges %d to %s: %+v", n.sh.name, a.Units, a.Peer, r)
			}
			n.back(borrow.Event{Kind: borrow.Acknowledged, Peer: a.Peer})
		})
	case borrow.Propose:
		r := n.waiting[a.Buyer]
		n.propose(r.command, func(result machine.Result, ok bool) { n.proposed(a.Buyer, r, result, ok) })
	case borrow.Refuse:
		r := n.waiting[a.Buyer]
		delete(n.waiting, a.Buyer)
		if !n.verified() {
			r.reply(tryAgain{})
			return
		}
		w.checkVerdict(r, n.verdictSince(), a.Result, "after a collect by "+n.sh.name)
		r.reply(a.Result)
	case borrow.TryAgain, borrow.Busy:
		n.waiting[a.Buyer].reply(tryAgain{})
		delete(n.waiting, a.Buyer)
	case borrow.Wake:
		n.wake++
		wake := n.wake
		w.after(max(a.At-n.mono(), 0), func() {
			if n.wake == wake {
				n.step(borrow.Event{Kind: borrow.Tick})
			}
		})
	}
}

// proposed is what became of a buyer who was waiting.
func (n *node) proposed(buyer uint64, r *request, result machine.Result, ok bool) {
	if ok && result.Code == machine.CodeDry {
		n.back(borrow.Event{Kind: borrow.Dry, Buyer: buyer, Quantity: r.command.Quantity})
		return
	}
	delete(n.waiting, buyer)
	switch {
	case !ok:
		r.reply(tryAgain{})
	case result.Code.Refusal():
		n.sh.w.checkRefusal(r, result, "by the log of "+n.sh.name)
		r.reply(result)
	default:
		r.reply(result)
	}
	n.back(borrow.Event{Kind: borrow.Done, Buyer: buyer})
}

func (n *node) ask(a borrow.Action) {
	w := n.sh.w
	c := machine.Command{Kind: machine.Ask, Sale: saleID, Value: n.sh.name, Total: a.Units, Quantity: a.Want, ForDebt: a.ForDebt}
	w.call(n.sh.index, w.shard(a.Peer), askTimeout, func(peer *node, reply func(any)) {
		if acknowledgeEarly {
			foreseen := peer.sh.copyOf(peer.state)
			e := machine.Entry{Wall: peer.wall(), Served: peer.servedNow(), Commands: []machine.Command{c}}
			reply(foreseen.Apply(&e, nil)[0])
		}
		peer.propose(c, func(r machine.Result, ok bool) {
			if ok && !acknowledgeEarly {
				reply(r)
			}
		})
	}, func(answer any, ok bool) {
		r, _ := answer.(machine.Result)
		if !ok || r.Code != machine.CodeOK {
			if r.Code == machine.CodeErr {
				w.fail("%s asks %s: %+v", n.sh.name, a.Peer, r)
			}
			n.step(borrow.Event{Kind: borrow.AskFailed, Seq: a.Seq, Peer: a.Peer})
			return
		}
		n.step(borrow.Event{Kind: borrow.Asked, Seq: a.Seq, Peer: a.Peer, Units: r.Detail})
	})
}

// accept serves SHARD.GIVE.
func (n *node) accept(giver string, units int64, reply func(any)) {
	if acknowledgeEarly {
		reply(units)
	}
	n.propose(machine.Command{Kind: machine.Accept, Sale: saleID, Value: giver, Total: units}, func(r machine.Result, ok bool) {
		if ok && r.Code == machine.CodeOK && !acknowledgeEarly {
			n.sh.w.report.Borrowed += int(r.Quantity)
			reply(r.Detail)
		}
	})
}

// collect asks for a row. A leader that is not verified has none to give.
func (n *node) collect(a borrow.Action) {
	w := n.sh.w
	w.call(n.sh.index, w.shard(a.Peer), collectTimeout, func(peer *node, reply func(any)) {
		if !peer.verified() {
			return
		}
		if row, known := peer.reader().Collect(saleID); known {
			reply(row)
		}
	}, func(answer any, ok bool) {
		ev := borrow.Event{Kind: borrow.CollectFailed, Seq: a.Seq, Peer: a.Peer}
		if ok {
			ev.Kind, ev.Row = borrow.Collected, answer.(machine.Collected)
		}
		n.step(ev)
	})
}

// resume serves SALE.RESUME.
func (n *node) resume(c machine.Command, reply func(any)) {
	if n.broker != nil {
		row := n.row()
		if row.Debt > 0 && row.Paused && row.Revision == c.Revision-1 {
			if !n.verified() || !n.broker.MayResume(n.mono(), &row) {
				n.step(borrow.Event{Kind: borrow.WantResume})
				reply(tryAgain{})
				return
			}
			n.sh.w.checkBroke(n.sh.name)
		}
	}
	n.change(c, reply)
}

// change serves any other change of the sale.
func (n *node) change(c machine.Command, reply func(any)) {
	n.propose(c, func(r machine.Result, ok bool) {
		if !ok {
			reply(tryAgain{})
			return
		}
		reply(r)
	})
}

func (w *world) shard(name string) *shard {
	for _, sh := range w.shards {
		if sh.name == name {
			return sh
		}
	}
	panic("simulation: no shard " + name)
}

// owner is the shard that serves a user.
func (w *world) owner(user string) *shard { return w.shard(w.ring.Owner(user)) }

// shardOf finds the shard that minted an id.
func (w *world) shardOf(id sale.OrderID) *shard {
	for _, sh := range w.shards {
		if sh.number == id.Shard() {
			return sh
		}
	}
	return nil
}
