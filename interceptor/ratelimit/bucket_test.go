package ratelimit_test

import (
	"testing"
	"time"

	"headgate.example/interceptor/ratelimit"
)

// Events carry the time at which their requests began, and some were held up since. A bucket that let its
// time go back with one of those would give the next one the tokens of that time once more.
func TestBucketGivesNothingTwiceForEventsOutOfOrder(t *testing.T) {
	const perSecond, burst = 10, 10
	start := time.Unix(1_700_000_000, 0)
	b := ratelimit.NewBucket(perSecond, burst)
	allowed := 0
	for i := range 1000 {
		late := start
		if i%2 == 1 {
			late = start.Add(time.Second)
		}
		if b.Allow(late) {
			allowed++
		}
	}
	if most := burst + perSecond; allowed > most {
		t.Errorf("%d events in a second, want at most %d", allowed, most)
	}
	if !b.Allow(start.Add(1100 * time.Millisecond)) {
		t.Error("none a tenth of a second later")
	}
}

func TestBucketKeepsItsBalanceWhenItsRuleChanges(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	b := ratelimit.NewBucket(1, 10)
	for range 8 {
		b.Allow(start)
	}
	b.Set(start.Add(-time.Second), 1, 100) // by a clock read a little earlier
	left := 0
	for b.Allow(start) {
		left++
	}
	if left != 2 {
		t.Errorf("%d events left after the change, want 2", left)
	}
	b.Set(start, 1, 1)
	if later := start.Add(time.Hour); !b.Allow(later) || b.Allow(later) {
		t.Error("the new burst does not hold")
	}
}
