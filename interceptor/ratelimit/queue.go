package ratelimit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// QueueLimits are the parameters of a Queue.
type QueueLimits struct {
	Interval time.Duration // between two that leave; at least 1 ns
	Length   int           // waiting at once, at least 1; further ones are refused
	MaxWait  time.Duration // whoever would wait longer is refused at once; above 0
}

// Check reports what is wrong with the limits.
func (l QueueLimits) Check() error {
	switch {
	case l.Interval < 1:
		return fmt.Errorf("ratelimit: interval must be above 0, is %s", l.Interval)
	case l.Length < 1:
		return fmt.Errorf("ratelimit: a queue's length must be at least 1, is %d", l.Length)
	case l.MaxWait <= 0:
		return fmt.Errorf("ratelimit: the longest wait must be above 0, is %s", l.MaxWait)
	}
	return nil
}

// lookInterval is how often somebody who waits is asked whether he still wants to.
const lookInterval = 100 * time.Millisecond

// Queue is a leaky bucket: those who come leave in the order of their coming, one each interval, and
// wait until then. Who finds it full is refused, as is who would have to wait too long. It starts no
// goroutines: each waits in his own, and at most Length wait. It is safe for concurrent use.
//
// It keeps time by time.Now, since it sleeps by it.
type Queue struct {
	waiting atomic.Int64

	mu     sync.Mutex
	limits QueueLimits
	next   time.Time // when the next may leave
	first  *waiter   // the longest waiting
	last   *waiter
	length int
}

type waiter struct {
	before, after *waiter
	turn          chan struct{} // closed when nobody is before him any more
}

// NewQueue makes an empty queue.
func NewQueue(l QueueLimits) (*Queue, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	return &Queue{limits: l}, nil
}

// SetLimits changes the limits, to what Check passes. Those who wait stay, in their order, and leave at
// the new pace; no longer than the new longest wait.
func (q *Queue) SetLimits(l QueueLimits) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = l
	if soonest := time.Now().Add(l.Interval); q.next.After(soonest) {
		q.next = soonest
	}
}

// Waiting is how many wait now.
func (q *Queue) Waiting() int { return int(q.waiting.Load()) }

// Departure is how waiting in a Queue ended.
type Departure uint8

// The departures.
const (
	Left    Departure = iota // it was his turn
	NoRoom                   // the queue is full
	TooLong                  // it would have taken, or took, longer than the longest wait
	GaveUp                   // he did not want to wait any more
)

// Wait waits until it is the caller's turn, at most the longest wait. wanted is asked now and then, and
// before he leaves by his turn, whether he still wants to; whoever does not takes no turn from the
// others. stopped ends the wait as well; nil never does. With NoRoom and TooLong retry is when a place
// may be free.
func (q *Queue) Wait(wanted func() bool, stopped <-chan struct{}) (d Departure, retry time.Duration) {
	now := time.Now()
	q.mu.Lock()
	if q.length == 0 && !now.Before(q.next) { // nobody waits, and it is time
		q.next = now.Add(q.limits.Interval)
		q.mu.Unlock()
		return Left, 0
	}
	ahead := max(0, q.next.Sub(now)) + time.Duration(q.length)*q.limits.Interval
	switch {
	case q.length >= q.limits.Length:
		retry = min(ahead, q.limits.MaxWait) // not as soon as one place is free: all who are refused would come for it
		q.mu.Unlock()
		return NoRoom, retry
	case ahead > q.limits.MaxWait:
		retry = ahead - q.limits.MaxWait
		q.mu.Unlock()
		return TooLong, retry
	}
	w := q.enter()
	retry = q.limits.Interval
	q.mu.Unlock()
	return q.wait(w, now, wanted, stopped), retry
}

// enter appends a waiter. It is called with the lock.
func (q *Queue) enter() *waiter {
	w := &waiter{turn: make(chan struct{}), before: q.last}
	if q.last == nil {
		q.first = w
		close(w.turn)
	} else {
		q.last.after = w
	}
	q.last = w
	q.length++
	q.waiting.Store(int64(q.length))
	return w
}

// leave takes a waiter out, wherever he stands, and tells the one behind the first. It is called with
// the lock.
func (q *Queue) leave(w *waiter) {
	if w.before != nil {
		w.before.after = w.after
	} else {
		q.first = w.after
		if q.first != nil {
			close(q.first.turn)
		}
	}
	if w.after != nil {
		w.after.before = w.before
	} else {
		q.last = w.before
	}
	q.length--
	q.waiting.Store(int64(q.length))
}

// wait is the life of a waiter.
func (q *Queue) wait(w *waiter, since time.Time, wanted func() bool, stopped <-chan struct{}) Departure {
	timer := time.NewTimer(lookInterval)
	defer timer.Stop()
	turn := w.turn
	for {
		select {
		case <-turn:
			turn = nil // he is the first: from now on he waits for the time
		case <-timer.C:
		case <-stopped:
			q.mu.Lock()
			defer q.mu.Unlock()
			q.leave(w)
			return GaveUp
		}
		still := wanted()
		now := time.Now()
		q.mu.Lock()
		switch departure, done := q.due(w, now, since, still); {
		case done:
			q.leave(w)
			q.mu.Unlock()
			return departure
		default:
			timer.Reset(q.sleep(w, now, since))
		}
		q.mu.Unlock()
	}
}

// sleep is how long a waiter may sleep. It is called with the lock.
func (q *Queue) sleep(w *waiter, now, since time.Time) time.Duration {
	d := min(lookInterval, q.limits.MaxWait-now.Sub(since))
	if q.first == w {
		d = min(d, q.next.Sub(now))
	}
	return d
}

// due reports whether a waiter's wait is over. It is called with the lock.
func (q *Queue) due(w *waiter, now, since time.Time, wanted bool) (Departure, bool) {
	switch {
	case !wanted:
		return GaveUp, true
	case q.first == w && !now.Before(q.next):
		// From when he was due, not from now: that he woke late must not slow down those behind.
		q.next = q.next.Add(q.limits.Interval)
		return Left, true
	case now.Sub(since) >= q.limits.MaxWait:
		return TooLong, true
	}
	return 0, false
}
