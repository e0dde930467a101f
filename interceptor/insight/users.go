package insight

import (
	"cmp"
	"hash/maphash"
	"math"
	"net/netip"
	"slices"
	"sync"
)

// Bounds of what is kept of the users. They share a set by their hash; in a full set the one who was refused
// longest ago is forgotten, unless there is room for more sets.
const (
	userWays   = 4
	userShards = 256

	// ReasonsPerUser is how many different reasons of one user are kept, the latest.
	ReasonsPerUser = 3
)

// UserReason is why a user was refused, and how often in a row with no other reason between.
type UserReason struct {
	Last Refusal // the latest
	// Times is 1 or more, counted up to 65535.
	Times int
}

// users holds the last reasons of each user, 144 bytes a user and no pointers, so that a million users cost
// the garbage collector nothing. Memory follows the users, so that few of them stay near the processor.
type users struct {
	seed    maphash.Seed
	maxSets int // of a shard
	shards  [userShards]userShard
}

type userShard struct {
	sync.Mutex
	common uint32    // the reason that was recorded last: most of a crowd is refused with the same
	sets   []userSet // a power of two
	_      [24]byte
}

// userSet begins with what a search needs, in one cache line; a user's latest reason is in another.
type userSet struct {
	keys [userWays]uint64 // 0: free
	at   [userWays]int64  // the users' latest refusals
	last [userWays]struct {
		reasons [ReasonsPerUser]reasonRecord
		_       [8]byte
	}
}

// reasonRecord is free when times is 0. The first of a user is the latest.
type reasonRecord struct {
	at      int64
	request uint64
	address [16]byte
	reason  uint32
	times   uint16
	family  uint16 // bits of the address, 0 for none
}

// newUsers makes room for so many users, rounded up to a power of two, 1024 at least.
func newUsers(limit int) *users {
	u := &users{seed: maphash.MakeSeed(), maxSets: 1}
	for u.maxSets*userShards*userWays < limit {
		u.maxSets *= 2
	}
	for i := range u.shards {
		u.shards[i].sets = make([]userSet, 1)
	}
	return u
}

func (u *users) key(user string) uint64 { return max(1, maphash.String(u.seed, user)) }

func (u *users) shard(key uint64) *userShard { return &u.shards[key%userShards] }

func (s *userShard) set(key uint64) *userSet {
	return &s.sets[key/userShards%uint64(len(s.sets))]
}

// add records a user's refusal and gives its reason's entry.
func (u *users) add(refusal *Refusal, known *reasons) *reasonEntry {
	key := u.key(refusal.User)
	s := u.shard(key)
	s.Lock()
	defer s.Unlock()
	entry := known.entry(s.common)
	if entry.Reason != refusal.Reason { // mostly the same texts: equal by their pointers
		s.common = known.number(refusal.Reason)
		entry = known.entry(s.common)
	}
	set := s.set(key)
	way := set.find(key)
	for way < 0 && len(s.sets) < u.maxSets {
		s.grow()
		set = s.set(key)
		way = set.find(key)
	}
	if way < 0 {
		way = set.oldest()
	}
	list := &set.last[way].reasons
	if set.keys[way] != key {
		set.keys[way], *list = key, [ReasonsPerUser]reasonRecord{}
	}
	times := list[0].times
	if times == 0 || list[0].reason != s.common {
		times = 0
		copy(list[1:], list[:ReasonsPerUser-1])
	}
	set.at[way] = refusal.At
	list[0] = reasonRecord{at: refusal.At, request: refusal.Request, reason: s.common, times: min(times, math.MaxUint16-1) + 1,
		address: refusal.Address.As16(), family: uint16(refusal.Address.BitLen())}
	return entry
}

// grow makes two sets of each. It is called with the lock, and copies 74 KB at most where 100,000 users are kept.
func (s *userShard) grow() {
	old := s.sets
	s.sets = make([]userSet, 2*len(old))
	for i := range old {
		from := &old[i]
		for way, key := range from.keys {
			if key != 0 {
				to := s.set(key)
				free := to.find(0)
				to.keys[free], to.at[free], to.last[free] = key, from.at[way], from.last[way]
			}
		}
	}
}

// find gives the user's place in the set, or a free one; -1: it is full of others. Of the key 0 it gives a free one.
func (set *userSet) find(key uint64) int {
	free := -1
	for i := range userWays {
		switch set.keys[i] {
		case key:
			return i
		case 0:
			free = i
		}
	}
	return free
}

// oldest is the place of whoever was refused longest ago.
func (set *userSet) oldest() int {
	oldest := 0
	for i := range userWays {
		if set.at[i] < set.at[oldest] {
			oldest = i
		}
	}
	return oldest
}

// OfUser gives why a user was refused of late, the latest first; nothing when he was not, or was
// forgotten for others.
func (r *Refusals) OfUser(user string) (list []UserReason) {
	u := r.users
	key := u.key(user)
	s := u.shard(key)
	s.Lock()
	defer s.Unlock()
	set := s.set(key)
	for way := range userWays {
		if set.keys[way] != key {
			continue
		}
		for _, e := range set.last[way].reasons {
			if e.times == 0 {
				continue
			}
			last := Refusal{At: e.at, Request: e.request, User: user, Reason: r.reasons.entry(e.reason).Reason}
			switch e.family {
			case 32:
				last.Address = netip.AddrFrom16(e.address).Unmap()
			case 128:
				last.Address = netip.AddrFrom16(e.address)
			}
			list = append(list, UserReason{Last: last, Times: int(e.times)})
		}
	}
	slices.SortStableFunc(list, func(a, b UserReason) int { return cmp.Compare(b.Last.At, a.Last.At) })
	return list
}
