package ratelimit

import (
	"hash/maphash"
	"sync"
)

// Hasher turns users into keys under a seed of its own.
type Hasher struct{ seed maphash.Seed }

// NewHasher draws a seed.
func NewHasher() Hasher { return Hasher{seed: maphash.MakeSeed()} }

// User is the key of a user.
func (h Hasher) User(user string) uint64 { return maphash.String(h.seed, user) }

// UserInSale is the key of a user in one sale.
func (h Hasher) UserInSale(user string, sale []byte) uint64 {
	return maphash.String(h.seed, user)*0x9e3779b97f4a7c15 ^ maphash.Bytes(h.seed, sale)
}

// Seen remembers keys, at least the last max/2 of them and at most max: two generations, the older of
// which is dropped when the younger is full. It tells until when it may have forgotten keys, so that
// not being remembered is not mistaken for never having been added. It is safe for concurrent use.
type Seen struct {
	shards   [shardCount]seenShard
	maxShard int
}

type seenShard struct {
	mu         sync.RWMutex
	young, old map[uint64]struct{}
	latest     int64 // the latest time given to Add
	turned     int64 // when young became old: no key in old was added later
	forgot     int64 // the same of the generation that was dropped last
	hasForgot  bool
}

// NewSeen makes a memory of at most limit keys (rounded up to a few hundred).
func NewSeen(limit int) *Seen {
	return &Seen{maxShard: max(1, limit/2/shardCount)}
}

// Add remembers the key. now is the time in the caller's unit; one that is earlier than that of
// another call is taken for the later one.
func (s *Seen) Add(key uint64, now int64) {
	sh := &s.shards[key%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.latest = max(sh.latest, now)
	if _, ok := sh.young[key]; ok {
		return
	}
	if sh.young == nil || len(sh.young) >= s.maxShard {
		if len(sh.old) > 0 {
			sh.forgot, sh.hasForgot = sh.turned, true
		}
		sh.old, sh.young, sh.turned = sh.young, make(map[uint64]struct{}), sh.latest
	}
	sh.young[key] = struct{}{}
}

// Drop forgets the key.
func (s *Seen) Drop(key uint64) {
	sh := &s.shards[key%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.young, key)
	delete(sh.old, key)
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
	if _, ok := sh.young[key]; ok {
		return true
	}
	_, ok := sh.old[key]
	return ok
}
