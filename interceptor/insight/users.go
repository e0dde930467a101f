package insight

import (
	"cmp"
	"hash/maphash"
	"math"
	"net/netip"
	"slices"
	"sync"
)

// Bounds of what is kept of the users. They share a set by their hash; in a full set the one who was
// refused longest ago is forgotten.
const (
	userWays = 4
	setLocks = 256

	// ReasonsPerUser is how many different reasons of one user are kept, the latest.
	ReasonsPerUser = 3
)

// UserReason is why a user was refused, and how often in a row with no other reason between.
type UserReason struct {
	Last Refusal // the latest
	// Times is 1 or more, counted up to 65535.
	Times int
}

// users holds the last reasons of each user, 136 bytes a user and no pointers, so that a million users
// cost the garbage collector nothing.
type users struct {
	seed  maphash.Seed
	locks [setLocks]setLock
	sets  []userSet
}

type setLock struct {
	sync.Mutex
	common uint32 // the reason that was recorded last: most of a crowd is refused with the same
	_      [52]byte
}

// userSet begins with what a search needs, in one cache line.
type userSet struct {
	keys [userWays]uint64 // 0: free
	at   [userWays]int64  // the users' latest refusals
	last [userWays][ReasonsPerUser]reasonRecord
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

func newUsers(limit int) *users {
	sets := max(1, (limit+userWays-1)/userWays)
	return &users{seed: maphash.MakeSeed(), sets: make([]userSet, sets)}
}

func (u *users) key(user string) uint64 { return max(1, maphash.String(u.seed, user)) }

// add records a user's refusal and gives its reason's entry.
func (u *users) add(refusal *Refusal, known *reasons) *reasonEntry {
	key := u.key(refusal.User)
	number := key % uint64(len(u.sets))
	lock := &u.locks[number%setLocks]
	lock.Lock()
	defer lock.Unlock()
	entry := known.entry(lock.common)
	if entry.Reason != refusal.Reason { // mostly the same texts: equal by their pointers
		lock.common = known.number(refusal.Reason)
		entry = known.entry(lock.common)
	}
	set := &u.sets[number]
	way := set.find(key)
	list := &set.last[way]
	times := list[0].times
	if times == 0 || list[0].reason != lock.common {
		times = 0
		copy(list[1:], list[:ReasonsPerUser-1])
	}
	set.at[way] = refusal.At
	list[0] = reasonRecord{at: refusal.At, request: refusal.Request, reason: lock.common, times: min(times, math.MaxUint16-1) + 1,
		address: refusal.Address.As16(), family: uint16(refusal.Address.BitLen())}
	return entry
}

// find gives the user's place in the set, or clears one for him.
func (set *userSet) find(key uint64) int {
	oldest := 0
	for i := range userWays {
		if set.keys[i] == key {
			return i
		}
		if set.at[i] < set.at[oldest] {
			oldest = i
		}
	}
	set.keys[oldest] = key
	set.last[oldest] = [ReasonsPerUser]reasonRecord{}
	return oldest
}

// OfUser gives why a user was refused of late, the latest first; nothing when he was not, or was
// forgotten for others.
func (r *Refusals) OfUser(user string) (list []UserReason) {
	u := r.users
	key := u.key(user)
	number := key % uint64(len(u.sets))
	lock := &u.locks[number%setLocks]
	lock.Lock()
	defer lock.Unlock()
	set := &u.sets[number]
	for way := range userWays {
		if set.keys[way] != key {
			continue
		}
		for _, e := range set.last[way] {
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
