package replica

import (
	"crypto/rand"
	"fmt"
	"net"
	"strings"

	"github.com/hashicorp/raft"

	"headgate.example/lib/config"
	"headgate.example/lib/sale"
)

// MaxVoters of one shard.
const MaxVoters = 7

// Voter is one member of the log's quorum.
type Voter struct {
	ID     string // never used again for another folder
	Raft   string // host:port for the other voters
	Client string // host:port where this voter answers RESP
}

// Check reports every field that is wrong.
func (v *Voter) Check(p *config.Problems) {
	if sale.CheckName("id", v.ID) != nil {
		p.Addf("id", "must be 1 to %d letters, digits, dots, underscores or hyphens, is %q", sale.MaxSaleIDBytes, v.ID)
	}
	for _, a := range [...]struct{ field, address string }{{"raft", v.Raft}, {"client", v.Client}} {
		if host, port, err := net.SplitHostPort(a.address); err != nil || host == "" || port == "" || strings.ContainsAny(a.address, "/ \r\n") || len(a.address) > 256 {
			p.Addf(a.field, "must be host:port as the others reach it, is %q", a.address)
		}
	}
}

// peer is a voter as raft's configuration keeps it: the address carries all of it, so that every voter
// knows where the others answer clients, and which folder a voter's id belongs to.
type peer struct {
	Voter
	// folder is the random name of the voter's data folder, "" while no leader has seen it. Another
	// folder under the same id is a voter that has forgotten what it promised.
	folder string
}

// address is how raft knows the peer.
func (p peer) address() raft.ServerAddress {
	return raft.ServerAddress(strings.Join([]string{p.ID, p.Raft, p.Client, p.folder}, "/"))
}

// readPeer reads what address wrote. A lone voter without a network has an address of raft's own.
func readPeer(s raft.Server) peer {
	if p, ok := parseAddress(s.Address); ok {
		return p
	}
	return peer{Voter: Voter{ID: string(s.ID), Raft: string(s.Address)}}
}

func parseAddress(a raft.ServerAddress) (peer, bool) {
	parts := strings.Split(string(a), "/")
	if len(parts) != 4 {
		return peer{}, false
	}
	return peer{Voter: Voter{ID: parts[0], Raft: parts[1], Client: parts[2]}, folder: parts[3]}, true
}

// newFolderName tells a voter's folder from any other it might have been given later.
func newFolderName() string { return strings.ToLower(rand.Text()[:16]) }

// servers is the log's newest configuration, committed or not.
func (r *Replica) servers() []raft.Server { return r.raft.GetConfiguration().Configuration().Servers }

// own is this voter as it is configured, which the log may not say yet.
func (r *Replica) own() peer {
	for _, v := range r.cfg.Voters {
		if v.ID == r.id.Voter {
			return peer{Voter: v, folder: r.id.Folder}
		}
	}
	return peer{Voter: Voter{ID: r.id.Voter}, folder: r.id.Folder}
}

// clientOf is the RESP address of a voter, "" when unknown.
func (r *Replica) clientOf(id string) string {
	for _, s := range r.servers() {
		if string(s.ID) == id {
			if p := readPeer(s); p.Client != "" {
				return p.Client
			}
		}
	}
	for _, v := range r.cfg.Voters {
		if v.ID == id {
			return v.Client
		}
	}
	return ""
}

// CheckVoters reports what is wrong with a shard's list of voters, of which id is to be one.
func CheckVoters(p *config.Problems, voters []Voter, id string) {
	if len(voters) > MaxVoters {
		p.Addf("voters", "must be at most %d, are %d", MaxVoters, len(voters))
	}
	used := make(map[string]string)
	known := false
	for i := range voters {
		field := fmt.Sprintf("voters[%d]", i)
		v := &voters[i]
		v.Check(p.In(field))
		known = known || v.ID == id
		for _, what := range [...]struct{ field, value string }{{"id", "id " + v.ID}, {"raft", v.Raft}, {"client", v.Client}} {
			if other := used[what.value]; other != "" {
				p.Addf(field+"."+what.field, "is that of %s already", other)
			}
			used[what.value] = field
		}
	}
	switch {
	case len(voters) == 0:
	case id == "":
		p.Addf("voter_id", "must say which of the voters this one is")
	case !known:
		p.Addf("voter_id", "%q is not among the voters", id)
	}
}
