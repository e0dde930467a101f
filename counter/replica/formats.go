package replica

import (
	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// newestFormat is the newest version that log entries may be written in: all of the log's servers, those
// without a vote too, are known to read it. Commands are encoded for the log before anybody knows whose
// term they will come into, so it is the same whether this voter leads or not.
func (r *Replica) newestFormat() int { return int(r.newest.Load()) }

// noteFormat finds the newest format anew, after each look at the others and each change of the servers. It rises
// only while all of them answer: one that is away may come back with an older program. Once it has risen, that one
// could not go on with the log anyway.
func (r *Replica) noteFormat() {
	if r.net == nil {
		return // nobody else, or voters of one process
	}
	// Under the lock the servers are not older than those that another caller has looked at before.
	r.members.mu.Lock()
	servers, before := r.servers(), int(r.newest.Load())
	newest := readByAll(servers, r.id.Voter, r.members.reads)
	if newest > before && !r.members.seen(servers, r.id.Voter, r.cfg.Monotonic()) {
		newest = before
	}
	r.newest.Store(int64(newest))
	r.members.mu.Unlock()
	switch {
	case newest > before:
		r.cfg.Log.Info("all voters read log entries of this version: it is written from now on, and an older program cannot go on with this log", "version", newest, "before", before)
	case newest < before:
		r.cfg.Log.Info("not all voters are known to read later log entries: this version is written from now on", "version", newest, "before", before)
	}
}

// mustRead is the entry version that a new voter has to read: this voter may know of what the log holds, but not
// of all voters what they read, so that it writes an older version itself.
func (r *Replica) mustRead() int { return max(r.newestFormat(), int(r.held.Load())) }

// readByAll is the newest entry version that every server reads, the one named own being this program.
func readByAll(servers []raft.Server, own string, reads map[string]int) int {
	if len(servers) == 0 {
		return unsaidVersion // it waits to be brought in
	}
	newest := machine.EntryVersion
	for _, s := range servers {
		if string(s.ID) == own {
			continue
		}
		said, ok := reads[string(s.ID)]
		if !ok {
			said = unsaidVersion
		}
		newest = min(newest, said)
	}
	return newest
}
