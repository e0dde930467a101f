package ratelimit

import "sync"

// InFlight counts what is under way by key. It holds as many keys as there are requests, and forgets
// each when its last request ends. It is safe for concurrent use.
type InFlight struct {
	shards [shardCount]inFlightShard
}

// inFlightShard holds records of a key and its requests.
type inFlightShard struct {
	mu sync.Mutex
	table
	_ [24]byte // a cache line each
}

const inFlightStride = 2

// Enter counts a request, and gives how many others of its key are under way.
func (f *InFlight) Enter(key uint64) (others int) {
	word, shard := place(key)
	sh := &f.shards[shard]
	sh.mu.Lock()
	at := sh.find(word, inFlightStride)
	if at < 0 {
		at = sh.insert(word, inFlightStride)
	}
	others = int(sh.words[at+1])
	sh.words[at+1]++
	sh.mu.Unlock()
	return others
}

// Leave ends what Enter counted.
func (f *InFlight) Leave(key uint64) {
	word, shard := place(key)
	sh := &f.shards[shard]
	sh.mu.Lock()
	at := sh.find(word, inFlightStride)
	if sh.words[at+1]--; sh.words[at+1] == 0 {
		sh.remove(at, inFlightStride)
		if sh.used == 0 && len(sh.words) > inFlightKept*inFlightStride {
			sh.words = nil // a crowd that is gone
		}
	}
	sh.mu.Unlock()
}

// inFlightKept is of how many keys a shard keeps the memory while nothing is under way.
const inFlightKept = 64

// Each calls do with each key of which something is under way. do is called under a lock and must not
// call back.
func (f *InFlight) Each(do func(key uint64)) {
	for i := range f.shards {
		sh := &f.shards[i]
		sh.mu.Lock()
		for at := 0; at < len(sh.words); at += inFlightStride {
			if sh.words[at] != 0 {
				do(uint64(sh.words[at]))
			}
		}
		sh.mu.Unlock()
	}
}
