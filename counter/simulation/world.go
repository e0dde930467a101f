package simulation

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"headgate.example/hashring"
	"headgate.example/lib/sale"
)

const (
	saleID   = "sale"
	bornWall = sale.EpochMillis + 1_000_000_000 // wall ms at virtual time 0
	// settleWithin bounds, in virtual time, how long everything may take once the network has healed.
	settleWithin = 60 * time.Second
	keptNotes    = 60
)

// Report is what happened in one run.
type Report struct {
	Seed                                                uint64
	Shards                                              int
	Entries, Crashes, Messages, Lost                    int
	Sold, Borrowed, Dry, SoldOut, Insufficient, NotOpen int
	Settled                                             time.Duration // virtual time
}

// Run runs one seed to its end. The error of a violation ends with what happened last.
func Run(seed uint64) (Report, error) {
	w := newWorld(seed)
	w.begin()
	for w.err == nil && !w.over() {
		if len(w.events) == 0 {
			w.fail("nothing is left to happen")
			break
		}
		next := heap.Pop(&w.events).(event)
		w.now = next.at
		next.do()
	}
	w.report.Settled = w.now
	if w.err != nil {
		return w.report, fmt.Errorf("seed %d: %w\nbefore that:\n%s", seed, w.err, strings.Join(w.lastNotes(), "\n"))
	}
	return w.report, nil
}

// world is everything in one run.
type world struct {
	rng    *rand.Rand
	now    time.Duration
	events events
	number uint64
	err    error
	report Report
	notes  []string
	noted  int

	terms  sale.Terms
	ring   *hashring.Ring
	shards []*shard
	buyers []*buyer
	admin  *admin
	truth  truth

	healAt time.Duration
	healed bool
	drop   float64
	double float64
	slow   float64           // part of the messages that take long
	far    bool              // every message takes long
	hot    bool              // few units, and many buyers who mostly give theirs back at once
	cuts   [][]time.Duration // until when messages between two ends are lost; the last end is everybody else
}

type event struct {
	at     time.Duration
	number uint64 // keeps the order of events of one time
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].number < e[j].number
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	(*e)[len(*e)-1] = event{}
	*e = (*e)[:len(*e)-1]
	return last
}

// after lets something happen later.
func (w *world) after(d time.Duration, do func()) {
	w.number++
	heap.Push(&w.events, event{at: w.now + d, number: w.number, do: do})
}

func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %v: %s", w.now, fmt.Sprintf(format, args...))
	}
}

func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%12v ", w.now) + fmt.Sprintf(format, args...)
	if len(w.notes) < keptNotes {
		w.notes = append(w.notes, line)
	} else {
		w.notes[w.noted%keptNotes] = line
	}
	w.noted++
}

func (w *world) lastNotes() []string {
	if w.noted <= keptNotes {
		return w.notes
	}
	at := w.noted % keptNotes
	return append(append([]string(nil), w.notes[at:]...), w.notes[:at]...)
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// between gives a time from low up to, but not including, high.
func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)))
}

func pick[T any](w *world, choices ...T) T { return choices[w.rng.IntN(len(choices))] }

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))}
	w.report.Seed = seed
	w.healAt = w.between(2*time.Second, 6*time.Second)
	if w.chance(0.85) {
		w.drop, w.double, w.slow = w.rng.Float64()*0.15, w.rng.Float64()*0.1, w.rng.Float64()*0.1
	}
	w.far, w.hot = w.chance(0.25), w.chance(0.3)
	if w.hot {
		w.drop /= 10 // each lost message stops a buyer for a while
	}
	n := pick(w, 1, 2, 2, 2, 3, 3, 4)
	w.terms = w.drawTerms(n)
	ring, err := hashring.New(w.terms.Shards, hashring.Params{Partitions: w.terms.Ring.Partitions, Replicas: w.terms.Ring.Replicas, Load: w.terms.Ring.Load})
	if err != nil {
		w.fail("the ring: %v", err)
	}
	w.ring = ring
	w.report.Shards = n
	w.cuts = make([][]time.Duration, n+1)
	for i := range w.cuts {
		w.cuts[i] = make([]time.Duration, n+1)
	}
	for i, name := range w.terms.Shards {
		w.shards = append(w.shards, &shard{w: w, name: name, index: i, number: i + 3})
	}
	return w
}

func (w *world) drawTerms(n int) sale.Terms {
	names := []string{"s1", "s2", "s3", "s4"}[:n]
	t := sale.Terms{
		ID: saleID, Revision: 1, Stock: w.rng.Int64N(25), Limit: pick[int64](w, 0, 0, 2, 4),
		OpensAt: bornWall + w.rng.Int64N(800), HoldForMillis: 1000 + w.rng.Int64N(1500),
		RetainForMillis: 60_000, Shards: names, Ring: sale.Ring{Partitions: 31, Replicas: 20, Load: 1.5},
	}
	if w.hot {
		t.Stock = 1 + w.rng.Int64N(8)
	}
	left, at := t.Stock, t.OpensAt
	for left > 0 && len(t.Releases) < 3 && w.chance(0.4) {
		units := 1 + w.rng.Int64N(left)
		at += 1 + w.rng.Int64N(2500)
		t.Releases = append(t.Releases, sale.Release{At: at, Units: units})
		left -= units
	}
	if w.chance(0.1) {
		t.EndsAt = at + 1 + w.rng.Int64N(6000)
	}
	return t
}

func (w *world) begin() {
	for _, sh := range w.shards {
		sh.elect()
		w.trouble(sh)
	}
	w.partitions()
	w.beginBuyers()
	w.beginAdmin()
	w.after(w.healAt, w.heal)
}

// trouble lets the leaders of a shard crash or hang now and then, until all heals.
func (w *world) trouble(sh *shard) {
	every := w.between(300*time.Millisecond, 3*time.Second)
	w.after(every, func() {
		if w.healed {
			return
		}
		switch n := sh.node; {
		case n == nil:
		case w.chance(0.35):
			sh.hang()
		default:
			sh.crash()
		}
		w.trouble(sh)
	})
}

// partitions cuts ends off from each other now and then.
func (w *world) partitions() {
	w.after(w.between(100*time.Millisecond, 2*time.Second), func() {
		if w.healed {
			return
		}
		a, b := w.rng.IntN(len(w.cuts)), w.rng.IntN(len(w.cuts))
		until := w.now + w.between(50*time.Millisecond, 1500*time.Millisecond)
		w.cuts[a][b] = until
		if w.chance(0.7) {
			w.cuts[b][a] = until
		}
		w.partitions()
	})
}

func (w *world) heal() {
	w.note("the network heals")
	w.healed, w.drop, w.double, w.slow = true, 0, 0, 0
	for i := range w.cuts {
		clear(w.cuts[i])
	}
	for _, sh := range w.shards {
		if sh.node != nil && sh.node.hung {
			sh.crash()
		}
	}
	w.after(settleWithin, func() { w.fail("not settled %v after the network healed: %s", settleWithin, w.unsettled()) })
}
