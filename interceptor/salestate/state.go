package salestate

import (
	"sync"
	"sync/atomic"
	"time"

	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// VerdictFor is how long a refusal for want of units may be repeated, from when it was asked for.
const VerdictFor = 250 * time.Millisecond

// MaxSales bounds the sales that are kept; further ones are left to the counter.
const MaxSales = 10_000

// maxAbsent bounds the sales that the counter lately said it does not know; when there are more, they are asked
// for again.
const maxAbsent = 64

// trustedTrip is the longest exchange with the counter that may correct the clock offset.
const trustedTrip = 200 * time.Millisecond

// Limits say how old a state may be.
type Limits struct {
	// MaxAge is the age at which the state of sales is no longer known at all.
	MaxAge time.Duration
	// SoldOutFor is the age up to which the fetched state is believed that nothing is left: a short
	// polling interval and VerdictFor.
	SoldOutFor time.Duration
}

// State is the current copy. It is safe for concurrent use.
type State struct {
	limits  atomic.Pointer[Limits]
	current atomic.Pointer[snapshot]
	offset  atomic.Int64 // counter's wall clock minus ours, milliseconds
	timed   atomic.Bool  // offset was learnt

	mu sync.Mutex // held by Apply

	absences sync.Mutex
	absent   map[string]int64 // mono when RESERVE was sent that found no such sale
}

// snapshot is one answer of SALE.LIST.
type snapshot struct {
	asked int64 // mono
	sales map[string]*entry
}

type entry struct {
	sale.Info
	dry *drought // shared by the snapshots of one sale
}

// drought is what the counter itself said of a sale when asked for units.
type drought struct {
	asked atomic.Int64 // mono when RESERVE was sent that found nothing, plus 1; 0: never
	held  atomic.Int64
}

// New makes a State that knows nothing yet.
func New(limits Limits) *State {
	s := &State{absent: make(map[string]int64)}
	s.SetLimits(limits)
	return s
}

// SetLimits changes how old a state may be.
func (s *State) SetLimits(limits Limits) { s.limits.Store(&limits) }

// Apply takes an answer of SALE.LIST over, which was asked for at mono. One that was asked for before the
// current one is left out.
func (s *State) Apply(list []sale.Info, asked int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	if old != nil && asked < old.asked {
		return
	}
	next := &snapshot{asked: asked, sales: make(map[string]*entry, len(list))}
	for i := range list {
		if len(next.sales) >= MaxSales {
			break
		}
		e := &entry{Info: list[i], dry: &drought{}}
		if old != nil {
			if before := old.sales[e.ID]; before != nil {
				e.dry = before.dry
			}
		}
		if since := e.dry.asked.Load(); e.Available > 0 && asked >= since {
			e.dry.asked.CompareAndSwap(since, 0) // units came back since then
		}
		next.sales[e.ID] = e
	}
	s.current.Store(next)
}

// Correct takes the counter's wall clock over: it showed now at some moment of an exchange that
// began at the local wall time began and lasted for trip. Slow exchanges say little and are ignored, unless
// nothing is known yet: being off by half a trip is better than by whatever our own clock is off.
func (s *State) Correct(now int64, began int64, trip time.Duration) {
	if now <= 0 || trip > trustedTrip && s.timed.Load() {
		return
	}
	s.offset.Store(now - began - trip.Milliseconds()/2)
	s.timed.Store(true)
}

// Wall is the counter's wall clock for a local wall time, both in milliseconds.
func (s *State) Wall(local int64) int64 { return local + s.offset.Load() }

// Timed reports whether Wall knows the counter's clock.
func (s *State) Timed() bool { return s.timed.Load() }

// Dry notes that the counter answered sold_out, with units held that may return, to a RESERVE sent at mono.
func (s *State) Dry(saleID string, held, asked int64) {
	snap := s.current.Load()
	if snap == nil {
		return
	}
	if e := snap.sales[saleID]; e != nil {
		e.dry.held.Store(held)
		e.dry.asked.Store(asked + 1)
	}
}

// Absent notes that the counter answered that there is no such sale to a RESERVE sent at mono.
func (s *State) Absent(saleID string, asked int64) {
	s.absences.Lock()
	defer s.absences.Unlock()
	if len(s.absent) >= maxAbsent {
		clear(s.absent)
	}
	s.absent[saleID] = asked
}

// isAbsent reports whether the counter said at most VerdictFor ago that there is no such sale.
func (s *State) isAbsent(saleID []byte, mono int64) bool {
	s.absences.Lock()
	defer s.absences.Unlock()
	asked, ok := s.absent[string(saleID)]
	return ok && time.Duration(mono-asked) <= VerdictFor
}

// Age is how old the state is; false when there was none yet.
func (s *State) Age(mono int64) (time.Duration, bool) {
	snap := s.current.Load()
	if snap == nil {
		return 0, false
	}
	return time.Duration(mono - snap.asked), true
}

// Knowledge is how much a State knows of a sale.
type Knowledge uint8

// The kinds of knowledge.
const (
	Stale   Knowledge = iota // the state is too old, or there was none yet
	Missing                  // the counter's list, which is recent, lacks the sale; not_found: it also said so when asked
	Known
)

// Verdict is what the state says of new orders in a sale.
type Verdict struct {
	Knowledge Knowledge
	Code      problem.Code // "": nothing speaks against asking the counter
	OpensAt   int64        // with not_open
	Since     int64        // when buying began or begins, with Known
	Held      int64        // with sold_out: units that may return
}

// Look gives the verdict on a sale at mono; wall is the counter's wall clock.
func (s *State) Look(saleID []byte, mono, wall int64) Verdict {
	snap := s.current.Load()
	if snap == nil || time.Duration(mono-snap.asked) > s.limits.Load().MaxAge {
		return Verdict{Knowledge: Stale}
	}
	e := snap.sales[string(saleID)]
	if e == nil {
		if len(snap.sales) >= MaxSales {
			return Verdict{Knowledge: Known}
		}
		if s.isAbsent(saleID, mono) {
			return Verdict{Knowledge: Missing, Code: problem.NotFound}
		}
		return Verdict{Knowledge: Missing}
	}
	v := Verdict{Knowledge: Known, Since: e.OpensAt}
	switch {
	case e.Closed || e.Forgotten:
		v.Code = problem.Ended
	case e.Paused:
		v.Code = problem.Paused
	case wall < e.OpensAt:
		v.Code, v.OpensAt = problem.NotOpen, e.OpensAt
	case e.EndsAt != 0 && wall >= e.EndsAt:
		v.Code = problem.Ended
	default:
		s.lookAtUnits(&v, e, time.Duration(mono-snap.asked), mono, wall)
	}
	return v
}

// lookAtUnits refuses for want of units, on fresh knowledge only.
func (s *State) lookAtUnits(v *Verdict, e *entry, age time.Duration, mono, wall int64) {
	believed := s.limits.Load().SoldOutFor
	switch {
	case e.NothingLeft() && age <= believed:
		v.Code, v.Held = problem.SoldOut, e.Held
	case e.NoneAvailable() && e.Scheduled > 0 && wall < e.NextReleaseAt && age <= believed:
		v.Code, v.OpensAt = problem.NotOpen, e.NextReleaseAt
	default:
		if asked := e.dry.asked.Load(); asked != 0 && time.Duration(mono-(asked-1)) <= VerdictFor {
			v.Code, v.Held = problem.SoldOut, e.dry.held.Load()
		}
	}
}
