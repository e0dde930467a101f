package ratelimit

import (
	"fmt"
	"math"
	"time"
)

// Verdict is the answer of a limit.
type Verdict uint8

// The verdicts.
const (
	Allowed Verdict = iota
	Refused         // the key used its budget up
	Full            // the key is not tracked and there is no room: its budget is not known
)

// Decision is what a limit says of one event.
type Decision struct {
	Verdict Verdict
	Wait    time.Duration // with Refused: until the next event would be allowed
	Left    int64         // events that would be allowed now, after this one
}

// Rate is a limit as the generic cell rate algorithm reads it: so many events at once, then one each
// interval. It is a value and holds no balance: a balance is one number, the time at which the budget
// is full again (due), so that a rate can be changed while balances stay. The zero Rate is not valid.
type Rate struct {
	interval  int64 // nanoseconds
	tolerance int64 // how far due may lie ahead of an event that is allowed
}

// longestBudget bounds burst x interval, so that times do not overflow.
const longestBudget = int64(math.MaxInt64 / 4)

// NewRate is burst events at once, then one each interval; both at least 1.
func NewRate(interval time.Duration, burst int64) (Rate, error) {
	switch {
	case interval < 1:
		return Rate{}, fmt.Errorf("ratelimit: interval must be above 0, is %s", interval)
	case burst < 1 || burst > longestBudget/int64(interval):
		return Rate{}, fmt.Errorf("ratelimit: burst must be at least 1 and burst x interval within 73 years, is %d", burst)
	}
	return Rate{interval: int64(interval), tolerance: int64(interval) * (burst - 1)}, nil
}

// PerSecond is burst events at once, then so many a second, 1e-6 to 1e9.
func PerSecond(events float64, burst int64) (Rate, error) {
	if !(events >= 1e-6 && events <= 1e9) {
		return Rate{}, fmt.Errorf("ratelimit: events a second must be 1e-6 to 1e9, are %v", events)
	}
	return NewRate(Interval(events), burst)
}

// Interval is the time between two of so many events a second, a nanosecond at least.
func Interval(events float64) time.Duration {
	return max(1, time.Duration(math.Round(float64(time.Second)/events)))
}

// Burst is the most events at once.
func (r Rate) Burst() int64 { return r.tolerance/r.interval + 1 }

// Window is how long an empty budget takes to fill.
func (r Rate) Window() time.Duration { return time.Duration(r.tolerance + r.interval) }

// UntilFull is how long a budget takes to fill in which so many events are left.
func (r Rate) UntilFull(left int64) time.Duration {
	return time.Duration((r.Burst() - left) * r.interval)
}

// Left is how many events are left in a budget that takes so long to be full again.
func (r Rate) Left(ahead time.Duration) int64 {
	return max(0, (r.tolerance+r.interval-int64(ahead))/r.interval)
}

// take decides on an event at now, and gives the new due time. A budget that was spent at a slower rate
// counts as spent at this one: nobody waits longer than the rate that holds now makes him.
func (r Rate) take(due, now int64) (int64, Decision) {
	due = min(max(due, now), now+r.tolerance+r.interval)
	ahead := due - now
	if ahead > r.tolerance {
		return due, Decision{Verdict: Refused, Wait: time.Duration(ahead - r.tolerance)}
	}
	return due + r.interval, Decision{Left: (r.tolerance - ahead) / r.interval}
}
