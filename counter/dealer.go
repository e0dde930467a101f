package counter

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"headgate.example/counter/borrow"
	"headgate.example/counter/machine"
	"headgate.example/counter/replica"
)

// demand is a buyer's reservation that found this shard dry. It is answered exactly once.
type demand struct {
	command machine.Command
	result  machine.Result // without err
	err     error          // of the log, or *peersError
	done    chan struct{}  // of capacity 1
}

func newDemand(m *machine.Command) *demand {
	return &demand{command: *m, done: make(chan struct{}, 1)}
}

func (d *demand) answer(result machine.Result, err error) {
	d.result, d.err = result, err
	d.done <- struct{}{}
}

// peersError is why an empty shard cannot decide: certainly nothing was done.
type peersError struct{ reason string }

func (e *peersError) Error() string { return "peers: " + e.reason }

func (e *peersError) Is(target error) bool { return target == replica.ErrNotAccepted }

// dealer carries out what the borrow.Broker of one sale decides, for one tenure. Whoever brings an event
// steps the broker, under mu; what takes time runs in goroutines of the dealership, each of which brings
// one event when it is over: at most an ask or an accept, a give or acknowledgement for each peer, a
// collect of each shard, and one call to the log for waiting buyers.
type dealer struct {
	owner  *dealership
	sale   string
	tenure any
	silent string // named in errors; guarded by mu

	shown    atomic.Pointer[borrow.Verdict] // the broker's, for those who refuse; nil once the dealer has ended
	renewing atomic.Pointer[borrow.Verdict] // the one that a renewal was asked for last

	mu      sync.Mutex // held while stepping; not while waiting for anything
	broker  *borrow.Broker
	local   machine.Collected // the last row that was read
	buyers  map[uint64]*demand
	nextID  uint64
	timer   *time.Timer
	ended   bool
	actions []borrow.Action // scratch
}

func newDealer(owner *dealership, tenure any, saleID string, row *machine.Collected, shards []string) *dealer {
	s := owner.srv
	d := &dealer{owner: owner, sale: saleID, tenure: tenure, local: *row, buyers: make(map[uint64]*demand)}
	for _, name := range shards {
		if name != s.cfg.Shard.Name && !slices.ContainsFunc(s.cfg.Peers, func(p PeerConfig) bool { return p.Name == name }) {
			s.rt.Log.Error("a shard of the sale is not among this counter's peers: no units move between them", "sale", saleID, "peer", name)
		}
	}
	d.broker = borrow.New(borrow.Config{
		Self: s.cfg.Shard.Name, Shards: shards, MaxWaiting: s.cfg.Borrow.Waiting, Patience: s.cfg.Borrow.Wait,
	})
	return d
}

// wait takes a buyer in. The demand is answered sooner or later, at the latest when the dealer ends.
func (d *dealer) wait(b *demand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		b.answer(machine.Result{}, d.owner.notServing())
		return
	}
	d.nextID++
	id := d.nextID
	d.buyers[id] = b
	d.step(borrow.Event{Kind: borrow.Dry, Buyer: id, Quantity: b.command.Quantity})
}

// bring hands the broker an event.
func (d *dealer) bring(ev borrow.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ended {
		d.step(ev)
	}
}

func (d *dealer) tick() { d.bring(borrow.Event{Kind: borrow.Tick}) }

// verdict answers a reservation that applied state found dry, if all shards were found to have too
// little a moment ago and nothing has come to this one since. It takes no lock.
func (d *dealer) verdict(incarnation, supply, quantity int64) (machine.Result, bool) {
	v, now := d.shown.Load(), d.owner.now()
	result, ok := v.Refuse(now, incarnation, supply, quantity)
	if ok && v.Aging(now) && d.renewing.Swap(v) != v {
		d.owner.renewLater(d)
	}
	return result, ok
}

// mayResume reports whether what this shard owes was asked for everywhere.
func (d *dealer) mayResume() bool {
	d.bring(borrow.Event{Kind: borrow.WantResume})
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.ended && d.look() && d.broker.MayResume(d.owner.now(), &d.local)
}

// look reads this shard's row; false when it does not serve any more, or not the sale.
func (d *dealer) look() bool {
	known := false
	err := d.owner.srv.replica.Peek(func(s *machine.State, _ replica.Clock) {
		var row machine.Collected
		if row, known = s.Collect(d.sale); known {
			d.local = row
		}
	})
	return err == nil && known && d.owner.srv.replica.Tenure() == d.tenure
}

// step is called with mu held, in a dealer that has not ended.
func (d *dealer) step(ev borrow.Event) {
	if !d.look() {
		d.end()
		return
	}
	ev.Now, ev.Local = d.owner.now(), d.local
	d.actions = d.broker.Step(&ev, d.actions[:0])
	d.shown.Store(d.broker.Verdict())
	var proposed []uint64
	for i := range d.actions {
		if a := &d.actions[i]; a.Kind == borrow.Propose {
			proposed = append(proposed, a.Buyer)
		} else {
			d.carryOut(*a)
		}
	}
	if len(proposed) > 0 {
		d.propose(proposed)
	}
}

func (d *dealer) carryOut(a borrow.Action) {
	m := &d.owner.meter
	switch a.Kind {
	case borrow.Refuse:
		m.refused.Inc()
		d.owner.srv.meter.decided(machine.Reserve, a.Result.Code, 1)
		d.settle(a.Buyer, a.Result, nil)
	case borrow.TryAgain:
		m.undecided.Inc()
		reason := "no unit of another shard came in time"
		if d.silent != "" {
			reason = "shard " + d.silent + " does not answer: whether units are left is not known"
		}
		d.settle(a.Buyer, machine.Result{}, &peersError{reason})
	case borrow.Busy:
		d.settle(a.Buyer, machine.Result{}, replica.ErrBusy)
	case borrow.Wake:
		d.wakeAt(a.At)
	case borrow.Ask:
		d.owner.start(func(ctx context.Context) { d.bring(d.ask(ctx, a)) })
	case borrow.Collect:
		d.owner.start(func(ctx context.Context) { d.bring(d.collect(ctx, a)) })
	case borrow.Give:
		d.owner.start(func(ctx context.Context) { d.bring(d.give(ctx, a)) })
	case borrow.Accept:
		d.owner.start(func(context.Context) { d.bring(d.accept(a)) })
	case borrow.Acknowledge:
		d.owner.start(func(context.Context) { d.bring(d.acknowledge(a)) })
	}
}

func (d *dealer) settle(id uint64, result machine.Result, err error) {
	if b := d.buyers[id]; b != nil {
		delete(d.buyers, id)
		b.answer(result, err)
	}
}

func (d *dealer) wakeAt(at time.Duration) {
	after := max(at-d.owner.now(), time.Millisecond)
	if d.timer == nil {
		d.timer = time.AfterFunc(after, func() { d.bring(borrow.Event{Kind: borrow.Tick}) })
		return
	}
	d.timer.Reset(after)
}

// end answers those who wait; those whose reservation the log is deciding are answered by it. Called
// with mu held.
func (d *dealer) end() {
	if d.ended {
		return
	}
	d.ended = true
	d.shown.Store(nil)
	if d.timer != nil {
		d.timer.Stop()
	}
	for id, b := range d.buyers {
		delete(d.buyers, id)
		b.answer(machine.Result{}, d.owner.notServing())
	}
}

func (d *dealer) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end()
}

func (d *dealer) ask(ctx context.Context, a borrow.Action) borrow.Event {
	ev := borrow.Event{Kind: borrow.Asked, Seq: a.Seq, Peer: a.Peer}
	m := &d.owner.meter
	m.asks.Inc()
	var err error
	if ev.Units, err = d.owner.peers.Ask(ctx, a.Peer, d.sale, d.owner.srv.cfg.Shard.Name, a.Units, a.Want, a.ForDebt); err != nil {
		ev.Kind = borrow.AskFailed
		d.heard(a.Peer, err)
		return ev
	}
	d.heard(a.Peer, nil)
	return ev
}

func (d *dealer) collect(ctx context.Context, a borrow.Action) borrow.Event {
	ev := borrow.Event{Kind: borrow.Collected, Seq: a.Seq, Peer: a.Peer}
	row, err := d.owner.row(ctx, a.Peer, d.sale)
	d.owner.meter.collects.Inc()
	if a.Peer != d.owner.srv.cfg.Shard.Name {
		d.heard(a.Peer, err)
	}
	if err != nil {
		ev.Kind = borrow.CollectFailed
		return ev
	}
	ev.Row = row
	return ev
}

func (d *dealer) give(ctx context.Context, a borrow.Action) borrow.Event {
	taken, err := d.owner.peers.Give(ctx, a.Peer, d.sale, d.owner.srv.cfg.Shard.Name, a.Units)
	d.owner.meter.gives.Inc()
	d.heard(a.Peer, err)
	if err != nil {
		return borrow.Event{Kind: borrow.GiveFailed, Peer: a.Peer}
	}
	return borrow.Event{Kind: borrow.Gave, Peer: a.Peer, Units: taken}
}

func (d *dealer) accept(a borrow.Action) borrow.Event {
	results, err := d.owner.log(machine.Command{Kind: machine.Accept, Sale: d.sale, Value: a.Peer, Total: a.Units})
	if err != nil || results[0].Code != machine.CodeOK {
		return borrow.Event{Kind: borrow.AcceptFailed, Seq: a.Seq, Peer: a.Peer}
	}
	d.owner.meter.units.Add(int(results[0].Quantity))
	return borrow.Event{Kind: borrow.Accepted, Seq: a.Seq, Peer: a.Peer}
}

func (d *dealer) acknowledge(a borrow.Action) borrow.Event {
	_, _ = d.owner.log(machine.Command{Kind: machine.Ask, Sale: d.sale, Value: a.Peer, Total: a.Units}) // repeated when it was not done
	return borrow.Event{Kind: borrow.Acknowledged, Peer: a.Peer}
}

// heard keeps the name of a silent peer for the errors, and logs when that changes.
func (d *dealer) heard(peer string, err error) {
	if d.owner.ctx.Err() != nil {
		return // it is this shard that stops
	}
	d.mu.Lock()
	before := d.silent
	switch {
	case err != nil:
		d.silent = peer
	case d.silent == peer:
		d.silent = ""
	}
	after := d.silent
	d.mu.Unlock()
	if err != nil {
		d.owner.meter.peerErrors.Inc()
	}
	switch log := d.owner.srv.rt.Log; {
	case before == "" && after != "":
		log.Warn("a shard of the sale does not answer", "sale", d.sale, "peer", peer, "error", err)
	case before != "" && after == "":
		log.Info("all shards of the sale that were asked answer again", "sale", d.sale, "peer", peer)
	}
}

// propose puts reservations of waiting buyers into the log again. Called with mu held.
func (d *dealer) propose(ids []uint64) {
	commands := make([]machine.Command, 0, len(ids))
	known := ids[:0]
	for _, id := range ids {
		if b := d.buyers[id]; b != nil {
			commands, known = append(commands, b.command), append(known, id)
		}
	}
	demands := make([]*demand, len(known))
	for i, id := range known {
		demands[i] = d.buyers[id]
		delete(d.buyers, id) // until the log has decided, nobody else answers them
	}
	d.owner.start(func(context.Context) {
		results, err := d.owner.log(commands...)
		d.mu.Lock()
		defer d.mu.Unlock()
		for i, id := range known {
			d.proposed(id, demands[i], results, i, err)
		}
	})
}

// proposed settles one reservation that the log was asked again. Called with mu held.
func (d *dealer) proposed(id uint64, b *demand, results []machine.Result, i int, err error) {
	switch {
	case i >= len(results):
		b.answer(machine.Result{}, err)
	case results[i].Code != machine.CodeDry:
		d.owner.srv.meter.decided(machine.Reserve, results[i].Code, 1)
		b.answer(results[i], nil)
	case d.ended:
		b.answer(machine.Result{}, d.owner.notServing())
		return
	default: // others were faster
		d.buyers[id] = b
		d.step(borrow.Event{Kind: borrow.Dry, Buyer: id, Quantity: b.command.Quantity})
		return
	}
	if !d.ended {
		d.step(borrow.Event{Kind: borrow.Done, Buyer: id})
	}
}

var errNoPeers = errors.New("the config names no peers")
