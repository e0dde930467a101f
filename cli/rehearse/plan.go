package rehearse

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Shares of a crowd's time.
const (
	CalmShare = 0.15 // of the duration: before the opening
	spikeMean = 0.08 // of the duration: the spike decays by e in so long
	thinkMean = 0.03 // of the duration: how late those who waited press when it opens, on average
	// spikeBuyers is the share of those who come after the opening who come in the spike; the others
	// are spread over what is left.
	spikeBuyers = 0.55
)

// Kind is how a buyer presses.
type Kind uint8

// The kinds of buyers.
const (
	Plain  Kind = iota
	Double      // twice at the same instant
	Bot         // many times a second, whatever he is told
	Closer      // after the crowd: buys and pays what came back
	Probe       // once, of the probes' sale, which never sells out
)

// After is what a buyer does with an order.
type After uint8

// The ends that buyers give their orders.
const (
	Abandons After = iota
	Pays
	Cancels
)

// Buyer is one buyer's part of the plan. Times are from the start.
type Buyer struct {
	At    time.Duration // the first press
	Kind  Kind
	After After
	Think time.Duration // between a yes and what he does with it; and how late he is when it opens
	// Presses is how often he presses at most; Every is the time between a bot's presses.
	Presses int
	Every   time.Duration
	// Comebacks is how often he looks again after being told that all is gone, ComesBack later each time.
	Comebacks int
	ComesBack time.Duration
}

// Plan is who presses when, and what breaks when.
type Plan struct {
	Spec    Spec
	Opens   time.Duration // when the sale opens
	Buyers  []Buyer       // in order of their first press
	Probes  []Buyer       // likewise; each buys once in a sale of their own
	Closers []Buyer       // who come once the crowd is gone, as far as there is something to buy
	Faults  []Fault       // in order of their beginning
}

// The streams of random numbers that a seed gives, so that changing one part of a plan changes no other.
const (
	crowdStream = iota + 1
	faultStream
)

// Draw makes the plan of a seed. Members are the parts that may be broken, in any order.
func Draw(spec Spec, members []Member) *Plan {
	p := &Plan{Spec: spec, Opens: time.Duration(float64(spec.Duration) * CalmShare).Round(time.Millisecond)}
	random := rand.New(rand.NewPCG(spec.Seed, crowdStream))
	p.Buyers = make([]Buyer, spec.Buyers)
	for i := range p.Buyers {
		p.Buyers[i] = p.drawBuyer(random)
	}
	slices.SortStableFunc(p.Buyers, func(a, b Buyer) int { return int(a.At - b.At) })
	for at := time.Duration(0); at < spec.Duration; at += spec.ProbeEvery {
		p.Probes = append(p.Probes, Buyer{At: at, Kind: Probe, Presses: 1})
	}
	// Each unit may come back more than once, but hardly more than a fifth of them does while closers buy.
	p.Closers = make([]Buyer, spec.Stock+spec.Stock/5+50)
	for i := range p.Closers {
		p.Closers[i] = Buyer{Kind: Closer, After: Pays, Presses: maxPresses}
	}
	p.Faults = drawFaults(rand.New(rand.NewPCG(spec.Seed, faultStream)), p, members)
	return p
}

// maxPresses is how often the most patient buyer presses.
const maxPresses = 30

func (p *Plan) drawBuyer(r *rand.Rand) Buyer {
	spec := &p.Spec
	b := Buyer{Presses: 5 + r.IntN(maxPresses-4), After: Abandons}
	b.At = p.drawArrival(r)
	switch u := r.Float64(); {
	case u < spec.Pay:
		b.After = Pays
	case u < spec.Pay+spec.Cancel:
		b.After = Cancels
	}
	think := float64(spec.Duration) * thinkMean
	b.Think = bounded(r.ExpFloat64()*think, 6*think)
	switch u := r.Float64(); {
	case u < spec.Doubles:
		b.Kind = Double
	case u < spec.Doubles+spec.Bots:
		b.Kind = Bot
		b.Presses = 40 + r.IntN(120)
		b.Every = time.Duration(30+r.IntN(120)) * time.Millisecond
		if b.After == Cancels {
			b.After = Pays // who goes on pressing after cancelling has a second order, rightly
		}
	}
	if u := r.Float64(); u < 0.15 {
		b.Comebacks = 1 + r.IntN(3)
	}
	b.ComesBack = time.Duration((0.05 + 0.15*r.Float64()) * float64(spec.Duration)).Round(time.Millisecond)
	return b
}

func (p *Plan) drawArrival(r *rand.Rand) time.Duration {
	calm, all := float64(p.Opens), float64(p.Spec.Duration)
	fresh, spike := r.Float64() < p.Spec.Fresh, r.Float64() < spikeBuyers
	u, late := r.Float64(), r.ExpFloat64()
	switch {
	case !fresh:
		return bounded(u*calm, calm)
	case spike:
		return p.Opens + bounded(math.Mod(late*spikeMean*all, all-calm), all)
	}
	return p.Opens + bounded(u*(all-calm), all)
}

// bounded makes whole microseconds, at most most.
func bounded(nanos, most float64) time.Duration {
	return time.Duration(min(nanos, most)).Truncate(time.Microsecond)
}

// Digest tells plans apart: 16 hexadecimal digits over everything that was drawn.
func (p *Plan) Digest() string {
	hash := sha256.New()
	var text []byte
	number := func(values ...int64) {
		for _, v := range values {
			text = binary.BigEndian.AppendUint64(text, uint64(v))
		}
	}
	for _, list := range [][]Buyer{p.Buyers, p.Probes, p.Closers} {
		number(int64(len(list)))
		for _, b := range list {
			text = text[:0]
			number(int64(b.At), int64(b.Kind), int64(b.After), int64(b.Think), int64(b.Presses), int64(b.Every), int64(b.Comebacks), int64(b.ComesBack))
			hash.Write(text)
		}
	}
	text = text[:0]
	number(int64(p.Spec.Stock), int64(p.Opens), int64(p.Spec.PayWithin), int64(p.Spec.HoldFor), int64(len(p.Faults)))
	for _, f := range p.Faults {
		number(int64(f.At), int64(f.For), int64(f.Lane))
		text = append(append(text, f.Kind...), 0)
		text = append(append(text, f.Member...), 0)
	}
	hash.Write(text)
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// Shape counts what a plan holds, for people.
type Shape struct {
	Buyers   int `json:"buyers"`
	Early    int `json:"early"` // who come before the opening
	Fresh    int `json:"fresh"` // whose token no edge has seen when they press after the opening
	Doubles  int `json:"doubles"`
	Bots     int `json:"bots"`
	Pays     int `json:"pay"`
	Cancels  int `json:"cancel"`
	Abandons int `json:"abandon"`
	Probes   int `json:"probes"`
	Faults   int `json:"faults"`
}

// Shape counts.
func (p *Plan) Shape() Shape {
	s := Shape{Buyers: len(p.Buyers), Probes: len(p.Probes), Faults: len(p.Faults)}
	for i := range p.Buyers {
		b := &p.Buyers[i]
		if b.At < p.Opens {
			s.Early++
		} else {
			s.Fresh++
		}
		switch b.Kind {
		case Double:
			s.Doubles++
		case Bot:
			s.Bots++
		}
		switch b.After {
		case Pays:
			s.Pays++
		case Cancels:
			s.Cancels++
		default:
			s.Abandons++
		}
	}
	return s
}
