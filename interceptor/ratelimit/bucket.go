package ratelimit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bucket is a token bucket that all callers share. It is safe for concurrent use.
//
// It is x/time/rate with a time that does not go back: rate.Limiter takes an event's time for the latest
// even where it is earlier than another's, and would give the tokens of the time between once more.
type Bucket struct {
	mu      sync.Mutex
	latest  time.Time
	limiter *rate.Limiter
}

// NewBucket makes a full bucket of burst tokens, which gets so many a second.
func NewBucket(perSecond float64, burst int) *Bucket {
	return &Bucket{limiter: rate.NewLimiter(rate.Limit(perSecond), burst)}
}

// Allow takes a token for an event at now, if there is one. An event of before the latest one counts as
// being of the same time.
func (b *Bucket) Allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limiter.AllowN(b.at(now), 1)
}

// Set changes the rule from now on. The tokens stay, within the new burst.
func (b *Bucket) Set(now time.Time, perSecond float64, burst int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now = b.at(now)
	b.limiter.SetLimitAt(now, rate.Limit(perSecond))
	b.limiter.SetBurstAt(now, burst)
}

// at is now, but never before the latest time. It is called with the lock.
func (b *Bucket) at(now time.Time) time.Time {
	if now.After(b.latest) {
		b.latest = now
	}
	return b.latest
}
