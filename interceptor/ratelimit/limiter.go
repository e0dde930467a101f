package ratelimit

import (
	"fmt"
	"sync"
	"time"
)

const shardCount = 256 // a power of two

// sweepEvery is the least time between two sweeps of one full shard, in nanoseconds: a shard full of
// busy users must not be searched by each new one.
const sweepEvery = int64(50 * time.Millisecond)

// Verdict is the answer of a Limiter.
type Verdict uint8

// The verdicts.
const (
	Allowed Verdict = iota
	Refused         // the key used its budget up
	Full            // the key is not tracked and there is no room: its budget is not known
)

// Limits are the parameters of a Limiter.
type Limits struct {
	Interval time.Duration // between two events when the burst is used up; at least 1 ns
	Burst    int64         // events at once, at least 1
	MaxKeys  int           // tracked keys; at the bound new ones get Full until budgets have refilled
}

// Limiter keeps one budget a key. It is safe for concurrent use.
type Limiter struct {
	interval  int64
	tolerance int64 // how far the next due time may lie ahead
	maxShard  int
	shards    [shardCount]limiterShard
}

type limiterShard struct {
	mu       sync.Mutex
	due      map[uint64]int64 // the key's theoretical arrival time
	swept    int64
	hasSwept bool
	_        [24]byte // keeps neighbours off one cache line
}

// NewLimiter checks the limits and makes a Limiter.
func NewLimiter(l Limits) (*Limiter, error) {
	switch {
	case l.Interval < 1:
		return nil, fmt.Errorf("ratelimit: interval must be above 0, is %s", l.Interval)
	case l.Burst < 1 || l.Burst > int64(1<<62)/int64(l.Interval):
		return nil, fmt.Errorf("ratelimit: burst must be at least 1 and burst x interval within 146 years, is %d", l.Burst)
	case l.MaxKeys < 1:
		return nil, fmt.Errorf("ratelimit: max keys must be at least 1, is %d", l.MaxKeys)
	}
	m := &Limiter{interval: int64(l.Interval), maxShard: max(1, l.MaxKeys/shardCount)}
	m.tolerance = m.interval * (l.Burst - 1)
	for i := range m.shards {
		m.shards[i].due = make(map[uint64]int64)
	}
	return m, nil
}

// Take spends one event of the key's budget at now. With Refused it also says how long to wait, and
// with Allowed how many events are left.
func (m *Limiter) Take(key uint64, now int64) (verdict Verdict, wait time.Duration, left int64) {
	s := &m.shards[key%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	due, tracked := s.due[key]
	if !tracked && len(s.due) >= m.maxShard && !s.makeRoom(now, m.maxShard) {
		return Full, 0, 0
	}
	due = max(due, now)
	if ahead := due - now; ahead > m.tolerance {
		return Refused, time.Duration(ahead - m.tolerance), 0
	}
	due += m.interval
	s.due[key] = due
	return Allowed, 0, (m.tolerance - (due - now) + m.interval) / m.interval
}

// makeRoom drops the keys whose budget has refilled, which is what a new key would have.
func (s *limiterShard) makeRoom(now int64, bound int) bool {
	if s.hasSwept && now-s.swept < sweepEvery {
		return false
	}
	s.sweep(now)
	return len(s.due) < bound
}

func (s *limiterShard) sweep(now int64) {
	s.swept, s.hasSwept = now, true
	for key, due := range s.due {
		if due <= now {
			delete(s.due, key)
		}
	}
}

// Sweep drops all keys whose budget has refilled. Call it now and then, so that memory follows load.
func (m *Limiter) Sweep(now int64) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		s.sweep(now)
		s.mu.Unlock()
	}
}

// Len is the number of tracked keys.
func (m *Limiter) Len() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		n += len(s.due)
		s.mu.Unlock()
	}
	return n
}
