package rehearse

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// FaultKind is a way to break a part.
type FaultKind string

// The kinds of faults.
const (
	Kill    FaultKind = "kill"    // SIGKILL; started again after the fault's time
	Pause   FaultKind = "pause"   // stands still for the fault's time
	Restart FaultKind = "restart" // stopped in good order and started
	Cut     FaultKind = "cut"     // all packets to and from it are dropped for the fault's time
	Alarm   FaultKind = "alarm"   // the broker's memory alarm: it takes no messages for the fault's time
)

// FaultKinds are all kinds.
func FaultKinds() []FaultKind { return []FaultKind{Kill, Pause, Restart, Cut, Alarm} }

// Member is a part that can be broken.
type Member struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // nginx interceptor counter backend consumer rabbitmq mariadb
}

// group names the voters of one shard alike: counter-s1-2 is of counter-s1. Any other member is a group
// of its own.
func (m Member) group() string {
	if i := strings.LastIndexByte(m.Name, '-'); m.Kind == "counter" && i > 0 {
		return m.Name[:i]
	}
	return m.Name
}

// Fault is one planned fault.
type Fault struct {
	At     time.Duration `json:"at"` // since the start
	For    time.Duration `json:"for"`
	Kind   FaultKind     `json:"kind"`
	Member string        `json:"member"`
	Lane   int           `json:"lane,omitempty"` // faults of one lane follow each other
}

// healing is how long a part is expected to take after its fault; the next fault is planned after that,
// and waits longer where it takes longer.
func healing(kind FaultKind, member string) time.Duration {
	switch {
	case kind == Pause || kind == Cut || kind == Alarm:
		return 2 * time.Second
	case member == "rabbitmq":
		return 12 * time.Second
	default:
		return 3 * time.Second
	}
}

// drawFaults draws one lane after the other. The first fault of the first lane comes with the opening;
// members' kinds are taken from a shuffled deck, so that a long rehearsal breaks each of them.
func drawFaults(r *rand.Rand, p *Plan, members []Member) []Fault {
	members = slices.SortedFunc(slices.Values(members), func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	var all []Fault
	groups := map[string]string{}
	for _, m := range members {
		groups[m.Name] = m.group()
	}
	for lane := range p.Spec.Lanes {
		deck := deck{random: r, members: members, kinds: p.Spec.Faults}
		at := p.Opens + between(r, -400*time.Millisecond, 400*time.Millisecond)
		if lane > 0 {
			at = between(r, p.Opens/2, p.Opens+3*time.Second)
		}
		for at < p.Spec.Duration {
			f, ok := deck.draw()
			if !ok {
				return nil // nothing here can be broken in the ways that were asked for
			}
			f.At, f.Lane = at, lane
			end := f.At + f.For + healing(f.Kind, f.Member)
			if end > p.Spec.Duration+p.Spec.Duration/5 {
				at += time.Second
				continue // too long for what is left
			}
			if p.clashes(all, f, groups) {
				at += time.Second
				continue
			}
			all = append(all, f)
			at = end + between(r, 500*time.Millisecond, 3*time.Second)
		}
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return all
}

// clashes reports whether a fault would, at some moment, be together with another of the same member, or of
// another voter of the same shard.
func (p *Plan) clashes(all []Fault, f Fault, groups map[string]string) bool {
	for _, other := range all {
		apart := f.At >= other.end() || other.At >= f.end()
		same := f.Member == other.Member || !p.Spec.SameShard && groups[f.Member] == groups[other.Member]
		if !apart && same {
			return true
		}
	}
	return false
}

// end is when a fault is expected to have healed.
func (f *Fault) end() time.Duration { return f.At + f.For + healing(f.Kind, f.Member) }

// deck deals faults: of each kind of member one before any of a second.
type deck struct {
	random  *rand.Rand
	members []Member
	kinds   []FaultKind
	cards   []string // kinds of members that are left in this round
}

func (d *deck) draw() (Fault, bool) {
	if len(d.cards) == 0 {
		for _, m := range d.members {
			if !slices.Contains(d.cards, m.Kind) && len(d.fitting(m.Kind)) > 0 {
				d.cards = append(d.cards, m.Kind)
			}
		}
		d.random.Shuffle(len(d.cards), func(i, j int) { d.cards[i], d.cards[j] = d.cards[j], d.cards[i] })
	}
	if len(d.cards) == 0 {
		return Fault{}, false
	}
	of := d.cards[0]
	d.cards = d.cards[1:]
	var names []string
	for _, m := range d.members {
		if m.Kind == of {
			names = append(names, m.Name)
		}
	}
	kinds := d.fitting(of)
	f := Fault{Kind: kinds[d.random.IntN(len(kinds))], Member: names[d.random.IntN(len(names))]}
	f.For = d.length(f.Kind)
	return f, true
}

// fitting are the kinds of faults that a kind of member can have.
func (d *deck) fitting(member string) []FaultKind {
	var fit []FaultKind
	for _, kind := range d.kinds {
		if kind != Alarm || member == "rabbitmq" {
			fit = append(fit, kind)
		}
	}
	return fit
}

func (d *deck) length(kind FaultKind) time.Duration {
	switch kind {
	case Restart:
		return 0
	case Kill:
		return between(d.random, 200*time.Millisecond, 2500*time.Millisecond)
	default:
		return between(d.random, 500*time.Millisecond, 4500*time.Millisecond)
	}
}

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return (from + time.Duration(r.Int64N(int64(to-from)))).Truncate(time.Millisecond)
}
