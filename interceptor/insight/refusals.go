package insight

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Bounds of the refusals that are kept in full.
const (
	// RingSize is how many of one code: a flood of one code leaves the others'.
	RingSize = 256
	// RingRate is how many of one code in each millisecond: of a flood, what is kept stretches over 64 ms at
	// least, and most of it is turned away by one atomic read.
	RingRate = 4
)

// Refusal is one refused request.
type Refusal struct {
	At      int64  // milliseconds since 1970
	Request uint64 // its number at this node
	User    string // "" when nobody was proven; kept, so that it must not be changed later
	Address netip.Addr
	Reason
}

// Refusals are the last refused requests: of each code in full, and of each user by reason. It is safe
// for concurrent use.
type Refusals struct {
	reasons *reasons
	users   *users
}

// NewRefusals keeps the reasons of at most so many users (rounded up to a power of two, 1024 at least).
func NewRefusals(maxUsers int) *Refusals {
	return &Refusals{reasons: newReasons(), users: newUsers(maxUsers)}
}

// Add records a refusal.
func (r *Refusals) Add(refusal *Refusal) {
	var entry *reasonEntry
	if refusal.User != "" {
		entry = r.users.add(refusal, r.reasons)
	} else {
		entry = r.reasons.entry(r.reasons.number(refusal.Reason))
	}
	entry.recent.add(refusal)
}

const ringBits = 3 // RingRate is below 1<<ringBits

// ring holds the last refusals of one code.
type ring struct {
	millis atomic.Int64 // of the latest, and in the low bits how many were in it
	mu     sync.Mutex
	next   int
	kept   []Refusal // grows to RingSize once
}

// add is left out beyond RingRate, and where another request records at the same instant: nobody waits to be
// remembered.
func (r *ring) add(refusal *Refusal) {
	latest := r.millis.Load()
	next := refusal.At<<ringBits + 1
	if latest>>ringBits == refusal.At {
		next = latest + 1
	}
	if next&(1<<ringBits-1) > RingRate || !r.millis.CompareAndSwap(latest, next) || !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	if len(r.kept) < RingSize {
		if r.kept == nil {
			r.kept = make([]Refusal, 0, RingSize)
		}
		r.kept = append(r.kept, *refusal)
		return
	}
	r.kept[r.next] = *refusal
	r.next = (r.next + 1) % RingSize
}

// Query chooses refusals; what is empty chooses all.
type Query struct {
	User    string
	Network netip.Prefix // that holds the address
	Code    string
	Limit   int // at least 1
}

// Takes reports whether the query chooses a refusal.
func (q *Query) Takes(refusal *Refusal) bool {
	return (q.User == "" || q.User == refusal.User) && (q.Code == "" || q.Code == refusal.Code) &&
		(!q.Network.IsValid() || q.Network.Contains(refusal.Address))
}

// Recent gives refusals in full, the latest first.
func (r *Refusals) Recent(q Query) []Refusal {
	var list []Refusal
	seen := make(map[*ring]bool)
	for _, entry := range r.reasons.known.Load().list {
		if seen[entry.recent] || q.Code != "" && q.Code != entry.Code {
			continue
		}
		seen[entry.recent] = true
		list = entry.recent.appendTo(list, &q)
	}
	slices.SortFunc(list, func(a, b Refusal) int { return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Request, a.Request)) })
	return list[:min(q.Limit, len(list))]
}

func (r *ring) appendTo(list []Refusal, q *Query) []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.kept {
		if q.Takes(&r.kept[i]) {
			list = append(list, r.kept[i])
		}
	}
	return list
}
