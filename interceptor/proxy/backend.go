package proxy

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/valyala/fasthttp"
)

// The shortest and longest time for which an address that is full is spared new orders.
const (
	minFull = time.Second
	maxFull = 5 * time.Second
)

// backend is one address of an upstream. All of it is guarded by the upstream's mutex.
type backend struct {
	address string
	lanes   [laneCount]backendLane
	figures *backendFigures
	removed bool          // no longer in the config: what is under way ends, nothing more is sent
	ill     chan struct{} // of one: it was just ejected, and is to be checked soon

	// What the health checks said.
	passes, fails int // in a row
	down          bool

	// Connects that failed in a row, and what became of it.
	refusals     int
	ejected      bool
	ejectedUntil time.Time
	pause        time.Duration // of the last ejection

	full full
}

// backendLane is one address' part of a lane.
type backendLane struct {
	client   *fasthttp.HostClient
	inFlight int
	// probing: the one request is under way, or about to be, that tries an address of which nobody
	// knows whether it is well again.
	probing bool
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}] // nil: off
	open    time.Time                                  // until when the breaker is open
}

// full is an address' word that it takes no orders for now. After its time one order tries, and what
// becomes of it ends the mark or renews it.
type full struct {
	marked   bool
	until    time.Time
	busy     bool // overloaded; otherwise something behind it is away
	byHealth bool
}

// standing is what may be sent to an address.
type standing uint8

const (
	well    standing = iota
	unsure           // one request at a time, to find out
	isFull           // takes no orders for now: overloaded
	refuses          // takes no orders for now, for another reason
	isAway           // ejected, down, or its breaker is open
)

// outcome is what became of a request that was given an address.
type outcome uint8

const (
	outcomeOK      outcome = iota
	outcomeFull            // an order was certainly not taken: overloaded
	outcomeRefuses         // an order was certainly not taken: something behind the address is away
	outcomeNotConnected
	outcomeStale // nothing was sent, and nobody knows why: the connection had been closed while it idled
	outcomeTimeout
	outcomeFailed // sent, but no answer or one that says that the shop is broken
	outcomeCount
)

// outcomeNames are the labels of metrics. Read only.
var outcomeNames = [outcomeCount]string{"ok", "full", "refuses", "not_connected", "stale", "timeout", "failed"}

var (
	errFailed = errors.New("failed") // told to breakers
	errUnused = errors.New("not sent")
)

// standingOf says what may be sent to the address, and where that changes with time, when. insist is
// for requests that a mark full does not apply to.
func (b *backend) standingOf(lane Lane, now time.Time, insist bool) (standing, time.Time) {
	l := &b.lanes[lane]
	state := well
	switch {
	case b.down:
		return isAway, time.Time{}
	case b.ejected && now.Before(b.ejectedUntil):
		return isAway, b.ejectedUntil
	case b.ejected:
		state = unsure
	}
	if l.breaker != nil {
		switch l.breaker.State() {
		case gobreaker.StateOpen:
			return isAway, l.open
		case gobreaker.StateHalfOpen:
			state = unsure
		case gobreaker.StateClosed:
		}
	}
	if lane != Orders || !b.full.marked || insist {
		return state, time.Time{}
	}
	if now.Before(b.full.until) {
		if b.full.busy {
			return isFull, b.full.until
		}
		return refuses, b.full.until
	}
	return unsure, time.Time{}
}

// load is what least-loaded choice compares. Long polls wait for others' work and weigh nothing.
func (b *backend) load() int { return b.lanes[Orders].inFlight + b.lanes[Calls].inFlight }

// learn takes in what became of a request. It reports whether the address may now be sent more than
// before.
func (b *backend) learn(cfg *Config, lane Lane, o outcome, retryAfter time.Duration, now time.Time) bool {
	before, _ := b.standingOf(lane, now, false)
	switch o {
	case outcomeOK, outcomeTimeout, outcomeFailed:
		b.connected()
		if lane == Orders && o == outcomeOK {
			b.full = full{}
		}
	case outcomeFull, outcomeRefuses:
		b.connected()
		b.full = full{marked: true, until: now.Add(spare(retryAfter)), busy: o == outcomeFull}
	case outcomeNotConnected:
		b.refusals++
		if b.ejected || b.refusals >= cfg.Eject.After {
			b.eject(&cfg.Eject, now)
		}
	case outcomeStale:
	}
	after, _ := b.standingOf(lane, now, false)
	return after < before
}

func (b *backend) connected() {
	b.refusals, b.ejected, b.pause = 0, false, 0
}

// eject leaves the address alone. Requests that were under way when it was ejected do not prolong it.
func (b *backend) eject(cfg *Eject, now time.Time) {
	if b.ejected && now.Before(b.ejectedUntil) {
		return
	}
	b.pause = min(max(2*b.pause, cfg.Pause), cfg.MaxPause)
	b.ejected = true
	b.ejectedUntil = now.Add(b.pause + rand.N(b.pause/5+1)) // edges that came upon it together part here
	b.figures.ejections.Inc()
	select {
	case b.ill <- struct{}{}:
	default:
	}
}

// spare bounds how long an address wants to be spared orders.
func spare(retryAfter time.Duration) time.Duration { return min(max(retryAfter, minFull), maxFull) }

// checked takes in a health check. It reports whether the address may now be sent more than before.
func (b *backend) checked(cfg *Config, r checkResult, now time.Time) bool {
	before, _ := b.standingOf(Orders, now, false)
	beforeCalls, _ := b.standingOf(Calls, now, false)
	if r.err != nil {
		b.passes, b.fails = 0, min(b.fails+1, cfg.Health.DownAfter)
		b.down = b.down || b.fails >= cfg.Health.DownAfter
		return false
	}
	b.passes, b.fails = min(b.passes+1, cfg.Health.UpAfter), 0
	b.connected()
	b.down = b.down && b.passes < cfg.Health.UpAfter
	switch {
	case r.outcome != outcomeOK:
		b.full = full{marked: true, until: now.Add(max(spare(r.retryAfter), 2*cfg.Health.Interval)), busy: r.outcome == outcomeFull, byHealth: true}
	case b.full.byHealth: // one order tries
		b.full.until = now
	}
	after, _ := b.standingOf(Orders, now, false)
	afterCalls, _ := b.standingOf(Calls, now, false)
	return after < before || afterCalls < beforeCalls
}

// newBreaker makes the breaker of an address' lane; nil when breakers are off. Its methods are called
// under the upstream's mutex only, so that the hook below is, too.
func newBreaker(cfg *Breaker, l *backendLane, opened func()) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	if cfg.Off {
		return nil
	}
	c := *cfg
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  uint32(c.Probes), //nolint:gosec // at most 1000
		Interval:     c.Window,
		BucketPeriod: c.Window / 10,
		Timeout:      c.Pause,
		// Of those that have ended: what hangs is not known to be well.
		ReadyToTrip: func(n gobreaker.Counts) bool {
			ended := n.TotalSuccesses + n.TotalFailures
			return ended >= uint32(c.Requests) && float64(n.TotalFailures) >= c.Ratio*float64(ended) //nolint:gosec // at most a million
		},
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				l.open = time.Now().Add(c.Pause) // breakers go by the system's clock
				opened()
			}
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errUnused) },
	})
}
