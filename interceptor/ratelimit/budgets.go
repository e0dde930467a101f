package ratelimit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// MaxKinds bounds the budgets of one key.
const MaxKinds = 4

const shardCount = 256 // a power of two

// sweepEvery is the least time between two sweeps of one shard that new keys cause, in nanoseconds: a
// shard full of busy keys must not be searched by each new one.
const sweepEvery = int64(50 * time.Millisecond)

// Budgets keeps a few budgets a key, such as those of one user, each a due time. A key takes one word
// and one for each kind of budget, at 64 to 80 % use of the table. It is safe for concurrent use.
//
// It holds at most so many keys. A key whose budgets are all full equals one that is not there, so that
// only those are dropped: by Sweep, and where there is no room for another. Where none can be dropped
// the newcomer gets Full; that tracked keys are dropped to make room would let a crowd of strangers
// flush whom they want to forget.
type Budgets struct {
	kinds   int
	maxKeys atomic.Int64
	keys    atomic.Int64
	rotor   atomic.Uint32 // the shard that is searched next for room
	shards  [shardCount]budgetShard
}

// budgetShard holds records of a key and its due times.
type budgetShard struct {
	mu sync.Mutex
	table
	swept  int64 // when a new key last had it searched for refilled ones
	latest int64 // event: time does not go back, see Take
	_      [8]byte
}

// NewBudgets makes room for maxKeys keys with 1 to MaxKinds budgets each.
func NewBudgets(kinds, maxKeys int) (*Budgets, error) {
	switch {
	case kinds < 1 || kinds > MaxKinds:
		return nil, fmt.Errorf("ratelimit: kinds of budgets must be 1 to %d, are %d", MaxKinds, kinds)
	case maxKeys < 1:
		return nil, fmt.Errorf("ratelimit: max keys must be at least 1, is %d", maxKeys)
	}
	b := &Budgets{kinds: kinds}
	b.maxKeys.Store(int64(maxKeys))
	for i := range b.shards {
		b.shards[i].swept = -sweepEvery
	}
	return b, nil
}

// SetMaxKeys changes the bound. Where more are tracked, no key is added until budgets have refilled.
func (b *Budgets) SetMaxKeys(n int) { b.maxKeys.Store(int64(n)) }

// Len is the number of tracked keys.
func (b *Budgets) Len() int { return int(b.keys.Load()) }

// Take spends one event of the key's budget of a kind at now. One of before the latest counts as being of
// the same time: its request was held up, and by its own time it would give back what others took since.
func (b *Budgets) Take(key uint64, kind int, r Rate, now int64) Decision {
	word, sh := place(key)
	s := &b.shards[sh]
	s.mu.Lock()
	at := s.find(word, b.stride())
	if at < 0 && !b.reserve() {
		s.mu.Unlock()
		if !b.makeRoom(s, now) {
			return Decision{Verdict: Full}
		}
		s.mu.Lock()
		at = s.find(word, b.stride())
		if at < 0 && !b.reserve() {
			s.mu.Unlock()
			return Decision{Verdict: Full}
		}
	}
	defer s.mu.Unlock()
	if at < 0 {
		at = b.insert(s, word, now)
	}
	s.latest = max(s.latest, now)
	due, decision := r.take(s.words[at+1+kind], s.latest)
	s.words[at+1+kind] = due
	return decision
}

// reserve counts one more key, if there is room for it.
func (b *Budgets) reserve() bool {
	if b.keys.Add(1) <= b.maxKeys.Load() {
		return true
	}
	b.keys.Add(-1)
	return false
}

// insert adds a record. Before its table grows, whatever has refilled is dropped, so that memory follows
// the keys that matter and not those that came since the last Sweep. It is called with the shard's lock.
func (b *Budgets) insert(s *budgetShard, word, now int64) int {
	if s.crowded(b.stride()) && now-s.swept >= sweepEvery {
		s.swept = now
		b.keys.Add(-int64(s.sweep(now, b.stride())))
	}
	return s.table.insert(word, b.stride())
}

// makeRoom drops refilled keys of the shard, and of one more in turn; false: there were none. It is
// called without a lock, since it never holds two.
func (b *Budgets) makeRoom(s *budgetShard, now int64) bool {
	other := &b.shards[b.rotor.Add(1)%shardCount]
	for _, s := range []*budgetShard{s, other} {
		s.mu.Lock()
		if now-s.swept >= sweepEvery {
			s.swept = now
			b.keys.Add(-int64(s.sweep(now, b.stride())))
		}
		s.mu.Unlock()
	}
	return b.keys.Load() < b.maxKeys.Load()
}

// Sweep drops all keys whose budgets are full at now, and gives memory back. Call it now and then, so
// that memory follows load. It holds one shard at a time, for some microseconds per thousand keys.
func (b *Budgets) Sweep(now int64) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		b.keys.Add(-int64(s.sweep(now, b.stride())))
		s.shrink(b.stride())
		s.mu.Unlock()
	}
}

// Balance is a key's budgets, for showing them and for handing them over: how long each takes to be
// full again. Kinds that do not exist are 0.
type Balance struct {
	Key   uint64
	Ahead [MaxKinds]time.Duration
}

// Look gives the key's budgets at now; false: it is not tracked, so that all are full.
func (b *Budgets) Look(key uint64, now int64) (Balance, bool) {
	word, sh := place(key)
	s := &b.shards[sh]
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.find(word, b.stride())
	if at < 0 {
		return Balance{Key: key}, false
	}
	return s.balance(at, b.kinds, now), true
}

// Each calls do with all keys whose budgets are not full at now, until it gives false. No lock is held
// while do runs; keys that come or go meanwhile may be missed.
func (b *Budgets) Each(now int64, do func(Balance) bool) {
	var list []Balance
	for i := range b.shards {
		s := &b.shards[i]
		list = list[:0]
		s.mu.Lock()
		for at := 0; at < len(s.words); at += b.stride() {
			if s.words[at] != 0 && !full(s.words[at+1:at+b.stride()], now) {
				list = append(list, s.balance(at, b.kinds, now))
			}
		}
		s.mu.Unlock()
		for _, balance := range list {
			if !do(balance) {
				return
			}
		}
	}
}

// TakeOut calls do with the budgets of each key that moves accepts, and forgets them in the same step. It
// holds one shard at a time; do is called under its lock and must not call back. Keys whose budgets are full
// are left out.
func (b *Budgets) TakeOut(now int64, moves func(key uint64) bool, do func(Balance)) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		taken := 0
		for at := 0; at < len(s.words); {
			if s.words[at] == 0 || !moves(uint64(s.words[at])) {
				at += b.stride()
				continue
			}
			if !full(s.words[at+1:at+b.stride()], now) {
				do(s.balance(at, b.kinds, now))
			}
			s.remove(at, b.stride()) // what followed may now stand here
			taken++
		}
		s.mu.Unlock()
		b.keys.Add(-int64(taken))
	}
}

// Add takes budgets over that another node has kept. Where the key is tracked here as well, the emptier
// budget counts: taking one over twice changes nothing. False: there is no room.
func (b *Budgets) Add(balance Balance, now int64) bool {
	word, sh := place(balance.Key)
	s := &b.shards[sh]
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.find(word, b.stride())
	if at < 0 {
		if !b.reserve() {
			return false
		}
		at = b.insert(s, word, now)
	}
	for kind := range b.kinds {
		s.words[at+1+kind] = max(s.words[at+1+kind], now+int64(balance.Ahead[kind]))
	}
	return true
}

func (b *Budgets) stride() int { return 1 + b.kinds }

// full reports whether all budgets of a record are full.
func full(due []int64, now int64) bool {
	for _, t := range due {
		if t > now {
			return false
		}
	}
	return true
}

func (s *budgetShard) balance(at, kinds int, now int64) Balance {
	b := Balance{Key: uint64(s.words[at])}
	for kind := range kinds {
		b.Ahead[kind] = time.Duration(max(0, s.words[at+1+kind]-now))
	}
	return b
}

// sweep drops the records whose budgets are all full, and gives their number.
func (s *budgetShard) sweep(now int64, stride int) (dropped int) {
	for at := 0; at < len(s.words); {
		if s.words[at] != 0 && full(s.words[at+1:at+stride], now) {
			s.remove(at, stride) // what followed may now stand here
			dropped++
			continue
		}
		at += stride
	}
	return dropped
}
