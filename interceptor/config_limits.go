package interceptor

import (
	"time"

	"headgate.example/interceptor/ratelimit"
	"headgate.example/lib/config"
)

// Bounds of rules.
const (
	maxRate     = 1e9       // events a second
	minRate     = 1e-3      // one in a quarter of an hour
	maxBurst    = 1_000_000 // events
	maxQueue    = 10_000    // requests that wait
	maxQueueFor = 30 * time.Second
)

// BucketRule is a token bucket: Burst events at once, and Rate a second.
type BucketRule struct {
	// Mode is off, shadow (what it would refuse is counted, and passes) or enforce. Default enforce,
	// where nothing else is said.
	Mode  string  `yaml:"mode"`
	Rate  float64 `yaml:"rate"`  // events a second, 0.001 to 1e9
	Burst int     `yaml:"burst"` // events at once, 1 to 1,000,000
}

// IntervalRule keeps events apart.
type IntervalRule struct {
	// Mode is off, shadow or enforce. Default enforce.
	Mode  string        `yaml:"mode"`
	Every time.Duration `yaml:"every"` // the least time between two, 1ms to 1h
}

// QueueRule is a leaky bucket: requests wait, and leave at Rate a second in the order in which they came.
type QueueRule struct {
	// Mode is off, shadow (nobody waits; who would find no room is counted) or enforce. Default enforce.
	Mode string  `yaml:"mode"`
	Rate float64 `yaml:"rate"` // requests a second that leave, 0.001 to 1e9
	// Length is how many may wait, 1 to 10,000; further ones are answered with `overloaded`. Each keeps
	// its connection.
	Length int `yaml:"length"`
	// MaxWait is the longest wait, up to 30s; who would have to wait longer is answered with
	// `overloaded` at once. Shorter than what the SLB waits for an answer.
	MaxWait time.Duration `yaml:"max_wait"`
}

// Limits are the rules of this node and its users. Each can be changed while the program runs, which
// resets no balance.
type Limits struct {
	// NodeBucket bounds the requests that this node takes: beyond it `overloaded`. Default: off.
	NodeBucket BucketRule `yaml:"node_bucket"`
	// AddressBucket bounds the requests of one client address (IPv6: of one /64): beyond it
	// `rate_limited`. Trusted proxies themselves are not bounded. Default: shadow, 100 a second, burst
	// 200; enforce it once trusted_proxies is right, since behind an SLB that is not trusted all buyers
	// share one address.
	AddressBucket BucketRule `yaml:"address_bucket"`
	// UserInterval keeps the presses of one user apart: sooner ones are answered with `too_soon`.
	// Default: 1s.
	UserInterval IntervalRule `yaml:"user_interval"`
	// UserBucket bounds the other calls of one user: beyond it `rate_limited`. Default: 10 a second,
	// burst 20.
	UserBucket BucketRule `yaml:"user_bucket"`
	// MaxTrackedUsers bounds the users whose budgets are kept. Beyond it, users that are not tracked yet
	// are answered with `overloaded` until budgets have refilled; and beyond half of it, buyers in sales
	// older than the last of those forgotten are put to the counter once each, instead of being refused
	// here. Default 1,000,000 (at most 100 bytes each).
	MaxTrackedUsers int `yaml:"max_tracked_users"`
	// MaxTrackedAddresses bounds the client addresses whose budgets are kept, by rule. Beyond it,
	// addresses that are not tracked yet pass, which is counted: who has many addresses must not shut
	// out the others. Default 1,000,000 (about 25 MB when full).
	MaxTrackedAddresses int `yaml:"max_tracked_addresses"`
}

func defaultLimits() Limits {
	return Limits{
		NodeBucket:      BucketRule{Mode: ModeOff},
		AddressBucket:   BucketRule{Mode: ModeShadow, Rate: 100, Burst: 200},
		UserInterval:    IntervalRule{Mode: ModeEnforce, Every: time.Second},
		UserBucket:      BucketRule{Mode: ModeEnforce, Rate: 10, Burst: 20},
		MaxTrackedUsers: 1_000_000, MaxTrackedAddresses: 1_000_000,
	}
}

// loginBucket is the default rule of an address for signing in and registering, where each try costs
// the backend a password hash, and each success a guess.
func loginBucket() *BucketRule { return &BucketRule{Mode: ModeShadow, Rate: 0.5, Burst: 10} }

func (l *Limits) validate(p *config.Problems) {
	l.NodeBucket.validate(p.In("node_bucket"))
	l.AddressBucket.validate(p.In("address_bucket"))
	l.UserInterval.validate(p.In("user_interval"))
	l.UserBucket.validate(p.In("user_bucket"))
	for _, f := range []struct {
		field string
		value int
	}{{"max_tracked_users", l.MaxTrackedUsers}, {"max_tracked_addresses", l.MaxTrackedAddresses}} {
		if f.value < 1000 || f.value > 100_000_000 {
			p.Addf(f.field, "must be 1000 to 100000000, is %d", f.value)
		}
	}
}

func (r *BucketRule) validate(p *config.Problems) {
	if !validMode(p, &r.Mode) {
		return
	}
	validRate(p, r.Rate)
	if r.Burst < 1 || r.Burst > maxBurst {
		p.Addf("burst", "must be 1 to %d events at once, is %d", maxBurst, r.Burst)
	}
}

func (r *IntervalRule) validate(p *config.Problems) {
	if validMode(p, &r.Mode) && (r.Every < time.Millisecond || r.Every > time.Hour) {
		p.Addf("every", "must be 1ms to 1h, is %s", r.Every)
	}
}

func (r *QueueRule) validate(p *config.Problems) {
	if !validMode(p, &r.Mode) {
		return
	}
	validRate(p, r.Rate)
	if r.Length < 1 || r.Length > maxQueue {
		p.Addf("length", "must be 1 to %d requests, is %d", maxQueue, r.Length)
	}
	if r.MaxWait < time.Millisecond || r.MaxWait > maxQueueFor {
		p.Addf("max_wait", "must be 1ms to %s, is %s", maxQueueFor, r.MaxWait)
	}
}

// validMode sets a mode that was left out to enforce, and reports whether the rule's other fields count.
func validMode(p *config.Problems, mode *string) bool {
	switch *mode {
	case "":
		*mode = ModeEnforce
	case ModeEnforce, ModeShadow:
	case ModeOff:
		return false
	default:
		p.Addf("mode", "must be %s, %s or %s, is %q", ModeOff, ModeShadow, ModeEnforce, *mode)
	}
	return true
}

func validRate(p *config.Problems, rate float64) {
	if !(rate >= minRate && rate <= maxRate) {
		p.Addf("rate", "must be %v to %v a second, is %v (set mode %s for no limit)", minRate, maxRate, rate, ModeOff)
	}
}

func (r *QueueRule) limits() ratelimit.QueueLimits {
	return ratelimit.QueueLimits{Interval: ratelimit.Interval(r.Rate), Length: r.Length, MaxWait: r.MaxWait}
}

// longest is how long a request may wait in the queue; 0: there is none.
func (r *QueueRule) longest() time.Duration {
	if r == nil || r.Mode != ModeEnforce {
		return 0
	}
	return r.MaxWait
}
