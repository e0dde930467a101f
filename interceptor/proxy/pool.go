package proxy

import (
	"fmt"
	"slices"
	"time"

	"github.com/valyala/fasthttp"
)

// Verdict is what an upstream says of a request before it is sent.
type Verdict uint8

// The verdicts.
const (
	Admitted Verdict = iota
	Busy             // it has more to do than it may be given, or said so itself
	Away             // no address can be sent anything at the moment, or something behind them is away
)

// RefusedError says that no address was given the request. It is an ErrNotSent.
type RefusedError struct {
	Verdict Verdict       // Busy or Away
	Wait    time.Duration // how long this is known to last; 0: not known
}

// Error implements error.
func (e *RefusedError) Error() string {
	if e.Verdict == Busy {
		return "all connections to the upstream are busy, or it takes no orders for now"
	}
	return "no address of the upstream may be asked at the moment"
}

// Unwrap gives ErrNotSent.
func (e *RefusedError) Unwrap() error { return ErrNotSent }

// Admission is leave to reserve units for a new order: when it was given, an address would have taken
// it. Where all are in doubt, one admission at a time is given for each, and holds the doubt until End.
type Admission struct {
	given    bool
	upstream *Upstream
	probe    *backend // nil: not the one that finds out
}

// Admit says whether a new order can be sent. Nothing is kept back for it but a probe's place. It does
// not allocate. With Busy and Away comes how long this is known to last, 0 when it is not.
func (u *Upstream) Admit() (Admission, Verdict, time.Duration) {
	if u.calm.Load() {
		return Admission{given: true}, Admitted, 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	c := chosen{lane: Orders}
	u.choose(&c, nil)
	switch {
	case c.best == nil && c.crowded:
		if len(u.lanes[Orders].waiting) >= u.cfg.MaxWaiting {
			return Admission{}, Busy, 0
		}
		return Admission{given: true}, Admitted, 0
	case c.best == nil:
		verdict, wait := c.refusal()
		return Admission{}, verdict, wait
	case c.unsure:
		c.best.lanes[Orders].probing = true
		return Admission{given: true, upstream: u, probe: c.best}, Admitted, 0
	}
	return Admission{given: true}, Admitted, 0
}

// Given reports whether it is one that Admit gave.
func (a *Admission) Given() bool { return a.given }

// settle finds out, under the mutex, whether admissions can be given without looking at the addresses,
// as nearly always: each is well and has room. That does not change with time alone, but only when a
// request is given a place (take sees to it) or ends, when a check does, or with the config.
func (u *Upstream) settle() {
	now, limit := u.options.Now(), u.connections(Orders)
	calm := len(u.backends) > 0 && len(u.lanes[Orders].waiting) == 0 && (u.cfg.MaxInFlight == 0 || u.lanes[Orders].inFlight < u.cfg.MaxInFlight)
	for _, b := range u.backends {
		state, _ := b.standingOf(Orders, now, false)
		calm = calm && state == well && b.lanes[Orders].inFlight < limit
	}
	u.calm.Store(calm)
}

// End gives a probe's place back when the order was not sent after all. It may be called for every
// admission, and again.
func (a *Admission) End() {
	if a.probe == nil {
		return
	}
	a.upstream.mu.Lock()
	defer a.upstream.mu.Unlock()
	a.probe.lanes[Orders].probing = false
	a.probe = nil
}

// chosen is the result of looking through the addresses.
type chosen struct {
	lane   Lane
	insist bool
	now    time.Time

	best    *backend // nil: none
	unsure  bool     // best is to be probed
	crowded bool     // some address would do, but has no connection free

	full, refuses bool // some address takes no orders for now
	soonest       time.Time
}

// choose finds the address with the least under way. One that a single request may try goes first:
// nothing else finds out that it is well.
func (u *Upstream) choose(c *chosen, tried []*backend) {
	c.now = u.options.Now()
	if u.cfg.MaxInFlight > 0 && c.lane != LongPolls && u.lanes[c.lane].inFlight >= u.cfg.MaxInFlight {
		c.crowded = true
		return
	}
	u.turn++
	limit := u.connections(c.lane)
	for i := range u.backends {
		b := u.backends[(u.turn+i)%len(u.backends)]
		if len(tried) > 0 && slices.Contains(tried, b) {
			continue
		}
		state, until := b.standingOf(c.lane, c.now, c.insist)
		l := &b.lanes[c.lane]
		switch {
		case state == unsure && !l.probing && l.inFlight < limit:
			c.best, c.unsure = b, true
			return
		case state == well && l.inFlight >= limit:
			c.crowded = true
		case state == well && (c.best == nil || b.load() < c.best.load()):
			c.best = b
		case state == isFull, state == unsure && b.full.marked && b.full.busy:
			c.full = true
		case state == refuses:
			c.refuses = true
		}
		if !until.IsZero() && (c.soonest.IsZero() || until.Before(c.soonest)) {
			c.soonest = until
		}
	}
}

// refusal says why nothing was chosen, and until when. An address that is in doubt counts as away,
// unless it said that it is full.
func (c *chosen) refusal() (Verdict, time.Duration) {
	var wait time.Duration
	if !c.soonest.IsZero() {
		wait = max(c.soonest.Sub(c.now), 0)
	}
	if c.crowded || c.full && !c.refuses {
		return Busy, wait
	}
	return Away, wait
}

// permit is one request's place at an address.
type permit struct {
	backend *backend
	client  *fasthttp.HostClient
	host    string
	probe   bool
	done    func(error) // tells the breaker; nil without one
}

// waiter is a request that waits for its turn.
type waiter struct {
	insist bool
	turn   chan permit // of one
}

// acquire finds the request an address, and waits for one if need be, at most until max_wait or the
// deadline. The error is a *RefusedError.
func (u *Upstream) acquire(c *call, deadline time.Time) (permit, error) {
	u.mu.Lock()
	if a := c.admission; a != nil && a.probe != nil {
		b := a.probe
		a.probe = nil
		if !b.removed {
			p := u.take(b, c.lane, true)
			u.mu.Unlock()
			return p, nil
		}
	}
	found := chosen{lane: c.lane, insist: c.insist}
	u.choose(&found, c.tried)
	if found.best != nil {
		p := u.take(found.best, c.lane, found.unsure)
		u.mu.Unlock()
		return p, nil
	}
	l := &u.lanes[c.lane]
	if !found.crowded || len(c.tried) > 0 || len(l.waiting) >= u.cfg.MaxWaiting || u.cfg.MaxWait <= 0 {
		verdict, wait := found.refusal()
		u.mu.Unlock()
		return permit{}, &RefusedError{Verdict: verdict, Wait: wait}
	}
	w := &waiter{insist: c.insist, turn: make(chan permit, 1)}
	l.waiting = append(l.waiting, w)
	wait := min(u.cfg.MaxWait, time.Until(deadline))
	u.mu.Unlock()
	return u.await(c.lane, w, wait)
}

// await waits for a waiter's turn.
func (u *Upstream) await(lane Lane, w *waiter, wait time.Duration) (permit, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case p := <-w.turn:
		return p, nil
	case <-timer.C:
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	l := &u.lanes[lane]
	if i := slices.Index(l.waiting, w); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		return permit{}, &RefusedError{Verdict: Busy}
	}
	return <-w.turn, nil // it came at the same moment
}

// take gives an address the request, under the mutex.
func (u *Upstream) take(b *backend, lane Lane, probe bool) permit {
	l := &b.lanes[lane]
	l.inFlight++
	u.lanes[lane].inFlight++
	l.probing = l.probing || probe
	if lane == Orders && (l.inFlight >= u.cfg.MaxConnections || u.cfg.MaxInFlight > 0 && u.lanes[lane].inFlight >= u.cfg.MaxInFlight) {
		u.calm.Store(false)
	}
	p := permit{backend: b, client: l.client, host: u.cfg.Host, probe: probe}
	if p.host == "" {
		p.host = b.address
	}
	if l.breaker != nil {
		// It may say no, where more is on the way to a half-open one than it wants to see: those count
		// as nothing.
		p.done, _ = l.breaker.Allow()
	}
	return p
}

// finish takes in what became of the request, and gives its place to the next.
func (u *Upstream) finish(p permit, lane Lane, o outcome, retryAfter time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b := p.backend
	b.figures.attempts[lane][o].Inc()
	l := &b.lanes[lane]
	l.inFlight--
	u.lanes[lane].inFlight--
	if p.probe {
		l.probing = false
	}
	if p.done != nil {
		p.done(o.verdict())
	}
	ejected := b.ejected
	now := u.options.Now()
	b.learn(&u.cfg, lane, o, retryAfter, now)
	switch {
	case b.ejected && !ejected:
		u.options.Log.Warn("an address cannot be connected to and is left alone", "upstream", u.name, "address", b.address, "for", b.pause)
	case ejected && !b.ejected:
		u.options.Log.Info("an address answers again", "upstream", u.name, "address", b.address)
	}
	u.wake(lane)
	if o != outcomeOK || !u.calm.Load() {
		u.settle()
	}
}

// verdict is what a breaker is told.
func (o outcome) verdict() error {
	switch o {
	case outcomeOK, outcomeFull, outcomeRefuses: // a truthful answer, if not the one hoped for
		return nil
	case outcomeStale:
		return errUnused
	default:
		return errFailed
	}
}

// wake gives those who wait what has become free, under the mutex.
func (u *Upstream) wake(lane Lane) {
	l := &u.lanes[lane]
	for len(l.waiting) > 0 {
		w := l.waiting[0]
		found := chosen{lane: lane, insist: w.insist}
		if u.choose(&found, nil); found.best == nil {
			return
		}
		l.waiting = slices.Delete(l.waiting, 0, 1)
		w.turn <- u.take(found.best, lane, found.unsure)
	}
}

// check gives an error when some address may not be sent what it may be when it is well.
func (u *Upstream) check() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.options.Now()
	ill, first := 0, ""
	for _, b := range u.backends {
		for lane, name := range laneNames {
			state, _ := b.standingOf(Lane(lane), now, false)
			if state == well {
				continue
			}
			ill++
			if first == "" {
				first = fmt.Sprintf("%s: %s: %s", b.address, name, b.why(Lane(lane), state))
			}
			break
		}
	}
	if ill == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d addresses do not serve all they could; %s", ill, len(u.backends), first)
}

// why says in words what keeps requests off an address.
func (b *backend) why(lane Lane, state standing) string {
	switch {
	case b.down:
		return "health checks fail"
	case b.ejected:
		return "it cannot be connected to"
	case state == isFull:
		return "it is full"
	case state == refuses:
		return "it takes no orders"
	case b.lanes[lane].breaker != nil && state == isAway:
		return "the circuit breaker is open"
	default:
		return "being tried"
	}
}
