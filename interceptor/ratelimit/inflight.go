package ratelimit

import "sync"

// InFlight counts what is under way by key. It holds as many keys as there are requests, and forgets
// each when its last request ends. It is safe for concurrent use.
type InFlight struct {
	shards [shardCount]inFlightShard
}

type inFlightShard struct {
	mu    sync.Mutex
	count map[uint64]int32
}

// Enter counts a request, and gives how many others of its key are under way.
func (f *InFlight) Enter(key uint64) (others int32) {
	sh := &f.shards[key%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.count == nil {
		sh.count = make(map[uint64]int32)
	}
	n := sh.count[key]
	sh.count[key] = n + 1
	return n
}

// Leave ends what Enter counted.
func (f *InFlight) Leave(key uint64) {
	sh := &f.shards[key%shardCount]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if n := sh.count[key]; n > 1 {
		sh.count[key] = n - 1
		return
	}
	delete(sh.count, key)
}

// Each calls do with each key of which something is under way. do is called under a lock and must not
// call back.
func (f *InFlight) Each(do func(key uint64)) {
	for i := range f.shards {
		sh := &f.shards[i]
		sh.mu.Lock()
		for key := range sh.count {
			do(key)
		}
		sh.mu.Unlock()
	}
}
