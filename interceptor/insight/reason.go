package insight

import (
	"maps"
	"sync"
	"sync/atomic"
)

// MaxReasons bounds the different reasons that users' refusals are told apart by. Beyond half of it, new
// ones are recorded without their detail, and beyond the whole as the empty reason.
const MaxReasons = 4096

// Reason is what a request was refused with. Its texts are kept and must not be changed later.
type Reason struct {
	Code   string // the refusal's code
	Stage  string // of the chain that refused
	Route  string // of the table; "" before one was found
	Detail string // what the caller was told besides, or ""
}

// reasons gives each reason a number, so that a user's record of it needs no pointers.
type reasons struct {
	known atomic.Pointer[catalogue] // replaced when a reason is new
	mu    sync.Mutex                // held while replacing
}

// catalogue does not change. Number 0 is the empty reason, which stands for those beyond MaxReasons.
type catalogue struct {
	numbers map[Reason]uint32
	list    []*reasonEntry
}

type reasonEntry struct {
	Reason
	recent *ring // shared by all reasons of one code
}

func newReasons() *reasons {
	r := &reasons{}
	other := &reasonEntry{recent: &ring{}}
	r.known.Store(&catalogue{numbers: map[Reason]uint32{{}: 0}, list: []*reasonEntry{other}})
	return r
}

// number finds a reason or makes it known.
func (r *reasons) number(reason Reason) uint32 {
	if n, there := r.known.Load().numbers[reason]; there {
		return n
	}
	return r.learn(reason)
}

func (r *reasons) learn(reason Reason) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.known.Load()
	if len(old.list) >= MaxReasons/2 {
		reason.Detail = ""
	}
	if n, there := old.numbers[reason]; there || len(old.list) >= MaxReasons {
		return n
	}
	entry := &reasonEntry{Reason: reason}
	for _, other := range old.list[1:] {
		if other.Code == reason.Code {
			entry.recent = other.recent
			break
		}
	}
	if entry.recent == nil {
		entry.recent = &ring{}
	}
	next := &catalogue{numbers: maps.Clone(old.numbers), list: append(old.list[:len(old.list):len(old.list)], entry)}
	next.numbers[reason] = uint32(len(old.list))
	r.known.Store(next)
	return uint32(len(old.list))
}

// entry is the reason of a number that was given out.
func (r *reasons) entry(number uint32) *reasonEntry { return r.known.Load().list[number] }
