package rehearse

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds of a Spec.
const (
	MaxBuyers      = 1_000_000
	MaxStock       = 100_000
	MaxConnections = 10_000
	MinDuration    = 5 * time.Second
	MaxDuration    = 2 * time.Hour
)

// Spec says what to rehearse. DefaultSpec documents the defaults.
type Spec struct {
	Seed   uint64
	Buyers int // 1 to MaxBuyers
	Stock  int // units for sale, 1 to MaxStock
	// Duration is from the first planned press to the last, MinDuration to MaxDuration. Its first
	// CalmShare lies before the opening.
	Duration time.Duration
	// Fresh is the share of buyers who come after the opening, with a token that no edge has seen. The
	// others come too early, are told so, and come back when it opens.
	Fresh   float64
	Doubles float64 // share of buyers who press twice at the same instant
	Bots    float64 // share of buyers who press many times a second, whatever they are told
	// Pay and Cancel are the shares of those with an order who pay it, and who cancel it. The rest
	// abandons it: its units come back after the deadline only.
	Pay, Cancel float64
	PayWithin   time.Duration // from the order to its deadline, 5s to 10m
	HoldFor     time.Duration // how long a hold waits for its confirmation; 0: as the deployment says
	ProbeEvery  time.Duration // between two probes, 20ms to 10s

	// Faults are the kinds to draw from; none: nothing is broken.
	Faults []FaultKind
	// Lanes is how many faults there may be at a time, 1 to 4. SameShard lets them take several voters
	// of one shard at once, after which that shard cannot sell until they are back.
	Lanes     int
	SameShard bool

	Connections int           // to the edge at most, 2 to MaxConnections
	Timeout     time.Duration // how long a buyer waits for an answer, 1s to 1m
	// SettleFor bounds the wait for queue, outbox and deadlines after the crowd, 10s to 1h.
	SettleFor time.Duration
}

// DefaultSpec is a small rehearsal that a laptop's one-process deployment can bear.
func DefaultSpec() Spec {
	return Spec{
		Seed: 1, Buyers: 10_000, Stock: 500, Fresh: 0.8, Doubles: 0.05, Bots: 0.005, Pay: 0.6, Cancel: 0.2,
		PayWithin: 20 * time.Second, ProbeEvery: 250 * time.Millisecond, Lanes: 1,
		Connections: 2000, Timeout: 15 * time.Second, SettleFor: 2 * time.Minute,
	}
}

// DurationFor is how long a crowd of so many takes at rate arrivals a second on average, within 10 s and
// MaxDuration.
func DurationFor(buyers int, rate float64) time.Duration {
	d := time.Duration(float64(buyers) / rate * float64(time.Second))
	return min(max(d, 10*time.Second), MaxDuration).Round(time.Second)
}

// Check names each field that cannot be used.
func (s *Spec) Check() error {
	var problems []error
	within := func(field string, ok bool, want string) {
		if !ok {
			problems = append(problems, fmt.Errorf("%s: must be %s", field, want))
		}
	}
	within("buyers", s.Buyers >= 1 && s.Buyers <= MaxBuyers, fmt.Sprintf("1 to %d", MaxBuyers))
	within("stock", s.Stock >= 1 && s.Stock <= MaxStock, fmt.Sprintf("1 to %d", MaxStock))
	within("duration", s.Duration >= MinDuration && s.Duration <= MaxDuration, fmt.Sprintf("%s to %s", MinDuration, MaxDuration))
	for _, share := range []struct {
		field string
		value float64
	}{{"fresh", s.Fresh}, {"doubles", s.Doubles}, {"bots", s.Bots}, {"pay", s.Pay}, {"cancel", s.Cancel}} {
		within(share.field, share.value >= 0 && share.value <= 1, "a share, 0 to 1")
	}
	within("doubles", s.Doubles+s.Bots <= 1, "at most 1 together with bots")
	within("pay", s.Pay+s.Cancel <= 1, "at most 1 together with cancel")
	within("pay-within", s.PayWithin >= 5*time.Second && s.PayWithin <= 10*time.Minute, "5s to 10m")
	within("hold-for", s.HoldFor == 0 || s.HoldFor >= time.Second && s.HoldFor <= 10*time.Minute, "0 or 1s to 10m")
	within("probe-every", s.ProbeEvery >= 20*time.Millisecond && s.ProbeEvery <= 10*time.Second, "20ms to 10s")
	within("lanes", s.Lanes >= 1 && s.Lanes <= 4, "1 to 4")
	within("connections", s.Connections >= 2 && s.Connections <= MaxConnections, fmt.Sprintf("2 to %d", MaxConnections))
	within("timeout", s.Timeout >= time.Second && s.Timeout <= time.Minute, "1s to 1m")
	within("settle-for", s.SettleFor >= 10*time.Second && s.SettleFor <= time.Hour, "10s to 1h")
	for _, kind := range s.Faults {
		within("faults", slices.Contains(FaultKinds(), kind), fmt.Sprintf("none, all or some of %v; %q is none of them", FaultKinds(), kind))
	}
	return errors.Join(problems...)
}
