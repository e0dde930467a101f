package peers

import (
	"fmt"
	"time"

	"headgate.example/hashring"
)

// The states of a member in a Report.
const (
	StateServing  = "serving"
	StateDraining = "draining" // alive, and leaving the ring
	StateJoining  = "joining"  // has not heard from its peers yet
	StateDead     = "dead"
)

// Report is what a node knows of the ring, for operators.
type Report struct {
	Self    string         `json:"self"`
	Epoch   string         `json:"epoch"`
	Pending int            `json:"pending_partitions"` // whose budgets are on their way here
	Careful int            `json:"careful_partitions"` // whose budgets died with their owner a moment ago
	Members []MemberReport `json:"members"`
	// Agreed: all live nodes have the same ring and the same configuration.
	Agreed bool `json:"agreed"`
}

// MemberReport is one edge of the config.
type MemberReport struct {
	Name       string  `json:"name"`
	Address    string  `json:"address,omitempty"`
	State      string  `json:"state"`
	Share      float64 `json:"share"` // of all users, 0 to 1
	Epoch      string  `json:"epoch,omitempty"`
	ConfigHash string  `json:"config_hash,omitempty"`
	UnderWay   int     `json:"hops_under_way"`          // sent there and not answered
	HeardMsAgo int64   `json:"heard_ms_ago,omitempty"`  // since its last answer
	Cause      string  `json:"not_connected,omitempty"` // why

	// Differs says in what a live node's ring or configuration is another one than that of the node which reports,
	// DiffersMs for how long that one has seen it. While nodes are restarted in turn with a new list of peers, or take a
	// new configuration one after the other, those that have it differ from those that do not yet.
	Differs   []string `json:"differs,omitempty"`
	DiffersMs int64    `json:"differs_ms,omitempty"`
}

// Report tells the state of all edges as this node sees it.
func (s *Set) Report() Report {
	now := s.clock()
	v := s.view.Load()
	r := Report{Self: s.self, Epoch: fmt.Sprintf("%016x", v.epoch), Agreed: true}
	shares := map[string]float64{}
	if v.ring != nil {
		for _, share := range v.ring.Shares() {
			shares[share.Member] = share.Share
		}
	}
	for p := range v.parts {
		if v.parts[p].state == partPending {
			r.Pending++
		}
		if v.parts[p].state == partReady && now.Before(v.parts[p].careful) {
			r.Careful++
		}
	}
	all, heard := r.look(s, v, shares, now)
	r.tell(heard, v, all)
	return r
}

// look adds the members as they are at this moment, and gives the names of all nodes and the words of those that live.
func (r *Report) look(s *Set, v *view, shares map[string]float64, now time.Time) (all []string, heard map[string]*peerWord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := MemberReport{Name: s.self, State: StateServing, Share: shares[s.self], Epoch: r.Epoch, ConfigHash: s.configHash()}
	switch {
	case s.draining:
		own.State = StateDraining
	case s.joining:
		own.State = StateJoining
	}
	placed := false
	all, heard = []string{s.self}, make(map[string]*peerWord)
	for _, m := range s.members {
		if !placed && own.Name < m.name {
			r.Members, placed = append(r.Members, own), true
		}
		other := m.report(now, shares[m.name])
		if m.alive && v.ring != nil {
			heard[m.name] = m.status.Load()
		}
		if !m.differs.IsZero() {
			other.DiffersMs = now.Sub(m.differs).Milliseconds()
		}
		r.Agreed = r.Agreed && (!m.alive || v.ring != nil && other.Epoch != "")
		all = append(all, m.name)
		r.Members = append(r.Members, other)
	}
	if !placed {
		r.Members = append(r.Members, own)
	}
	return all, heard
}

// ConfigHash is this node's own.
func (r *Report) ConfigHash() string {
	for i := range r.Members {
		if r.Members[i].Name == r.Self {
			return r.Members[i].ConfigHash
		}
	}
	return ""
}

// report is one member's part, with the Set's lock held.
func (m *member) report(now time.Time, share float64) MemberReport {
	r := MemberReport{Name: m.name, Address: m.address, State: StateDead, Share: share}
	if m.alive {
		if r.State = StateServing; m.draining {
			r.State = StateDraining
		}
		r.HeardMsAgo = now.Sub(m.heard).Milliseconds()
	} else if m.cause != nil {
		r.Cause = m.cause.Error()
	}
	if word := m.status.Load(); word != nil && m.alive {
		r.Epoch, r.ConfigHash = fmt.Sprintf("%016x", word.epoch), word.configHash
	}
	if links := m.links.Load(); links != nil {
		for _, l := range *links {
			r.UnderWay += l.underWay()
		}
	}
	return r
}

// OwnerIn is the node that owns a key in a ring of nodes.
func OwnerIn(ring *hashring.Ring, key uint64) string {
	return ring.Members()[ring.PartitionOwner(partitionOf(key))]
}

// OwnerName is the node that owns a key, as this node's ring has it.
func (s *Set) OwnerName(key uint64) string {
	if owner := s.view.Load().parts[partitionOf(key)].owner; owner != nil {
		return owner.name
	}
	return s.self
}

// Self is this node's name.
func (s *Set) Self() string { return s.self }

// Alone reports whether the config has no other edge.
func (s *Set) Alone() bool { return s.alone }

// Ring is the current ring; nil while the node has not heard from its peers.
func (s *Set) Ring() *hashring.Ring { return s.view.Load().ring }

// Live is how many edges the ring has, and how many the config.
func (s *Set) Live() (live, configured int) {
	if ring := s.view.Load().ring; ring != nil {
		live = ring.Len()
	}
	return live, len(s.members) + 1
}
