package strikes

import (
	"sync"
	"time"
)

// Bounds of one offence's tally. Subjects share a set by their hash; in a full set the one with the
// fewest strikes makes room, so that a crowd of newcomers cannot flush those who are nearly banned.
const (
	tallySets  = 8192
	tallyWays  = 8
	tallyLocks = 256

	// MaxTracked is how many subjects of one offence are counted at once: 1.5 MB when all are.
	MaxTracked = tallySets * tallyWays
)

// entry is one subject's open window; free when it is over.
type entry struct {
	key   uint64
	until int64 // end of the window
	count int32
}

// tally counts strikes by key.
type tally struct {
	locks [tallyLocks]struct {
		sync.Mutex
		_ [56]byte // keeps neighbours off one cache line
	}
	sets [][tallyWays]entry
}

func newTally() *tally { return &tally{sets: make([][tallyWays]entry, tallySets)} }

// strike counts one and reports whether it is the one that bans, after which the key begins anew.
// forgot: another key whose window was still open was dropped for it.
func (t *tally) strike(key uint64, now int64, count int, window time.Duration) (bans, forgot bool) {
	number := key % tallySets
	lock := &t.locks[number%tallyLocks]
	lock.Lock()
	defer lock.Unlock()
	set := &t.sets[number]
	e := &set[0]
	for i := range set {
		at := &set[i]
		if at.key == key && at.until > now {
			e = at
			break
		}
		if e.until > now && (at.until <= now || at.count < e.count) {
			e = at
		}
	}
	if e.key != key || e.until <= now {
		forgot = e.until > now
		*e = entry{key: key, until: now + int64(window)}
	}
	e.count++
	if int(e.count) < count {
		return false, forgot
	}
	*e = entry{}
	return true, forgot
}
