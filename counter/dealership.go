package counter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/counter/borrow"
	peer "headgate.example/counter/client"
	"headgate.example/counter/machine"
	"headgate.example/counter/replica"
	"headgate.example/lib/sale"
)

// dealersEvery is how often the dealers are compared with the sales that there are.
const dealersEvery = 100 * time.Millisecond

// maxAging bounds the sales whose verdicts wait to be renewed; one more is renewed by those who have to
// wait for it.
const maxAging = 64

// peers are the other shards. *client.Client is one.
type peers interface {
	Ask(ctx context.Context, giver, saleID, taker string, taken, want int64, forDebt bool) (given int64, err error)
	Give(ctx context.Context, taker, saleID, giver string, given int64) (taken int64, err error)
	Collect(ctx context.Context, shard, saleID string) (machine.Collected, error)
	Close()
}

// dealership has a dealer for each sale with several shards, while this voter leads. Lock order:
// dealership.mu, then dealer.mu; neither is held while the log or a peer is waited for.
type dealership struct {
	srv    *Server
	peers  peers
	meter  borrowMeter
	ctx    context.Context // ends the questions to peers
	cancel context.CancelFunc
	began  time.Time

	// shown is a copy of dealers, for those who refuse: it is replaced as a whole.
	shown atomic.Pointer[map[string]*dealer]
	aging chan *dealer // whose verdict should be renewed

	mu      sync.Mutex
	tenure  any
	dealers map[string]*dealer
	closed  bool
	tasks   sync.WaitGroup // added to by dealers that have not ended
}

type borrowMeter struct {
	asks, collects, gives, units, refused, undecided, peerErrors *metrics.Counter
}

func newDealership(s *Server) (*dealership, error) {
	o := &dealership{srv: s, peers: noPeers{}, began: time.Now(), dealers: make(map[string]*dealer), aging: make(chan *dealer, maxAging)}
	o.show()
	if len(s.cfg.Peers) > 0 {
		c, err := peer.Open(s.cfg.peerClient())
		if err != nil {
			return nil, fmt.Errorf("peers: %w", err)
		}
		o.peers = c
	}
	count := func(name string) *metrics.Counter {
		return s.rt.Metrics.GetOrCreateCounter("headgate_counter_borrow_" + name)
	}
	o.meter = borrowMeter{
		asks: count("asks_total"), collects: count("collects_total"), gives: count("gives_total"), units: count("units_total"),
		refused: count("refusals_total"), undecided: count("undecided_total"), peerErrors: count("peer_errors_total"),
	}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.tasks.Go(o.watch)
	return o, nil
}

func (o *dealership) now() time.Duration { return time.Since(o.began) }

// start runs a task of a dealer that has not ended.
func (o *dealership) start(task func(context.Context)) { o.tasks.Go(func() { task(o.ctx) }) }

// stop ends all dealers and with them their buyers' wait. What the log is deciding goes on.
func (o *dealership) stop() {
	o.mu.Lock()
	o.closed = true
	o.setTenure(nil)
	o.mu.Unlock()
	o.cancel()
}

// close waits for what is under way, after stop and once the log answers everything.
func (o *dealership) close() {
	o.tasks.Wait()
	o.peers.Close()
}

// show gives those who refuse the table of dealers as it is now. Called with mu held.
func (o *dealership) show() {
	table := maps.Clone(o.dealers)
	o.shown.Store(&table)
}

// renewLater lets a dealer make a new verdict. It never waits: the caller may hold a view.
func (o *dealership) renewLater(d *dealer) {
	select {
	case o.aging <- d:
	default:
	}
}

// watch keeps the dealers in step with leadership and with the sales that there are, and their verdicts
// fresh where they are asked for.
func (o *dealership) watch() {
	ticker := time.NewTicker(dealersEvery)
	defer ticker.Stop()
	for {
		select {
		case <-o.ctx.Done():
			return
		case <-ticker.C:
			o.compare()
		case d := <-o.aging:
			d.bring(borrow.Event{Kind: borrow.Renew})
		}
	}
}

func (o *dealership) compare() {
	tenure := o.srv.replica.Tenure()
	var shared []string
	if tenure != nil {
		_ = o.srv.replica.Peek(func(s *machine.State, _ replica.Clock) { shared = s.Shared() }) // the next look sees an end of the tenure
	}
	o.mu.Lock()
	o.setTenure(tenure)
	there := make(map[string]bool, len(shared))
	var fresh []string
	for _, id := range shared {
		there[id] = true
		if o.dealers[id] == nil {
			fresh = append(fresh, id)
		}
	}
	gone := false
	for id, d := range o.dealers {
		if !there[id] {
			d.stop()
			delete(o.dealers, id)
			gone = true
		}
	}
	if gone {
		o.show()
	}
	o.mu.Unlock()
	for _, id := range fresh {
		o.touch(id)
	}
}

// setTenure ends the dealers of another tenure. Called with mu held.
func (o *dealership) setTenure(tenure any) {
	if o.tenure == tenure {
		return
	}
	for id, d := range o.dealers {
		d.stop()
		delete(o.dealers, id)
	}
	o.show()
	o.tenure = tenure
}

// of gives the dealer of a sale, a new one when there is none; nil when this voter does not serve, or
// the sale has no other shards.
func (o *dealership) of(saleID string) *dealer {
	o.mu.Lock()
	defer o.mu.Unlock()
	tenure := o.srv.replica.Tenure()
	if tenure == nil || o.closed {
		return nil
	}
	o.setTenure(tenure)
	if d := o.dealers[saleID]; d != nil {
		return d
	}
	var row machine.Collected
	var info sale.Info
	known := false
	if o.srv.replica.Peek(func(s *machine.State, _ replica.Clock) {
		if info, known = s.Info(saleID, 0); known {
			row, known = s.Collect(saleID)
		}
	}) != nil || !known || len(info.Shards) < 2 || row.Forgotten {
		return nil
	}
	d := newDealer(o, tenure, saleID, &row, info.Shards)
	o.dealers[saleID] = d
	o.show()
	return d
}

// follows reports whether commands of a kind may concern a dealer.
func (o *dealership) follows(kind machine.Kind) bool {
	switch kind {
	case machine.OpenSale, machine.PauseSale, machine.ResumeSale, machine.CloseSale, machine.SetStock, machine.Ask, machine.Accept:
		return true
	}
	return false
}

// follow tells a dealer of a command that may concern it and was applied.
func (o *dealership) follow(m *machine.Command) {
	switch m.Kind {
	case machine.OpenSale:
		o.touch(m.Terms.ID)
	case machine.PauseSale, machine.ResumeSale, machine.CloseSale, machine.SetStock, machine.Ask, machine.Accept:
		o.touch(m.Sale)
	}
}

// touch tells a sale's dealer that the log changed something about the sale.
func (o *dealership) touch(saleID string) {
	if d := o.of(saleID); d != nil {
		d.tick()
	}
}

// verdict is dealer.verdict of a sale's dealer, of this tenure. It takes no lock, so that it may be asked
// within a view; incarnation and supply are what that view shows.
func (o *dealership) verdict(saleID string, incarnation, supply, quantity int64) (machine.Result, bool) {
	if d := (*o.shown.Load())[saleID]; d != nil && d.tenure == o.srv.replica.Tenure() {
		return d.verdict(incarnation, supply, quantity)
	}
	return machine.Result{}, false
}

// wait lets a buyer wait for units of other shards.
func (o *dealership) wait(m *machine.Command) *demand {
	b := newDemand(m)
	if d := o.of(m.Sale); d != nil {
		d.wait(b)
	} else {
		b.answer(machine.Result{}, o.notServing())
	}
	return b
}

// waiting is the number of buyers who wait, of all sales.
func (o *dealership) waiting() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range o.dealers {
		d.mu.Lock()
		n += d.broker.Waiting()
		d.mu.Unlock()
	}
	return n
}

// notServing is why a buyer who waited is not served any more.
func (o *dealership) notServing() error {
	if err := o.srv.replica.Ready(); err != nil {
		return err
	}
	return fmt.Errorf("%w: the sale was not served for a moment", replica.ErrNotAccepted)
}

// log puts commands into the log together, or one group after the other when they are too many, and
// waits. After an error some of them may have been done only if it is replica.ErrUnknown.
func (o *dealership) log(commands ...machine.Command) (results []machine.Result, err error) {
	r := o.srv.replica
	for len(commands) > 0 {
		call, n := replica.NewCall(), 0
		for n < len(commands) && r.Add(call, commands[n]) {
			n++
		}
		if err = r.Propose(call); err == nil {
			err = call.Wait()
		}
		if err != nil {
			return results, err
		}
		results, commands = append(results, call.Results...), commands[n:]
	}
	return results, nil
}

// row reads one shard's row of a sale, this one's included.
func (o *dealership) row(ctx context.Context, shard, saleID string) (row machine.Collected, err error) {
	if shard != o.srv.cfg.Shard.Name {
		return o.peers.Collect(ctx, shard, saleID)
	}
	known := false
	err = o.srv.replica.Latest(o.srv.cfg.Borrow.PeerTimeout, func(s *machine.State, _ replica.Clock) { row, known = s.Collect(saleID) })
	if err == nil && !known {
		err = peer.ErrNoSale
	}
	return row, err
}

// rows reads the rows of all shards of a sale, of which own is this one's.
func (o *dealership) rows(ctx context.Context, saleID string, own machine.Collected) ([]machine.Collected, error) {
	rows, errs := make([]machine.Collected, 1+len(own.Transfers)), make([]error, len(own.Transfers))
	rows[0] = own
	var all sync.WaitGroup
	for i, t := range own.Transfers {
		all.Go(func() {
			if rows[1+i], errs[i] = o.peers.Collect(ctx, t.Peer, saleID); errs[i] != nil {
				errs[i] = fmt.Errorf("shard %s: %w", t.Peer, errs[i])
			}
		})
	}
	all.Wait()
	return rows, errors.Join(errs...)
}

// noPeers stands for a config without peers.
type noPeers struct{}

func (noPeers) Ask(context.Context, string, string, string, int64, int64, bool) (int64, error) {
	return 0, errNoPeers
}

func (noPeers) Give(context.Context, string, string, string, int64) (int64, error) {
	return 0, errNoPeers
}

func (noPeers) Collect(context.Context, string, string) (machine.Collected, error) {
	return machine.Collected{}, errNoPeers
}

func (noPeers) Close() {}
