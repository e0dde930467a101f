package ratelimit

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newQueue(t testing.TB, l QueueLimits) *Queue {
	t.Helper()
	q, err := NewQueue(l)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func patient() bool { return true }

// crowd lets n callers wait, one after the other, and gives when each left, by departure, from the start.
func crowd(q *Queue, n int, wanted func(i int) bool) map[Departure][]time.Duration {
	var wg sync.WaitGroup
	var mu sync.Mutex
	ends := map[Departure][]time.Duration{}
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			d, _ := q.Wait(func() bool { return wanted(i) }, nil)
			mu.Lock()
			defer mu.Unlock()
			ends[d] = append(ends[d], time.Since(began).Truncate(time.Millisecond))
		})
		synctest.Wait() // until he waits, or has left
	}
	wg.Wait()
	return ends
}

func TestQueueLetsOneLeaveEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, QueueLimits{Interval: 10 * time.Millisecond, Length: 5, MaxWait: time.Second})
		ends := crowd(q, 8, func(int) bool { return true })
		ms := time.Millisecond
		if want := []time.Duration{0, 10 * ms, 20 * ms, 30 * ms, 40 * ms, 50 * ms}; !slices.Equal(ends[Left], want) {
			t.Errorf("left at %v, want %v", ends[Left], want)
		}
		if len(ends[NoRoom]) != 2 || ends[NoRoom][1] != 0 {
			t.Errorf("refused for want of room: %v, want two at once", ends[NoRoom])
		}
		if q.Waiting() != 0 || q.first != nil || q.last != nil {
			t.Errorf("%d still wait", q.Waiting())
		}
	})
}

func TestQueueRefusesAtOnceWhoWouldWaitTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, QueueLimits{Interval: 10 * time.Millisecond, Length: 100, MaxWait: 25 * time.Millisecond})
		ends := crowd(q, 6, func(int) bool { return true })
		if len(ends[Left]) != 3 || len(ends[TooLong]) != 3 || slices.Max(ends[TooLong]) != 0 {
			t.Errorf("%v", ends)
		}
	})
}

// A client who goes away frees his place, and his turn goes to the next.
func TestQueueForgetsWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, QueueLimits{Interval: 200 * time.Millisecond, Length: 4, MaxWait: time.Minute})
		began := time.Now()
		ends := crowd(q, 5, func(i int) bool { return i != 1 && i != 3 || time.Since(began) < 50*time.Millisecond })
		ms := time.Millisecond
		if want := []time.Duration{0, 200 * ms, 400 * ms}; !slices.Equal(ends[Left], want) {
			t.Errorf("left at %v, want %v", ends[Left], want)
		}
		if want := []time.Duration{100 * ms, 100 * ms}; !slices.Equal(ends[GaveUp], want) {
			t.Errorf("gave up at %v, want %v", ends[GaveUp], want)
		}
	})
}

func TestQueueEndsWhenStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, QueueLimits{Interval: time.Hour, Length: 4, MaxWait: 10 * time.Hour})
		if d, _ := q.Wait(patient, nil); d != Left {
			t.Fatal("the first waits")
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		began := time.Now()
		if d, _ := q.Wait(patient, ctx.Done()); d != GaveUp || time.Since(began) != time.Second {
			t.Errorf("%v after %s", d, time.Since(began))
		}
	})
}

func TestQueueLimitsChangeWhileSomeWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, QueueLimits{Interval: time.Hour, Length: 10, MaxWait: 10 * time.Hour})
		began := time.Now()
		time.AfterFunc(time.Second, func() {
			q.SetLimits(QueueLimits{Interval: time.Second, Length: 10, MaxWait: 2900 * time.Millisecond})
		})
		ends := crowd(q, 5, func(int) bool { return true })
		// At 2 and (since the new longest wait holds for them as well) no later than 2.9 s after they came.
		if len(ends[Left]) != 2 || len(ends[TooLong]) != 3 || slices.Max(ends[TooLong]) > 3*time.Second || time.Since(began) > 3*time.Second {
			t.Errorf("%v", ends)
		}
	})
}

func TestQueueLimitsAreChecked(t *testing.T) {
	for _, l := range []QueueLimits{{0, 1, time.Second}, {1, 0, time.Second}, {1, 1, 0}} {
		if _, err := NewQueue(l); err == nil {
			t.Errorf("%+v was accepted", l)
		}
	}
}

// Waking late costs those behind nothing: here everybody is late by half an interval.
func TestQueueKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval, late, count = 200 * time.Microsecond, 100 * time.Microsecond, 400
		q := newQueue(t, QueueLimits{Interval: interval, Length: 500, MaxWait: time.Minute})
		began := time.Now()
		var wg sync.WaitGroup
		for range count {
			wg.Go(func() {
				if d, _ := q.Wait(func() bool { time.Sleep(late); return true }, nil); d != Left {
					t.Errorf("departure %v", d)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took < (count-1)*interval || took > (count-1)*interval+late {
			t.Errorf("%d left within %s, want one each %s", count, took, interval)
		}
	})
}

func TestRefusingAllocatesNothing(t *testing.T) {
	q := newQueue(t, QueueLimits{Interval: time.Hour, Length: 1, MaxWait: time.Minute})
	stopped := make(chan struct{})
	q.Wait(patient, stopped)
	if n := testing.AllocsPerRun(100, func() {
		gone := false
		if d, _ := q.Wait(func() bool { return !gone }, stopped); d != TooLong {
			t.Errorf("departure %v", d)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
