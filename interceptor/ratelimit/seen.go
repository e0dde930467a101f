package ratelimit

import (
	"sync"
	"sync/atomic"
)

// Seen remembers keys, at least the last max/2 of them and at most max: two generations, the older of
// which is dropped when the younger is full. It tells until when it may have forgotten keys, so that
// not being remembered is not mistaken for never having been added. It is safe for concurrent use.
type Seen struct {
	shards   [shardCount]seenShard
	maxShard atomic.Int64
}

type seenShard struct {
	mu         sync.RWMutex
	young, old table
	latest     int64 // the latest time given to Add
	turned     int64 // when young became old: no key in old was added later
	forgot     int64 // the same of the generation that was dropped last
	hasForgot  bool
}

// NewSeen makes a memory of at most limit keys (rounded up to a few hundred).
func NewSeen(limit int) *Seen {
	s := &Seen{}
	s.SetLimit(limit)
	return s
}

// SetLimit changes how many keys are remembered.
func (s *Seen) SetLimit(limit int) { s.maxShard.Store(max(1, int64(limit)/2/shardCount)) }

// Add remembers the key. now is the time in the caller's unit; one that is earlier than that of
// another call is taken for the later one.
func (s *Seen) Add(key uint64, now int64) {
	sh := &s.shards[key%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.latest = max(sh.latest, now)
	word, _ := place(key)
	if sh.young.find(word, 1) >= 0 {
		return
	}
	if sh.young.used >= int(s.maxShard.Load()) {
		if sh.old.used > 0 {
			sh.forgot, sh.hasForgot = sh.turned, true
		}
		sh.old, sh.young, sh.turned = sh.young, table{}, sh.latest
	}
	sh.young.insert(word, 1)
}

// Drop forgets the key.
func (s *Seen) Drop(key uint64) {
	sh := &s.shards[key%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	word, _ := place(key)
	for _, t := range []*table{&sh.young, &sh.old} {
		if at := t.find(word, 1); at >= 0 {
			t.remove(at, 1)
		}
	}
}

// TakeOut calls do with each remembered key that moves accepts, and forgets it in the same step. do is
// called under a lock and must not call back.
func (s *Seen) TakeOut(moves func(key uint64) bool, do func(key uint64)) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, t := range []*table{&sh.young, &sh.old} {
			for at := 0; at < len(t.words); {
				if t.words[at] == 0 || !moves(uint64(t.words[at])) {
					at++
					continue
				}
				do(uint64(t.words[at]))
				t.remove(at, 1) // what followed may now stand here
			}
		}
		sh.mu.Unlock()
	}
}

// LastForgot is the latest time that ForgotUntil gives of any key; false: nothing was forgotten.
func (s *Seen) LastForgot() (until int64, forgot bool) {
	for i := range s.shards {
		if at, some := s.ForgotUntil(uint64(i)); some && (!forgot || at > until) {
			until, forgot = at, true
		}
	}
	return until, forgot
}

// ForgotUntil gives the time up to which keys such as this one may have been added and forgotten since
// for want of room; false: none was.
func (s *Seen) ForgotUntil(key uint64) (until int64, forgot bool) {
	sh := &s.shards[key%shardCount]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.forgot, sh.hasForgot
}

// Has reports whether the key is remembered.
func (s *Seen) Has(key uint64) bool {
	sh := &s.shards[key%shardCount]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	word, _ := place(key)
	return sh.young.find(word, 1) >= 0 || sh.old.find(word, 1) >= 0
}
