package insight

import (
	"sync"
	"time"
)

// Bounds of Talkers.
const (
	// TalkerCounters is how many keys are counted at once: who makes more than 1/256 of what is counted
	// in a window is among them.
	TalkerCounters = 256
	// TalkerWindow is the time after which counting begins anew; what is shown covers the last one to
	// two of them.
	TalkerWindow = time.Minute
)

// Talkers are the keys that ask most, of late. It is safe for concurrent use.
type Talkers[K comparable] struct {
	mu      sync.Mutex
	current *sketch[K]
	before  *sketch[K]
	turned  int64 // when current began
	since   int64 // when before began
	begun   bool
}

// NewTalkers makes an empty one.
func NewTalkers[K comparable]() *Talkers[K] {
	return &Talkers[K]{current: newSketch[K](TalkerCounters), before: newSketch[K](TalkerCounters)}
}

// Add counts weight requests of a key at now (nanoseconds). It is left out where another request is
// counted at the same instant.
func (t *Talkers[K]) Add(key K, weight int64, refused bool, now int64) {
	if !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	t.turn(now)
	r := int64(0)
	if refused {
		r = weight
	}
	t.current.add(key, weight, r)
}

// turn begins a new window where the old one is over.
func (t *Talkers[K]) turn(now int64) {
	if !t.begun {
		t.turned, t.since, t.begun = now, now, true
		return
	}
	passed := now - t.turned
	if passed < int64(TalkerWindow) {
		return
	}
	t.before, t.current = t.current, t.before
	t.current.clear()
	t.since, t.turned = t.turned, now
	if passed >= 2*int64(TalkerWindow) {
		t.before.clear()
		t.since = now
	}
}

// Top gives those who asked most, at most limit, and how long what is shown was counted for.
func (t *Talkers[K]) Top(limit int, now int64) (list []Talker[K], counted time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(now)
	list = merged(t.current, t.before)
	return list[:min(limit, len(list))], time.Duration(now - t.since)
}
