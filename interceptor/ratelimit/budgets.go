package ratelimit

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// MaxKinds bounds the budgets of one key.
const MaxKinds = 4

const (
	shardCount = 256 // a power of two
	minCells   = 8   // records of the smallest table
)

// A table is at most 4/5 full and grows by a quarter, so that between 64 and 80 % of it are in use while
// it grows; one that is used to less than a quarter after a sweep is made smaller.
const (
	fullNumerator, fullDenominator = 4, 5
	growthDenominator              = 4
	sparseDenominator              = 4
)

// sweepEvery is the least time between two sweeps of one shard that new keys cause, in nanoseconds: a
// table full of busy keys must not be searched by each new one.
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

// budgetShard is an open-addressing table with linear probing. A record is its key, never 0, and its
// due times.
type budgetShard struct {
	mu    sync.Mutex
	words []int64 // records of 1+kinds words; the first is the key, 0: free
	used  int
	swept int64 // when makeRoom last searched it
	_     [16]byte
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

// Take spends one event of the key's budget of a kind at now.
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
		at = s.insert(word, b.stride())
	}
	due, decision := r.take(s.words[at+1+kind], now)
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
		at = s.insert(word, b.stride())
	}
	for kind := range b.kinds {
		s.words[at+1+kind] = max(s.words[at+1+kind], now+int64(balance.Ahead[kind]))
	}
	return true
}

func (b *Budgets) stride() int { return 1 + b.kinds }

// place gives the word that stands for a key in its shard, and the shard. Keys are hashes: the low bits
// choose the shard, the high ones the place in it. Two keys in 2^63 share a word.
func place(key uint64) (word int64, shard int) {
	return int64(max(key, 1)), int(key % shardCount)
}

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

// home is the record at which the search for a word begins.
func home(word int64, records int) int {
	high, _ := bits.Mul64(uint64(word), uint64(records))
	return int(high)
}

// find gives the index of a word's record, or -1.
func (s *budgetShard) find(word int64, stride int) int {
	if len(s.words) == 0 {
		return -1
	}
	for at := home(word, len(s.words)/stride) * stride; ; {
		switch s.words[at] {
		case word:
			return at
		case 0:
			return -1
		}
		if at += stride; at == len(s.words) {
			at = 0
		}
	}
}

// insert adds a record for a word that is not there, with full budgets.
func (s *budgetShard) insert(word int64, stride int) int {
	if records := len(s.words) / stride; (s.used+1)*fullDenominator > records*fullNumerator {
		s.resize(max(minCells, records+records/growthDenominator), stride)
	}
	s.used++
	return s.put(word, stride)
}

// put finds the free record for a word and writes the word.
func (s *budgetShard) put(word int64, stride int) int {
	at := home(word, len(s.words)/stride) * stride
	for s.words[at] != 0 {
		if at += stride; at == len(s.words) {
			at = 0
		}
	}
	s.words[at] = word
	return at
}

func (s *budgetShard) resize(records, stride int) {
	old := s.words
	s.words = make([]int64, records*stride)
	for from := 0; from < len(old); from += stride {
		if old[from] != 0 {
			copy(s.words[s.put(old[from], stride):], old[from:from+stride])
		}
	}
}

// shrink gives memory back when little of it is in use.
func (s *budgetShard) shrink(stride int) {
	records := len(s.words) / stride
	switch {
	case s.used == 0:
		s.words = nil
	case records > minCells && s.used*sparseDenominator < records:
		s.resize(max(minCells, s.used*2), stride)
	}
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
	s.used -= dropped
	return dropped
}

// remove frees a record, and closes the gap, so that searches that pass it go on.
func (s *budgetShard) remove(gap, stride int) {
	records := len(s.words) / stride
	for at := gap; ; {
		if at += stride; at == len(s.words) {
			at = 0
		}
		if s.words[at] == 0 {
			break
		}
		// The record may move into the gap unless its home lies after the gap, up to itself.
		begin := home(s.words[at], records) * stride
		if within := gap < begin && begin <= at || at < gap && (gap < begin || begin <= at); within {
			continue
		}
		copy(s.words[gap:gap+stride], s.words[at:at+stride])
		gap = at
	}
	clear(s.words[gap : gap+stride])
}
