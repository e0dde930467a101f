package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
	"headgate.example/lib/config"
)

const (
	probeEvery    = time.Second
	probeKept     = 5 * time.Second // then a voter that does not answer counts as away
	changeTimeout = 5 * time.Second // for raft to take a change of the voters over
	// promoteWithin is how many entries a new voter may be behind when it gets its vote: until then it
	// only listens, so that a quorum never waits for its snapshot.
	promoteWithin = 1000
	// MaxClockOffset between voters' wall clocks; beyond it sales would open and end at another moment
	// after the next election.
	MaxClockOffset = 250 * time.Millisecond
)

// Member is a voter of the shard as another one sees it.
type Member struct {
	Voter
	Votes     bool   // false: it still catches up
	Leads     bool   // as far as this voter knows
	Reachable bool   // answered in the last seconds, from the folder that the log knows
	Applied   uint64 // the entries it has applied, when it last answered
	// ClockOffset is by how much its wall clock is ahead of this one's for certain: half the round
	// trip is taken off.
	ClockOffset time.Duration
}

// members is what the probes have found, by voter id.
type members struct {
	mu    sync.Mutex // a leaf
	found map[string]sighting
	reads map[string]int // the newest entry version, as a voter last said; it stands while the voter is away
}

type sighting struct {
	probed
	at     time.Duration // monotonic
	offset time.Duration
}

func newMembers() *members {
	return &members{found: make(map[string]sighting), reads: make(map[string]int)}
}

func (m *members) put(p peer, s sighting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found[p.ID] = s
	if p.checkFound(s.probed) == nil {
		m.reads[p.ID] = s.reads
	}
}

// join notes what a voter reads that is being brought in.
func (m *members) join(id string, reads int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads[id] = reads
}

// get gives what is known of a voter, if it is recent.
func (m *members) get(id string, now time.Duration) (sighting, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.found[id]
	return s, ok && now-s.at < probeKept
}

// forget makes everybody unseen, for those who want to know it now. A voter's program does not read less
// for that.
func (m *members) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.found)
}

// seen tells whether all servers but the one named own have answered in the last two rounds. The caller has the lock.
func (m *members) seen(servers []raft.Server, own string, now time.Duration) bool {
	return !slices.ContainsFunc(servers, func(s raft.Server) bool {
		p := readPeer(s)
		found, ok := m.found[p.ID]
		return p.ID != own && (!ok || now-found.at >= 2*probeEvery || p.checkFound(found.probed) != nil)
	})
}

// keep forgets voters that are no more.
func (m *members) keep(servers []raft.Server) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := func(id string) bool {
		return !slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == id })
	}
	maps.DeleteFunc(m.found, func(id string, _ sighting) bool { return gone(id) })
	maps.DeleteFunc(m.reads, func(id string, _ int) bool { return gone(id) })
}

// Members lists the shard's voters, as the log knows them.
func (r *Replica) Members() []Member {
	_, leader := r.raft.LeaderWithID()
	now := r.cfg.Monotonic()
	var list []Member
	for _, s := range r.servers() {
		p := readPeer(s)
		m := Member{Voter: p.Voter, Votes: s.Suffrage == raft.Voter, Leads: s.ID == leader}
		m.ID, m.Client = string(s.ID), r.clientOf(string(s.ID))
		if m.ID == r.id.Voter {
			m.Reachable, m.Applied = true, r.raft.AppliedIndex()
		} else if seen, ok := r.members.get(m.ID, now); ok {
			m.Reachable, m.Applied, m.ClockOffset = p.checkFound(seen.probed) == nil, seen.applied, seen.offset
		}
		list = append(list, m)
	}
	return list
}

// folderOf is the folder that the log knows for a voter.
func (r *Replica) folderOf(id string) string {
	for _, s := range r.servers() {
		if string(s.ID) == id {
			return readPeer(s).folder
		}
	}
	return ""
}

// membersLoop asks the other voters how they are; a leader also writes into the log what it has
// learned, and gives new voters their vote.
func (r *Replica) membersLoop() {
	if r.net == nil {
		<-r.stop
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(r.net.ctx, cancel)()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		r.lookAround(ctx)
		if r.tenure.Load() != nil {
			if err := r.settleMembers(); err != nil {
				r.cfg.Log.Warn("the shard's voters could not be changed", "error", err)
			}
		}
		if r.raft.LastIndex() > 0 {
			if err := r.rememberLog(); err != nil {
				r.cfg.Log.Error("the folder could not be marked as holding a log", "error", err)
			}
		}
		select {
		case <-tick.C:
		case <-r.stop:
			return
		}
	}
}

func (r *Replica) lookAround(ctx context.Context) {
	servers := r.servers()
	r.members.keep(servers)
	var asked sync.WaitGroup
	for _, s := range servers {
		p := readPeer(s)
		if p.ID == r.id.Voter {
			continue
		}
		asked.Go(func() {
			before, began := time.Now(), r.wall.millis()
			found, err := r.net.probe(ctx, p.Raft)
			if err != nil {
				return
			}
			trip := time.Since(before)
			off := time.Duration(found.wall-began)*time.Millisecond - trip/2
			if margin := trip/2 + time.Millisecond; off > 0 {
				off = max(0, off-margin)
			} else {
				off = min(0, off+margin)
			}
			r.members.put(p, sighting{probed: found, at: r.cfg.Monotonic(), offset: off})
		})
	}
	asked.Wait()
	r.noteFormat()
}

// settleMembers writes one thing that the log does not know yet: this leader's own addresses, the
// folder of a voter that was first seen, the vote of one that has caught up.
func (r *Replica) settleMembers() error {
	now, applied := r.cfg.Monotonic(), r.raft.AppliedIndex()
	for _, s := range r.servers() {
		p := readPeer(s)
		if string(s.ID) == r.id.Voter {
			if own := r.own(); own.address() != s.Address {
				return r.raft.AddVoter(s.ID, own.address(), 0, changeTimeout).Error()
			}
			continue
		}
		seen, ok := r.members.get(p.ID, now)
		if !ok || p.checkFound(seen.probed) != nil {
			continue
		}
		pinned := p
		pinned.folder = seen.folder
		caughtUp := seen.applied+promoteWithin >= applied
		switch {
		case s.Suffrage == raft.Voter && p.folder == "":
			return r.raft.AddVoter(s.ID, pinned.address(), 0, changeTimeout).Error()
		case s.Suffrage == raft.Nonvoter && caughtUp:
			r.cfg.Log.Info("a new voter has caught up and gets its vote", "voter", p.ID)
			return r.raft.AddVoter(s.ID, pinned.address(), 0, changeTimeout).Error()
		}
	}
	return nil
}

// MemberError is a change of the voters that is refused.
type MemberError struct{ Field, Reason string }

func (e *MemberError) Error() string { return e.Field + ": " + e.Reason }

func refuseMember(field, format string, args ...any) error {
	return &MemberError{field, fmt.Sprintf(format, args...)}
}

// AddVoter brings a new voter in, which must be running with an empty folder, or changes a voter's
// addresses. It returns when the shard knows; the new voter gets its vote when it has caught up.
func (r *Replica) AddVoter(ctx context.Context, v Voter) error {
	if r.net == nil {
		return refuseMember("voters", "this counter runs alone: give it voters, voter_id and raft_listen, and restart it")
	}
	if err := checkNew(&v); err != nil {
		return err
	}
	if r.tenure.Load() == nil {
		return r.notLeading()
	}
	servers := r.servers()
	now, known := peer{Voter: v}, false
	var suffrage raft.ServerSuffrage = raft.Nonvoter
	for _, s := range servers {
		p := readPeer(s)
		switch {
		case p.ID == v.ID:
			now.folder, suffrage, known = p.folder, s.Suffrage, true
			if p.Voter == v {
				return nil
			}
		case p.Raft == v.Raft || p.Client == v.Client:
			return refuseMember("raft", "voter %s has these addresses", p.ID)
		}
	}
	if !known && len(servers) >= MaxVoters {
		return refuseMember("id", "there are %d voters, the most that are allowed", len(servers))
	}
	reads := machine.EntryVersion
	if v.ID != r.id.Voter {
		found, err := r.net.probe(ctx, v.Raft)
		if err != nil {
			return refuseMember("raft", "the new voter does not answer: %v", err)
		}
		if err := now.checkFound(found); err != nil {
			return refuseMember("id", "%v", err)
		}
		if !known && found.last > 0 {
			return refuseMember("id", "voter %s has a log already: a new voter starts on an empty data_dir", v.ID)
		}
		if must := r.mustRead(); !known && found.reads < must {
			return refuseMember("id", "voter %s runs an older program, which reads log entries up to version %d, and the log has version %d: start it with the program that the others run", v.ID, found.reads, must)
		}
		now.folder, reads = found.folder, found.reads
	}
	r.members.join(v.ID, reads)
	defer func() {
		r.members.join(v.ID, reads) // again, since a look around that began before may have forgotten it
		r.noteFormat()
	}()
	if suffrage == raft.Voter {
		return r.changed(r.raft.AddVoter(raft.ServerID(v.ID), now.address(), 0, changeTimeout))
	}
	return r.changed(r.raft.AddNonvoter(raft.ServerID(v.ID), now.address(), 0, changeTimeout))
}

func checkNew(v *Voter) error {
	var p config.Problems
	v.Check(&p)
	if err := p.Err(); err != nil {
		return refuseMember("voter", "%v", err)
	}
	return nil
}

// RemoveVoter takes a voter out for good: its id must not come back. A leader that is to go hands over
// first; the caller then finds the next one.
func (r *Replica) RemoveVoter(ctx context.Context, id string) error {
	if r.net == nil {
		return refuseMember("voters", "this counter runs alone")
	}
	if r.tenure.Load() == nil {
		return r.notLeading()
	}
	r.members.forget()
	r.lookAround(ctx)
	members := r.Members()
	votes, reachable := 0, 0
	found := false
	for _, m := range members {
		switch {
		case m.ID == id:
			found = true
		case m.Votes:
			votes++
			if m.Reachable {
				reachable++
			}
		}
	}
	switch {
	case !found:
		return nil // it is gone already
	case votes == 0:
		return refuseMember("id", "%s is the last voter", id)
	case reachable <= votes/2:
		return refuseMember("id", "without %s only %d of %d voters would answer: bring others up first", id, reachable, votes)
	case id == r.id.Voter:
		if err := r.transfer(); err != nil {
			return notAccepted("the leader could not hand over before it goes: " + err.Error())
		}
		return r.notLeading()
	}
	defer r.noteFormat() // what it did not read counts no more
	return r.changed(r.raft.RemoveServer(raft.ServerID(id), 0, changeTimeout))
}

// changed waits for a change of the voters.
func (r *Replica) changed(f raft.IndexFuture) error {
	switch err := f.Error(); {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return r.notLeading()
	default:
		return fate(err)
	}
}

// Follows is nil when this voter serves, or follows a leader that does; else why not.
func (r *Replica) Follows() error {
	if err := r.Err(); err != nil || r.tenure.Load() != nil {
		return err
	}
	if _, id := r.raft.LeaderWithID(); id != "" && string(id) != r.id.Voter {
		return nil
	}
	if len(r.servers()) == 0 {
		return fmt.Errorf("voter %s waits to be brought in: VOTER.ADD at the leader", r.id.Voter)
	}
	return r.notLeading()
}

// ClockAlarm says which voters' wall clocks differ by more than MaxClockOffset, and whether this one
// differs from most; nil when none does.
func (s Status) ClockAlarm() error {
	others, off := 0, []string(nil)
	for _, m := range s.Members {
		if m.ID == s.Voter || !m.Reachable {
			continue
		}
		others++
		if m.ClockOffset.Abs() > MaxClockOffset {
			off = append(off, fmt.Sprintf("%s by %s", m.ID, m.ClockOffset.Round(time.Millisecond)))
		}
	}
	switch {
	case len(off) == 0:
		return nil
	case len(off) > others/2:
		return fmt.Errorf("this voter's wall clock differs from most others: %v", off)
	}
	return fmt.Errorf("wall clocks of other voters are off: %v", off)
}
