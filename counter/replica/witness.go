package replica

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// wire is what raft needs of a transport here.
type wire interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// witness notes when the messages began that other voters have answered for this leader. raft's
// VerifyLeader also counts an answer to a heartbeat that was sent before the question: after a pause
// of this process that answer may be old, and another leader may have been elected since.
type witness struct {
	wire
	now func() time.Duration // monotonic

	mu   sync.Mutex
	seen map[raft.ServerID]time.Duration // the latest such beginning
}

func newWitness(w wire, now func() time.Duration) *witness {
	return &witness{wire: w, now: now, seen: make(map[raft.ServerID]time.Duration)}
}

// AppendEntries implements raft.Transport. Heartbeats go this way.
func (w *witness) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	began := w.now()
	if err := w.wire.AppendEntries(id, target, args, resp); err != nil {
		return err
	}
	if resp.Term == args.Term { // a later term means that it follows another leader
		w.mu.Lock()
		w.seen[id] = max(began, w.seen[id])
		w.mu.Unlock()
	}
	return nil
}

// quorumSince reports whether most voters, self included, have followed this leader at some moment
// after since.
func (w *witness) quorumSince(since time.Duration, servers []raft.Server, self raft.ServerID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	voters, agreed := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if began, ok := w.seen[s.ID]; s.ID == self || ok && began >= since {
			agreed++
		}
	}
	return agreed > voters/2
}

// confirmLeader asks the other voters until most of them have answered a message that began after the
// call. One answer of each may be to an older message, so so many tries suffice.
func (r *Replica) confirmLeader() (began time.Duration, err error) {
	began = r.cfg.Monotonic()
	servers := r.servers()
	for range len(servers) + 1 {
		if err := r.raft.VerifyLeader().Error(); err != nil {
			return 0, err
		}
		if r.trans.quorumSince(began, servers, raft.ServerID(r.id.Voter)) {
			return began, nil
		}
	}
	return 0, raft.ErrLeadershipLost
}
