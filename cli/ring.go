package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"headgate.example/hashring"
	"headgate.example/interceptor"
	"headgate.example/interceptor/peers"
	"headgate.example/lib/config"
)

// RingReport says who owns how much of a ring, and what a change of its members would move.
type RingReport struct {
	Epoch   string            `json:"epoch"`
	Params  hashring.Params   `json:"params"`
	Members []RingShare       `json:"members"`
	Changes []RingChange      `json:"changes,omitempty"`
	Owners  map[string]string `json:"owners,omitempty"` // of the keys that were asked for
}

// RingShare is one member's part of all keys, 0 to 1.
type RingShare struct {
	Member     string  `json:"member"`
	Partitions int     `json:"partitions"`
	Share      float64 `json:"share"`
}

// RingChange is what one join or leave would move.
type RingChange struct {
	Change   string     `json:"change"` // "add NAME" or "remove NAME"
	Share    float64    `json:"share"`  // of all keys that move
	Sideways float64    `json:"sideways"`
	Moves    []RingMove `json:"moves"`
}

// RingMove is the part of all keys, 0 to 1, that goes from one member to another.
type RingMove struct {
	From  string  `json:"from"`
	To    string  `json:"to"`
	Share float64 `json:"share"`
}

// ReportRing reports on a ring of members. Each member to add and to remove is looked at by itself. owner
// gives the owner of a key; nil: the ring's own, which is that of the counter's shards.
func ReportRing(members []string, params hashring.Params, add, remove, keys []string, owner func(*hashring.Ring, string) string) (RingReport, error) {
	ring, err := hashring.New(members, params)
	if err != nil {
		return RingReport{}, fmt.Errorf("members: %w", err)
	}
	report := RingReport{Epoch: ring.Epoch(), Params: ring.Params()}
	for _, s := range ring.Shares() {
		report.Members = append(report.Members, RingShare{s.Member, s.Partitions, s.Share})
	}
	for _, name := range add {
		other, err := ring.With(name)
		if err != nil {
			return RingReport{}, fmt.Errorf("--add %s: %w", name, err)
		}
		if err := report.change("add "+name, ring, other); err != nil {
			return RingReport{}, err
		}
	}
	for _, name := range remove {
		other, err := ring.Without(name)
		if err != nil {
			return RingReport{}, fmt.Errorf("--remove %s: %w", name, err)
		}
		if err := report.change("remove "+name, ring, other); err != nil {
			return RingReport{}, err
		}
	}
	if owner == nil {
		owner = (*hashring.Ring).Owner
	}
	for _, key := range keys {
		if report.Owners == nil {
			report.Owners = make(map[string]string, len(keys))
		}
		report.Owners[key] = owner(ring, key)
	}
	return report, nil
}

// LoadRing reads from a config who the members of a ring are: of an interceptor's, its peers; of the config
// of all layers, the counter's shards, or with edges the interceptor's peers. owner is for ReportRing.
func LoadRing(path string, edges bool) (members []string, owner func(*hashring.Ring, string) string, err error) {
	kind, err := GuessKind(path)
	if err != nil {
		return nil, nil, err
	}
	var edge interceptor.Config
	switch kind {
	case "interceptor":
		edge = interceptor.DefaultConfig()
		if err := config.Load(path, &edge); err != nil {
			return nil, nil, err
		}
	case "headgate":
		cfg, err := LoadConfig(path)
		if err != nil {
			return nil, nil, err
		}
		if !edges {
			return cfg.ShardNames(), nil, nil
		}
		edge = cfg.Interceptor
	default:
		return nil, nil, fmt.Errorf("%s is the config of a %s: want that of an interceptor, or of all layers", path, kind)
	}
	keys := edge.UserKeys()
	return edge.PeerNames(), func(r *hashring.Ring, user string) string { return peers.OwnerIn(r, keys.User(user)) }, nil
}

func (r *RingReport) change(what string, from, to *hashring.Ring) error {
	moved, err := hashring.Moves(from, to)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	c := RingChange{Change: what, Share: moved.Share, Sideways: moved.Sideways, Moves: []RingMove{}}
	for _, m := range moved.Moves {
		c.Moves = append(c.Moves, RingMove{m.From, m.To, m.Share})
	}
	r.Changes = append(r.Changes, c)
	return nil
}

// WriteTable writes the report for people.
func (r *RingReport) WriteTable(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "epoch %s: %d partitions, %d replicas, load %.2f\n\n", r.Epoch, r.Params.Partitions, r.Params.Replicas, r.Params.Load)
	fmt.Fprintf(out, "MEMBER\tPARTITIONS\tSHARE\n")
	for _, m := range r.Members {
		fmt.Fprintf(out, "%s\t%d\t%.1f %%\n", m.Member, m.Partitions, 100*m.Share)
	}
	for _, c := range r.Changes {
		fmt.Fprintf(out, "\n%s would move %.1f %% of the keys (%.1f %% between members that stay)\n", c.Change, 100*c.Share, 100*c.Sideways)
		for _, m := range c.Moves {
			fmt.Fprintf(out, "  %s\t-> %s\t%.1f %%\n", m.From, m.To, 100*m.Share)
		}
	}
	if len(r.Owners) > 0 {
		fmt.Fprintf(out, "\nKEY\tOWNER\n")
		for _, key := range sortedKeys(r.Owners) {
			fmt.Fprintf(out, "%s\t%s\n", key, r.Owners[key])
		}
	}
	return out.Flush()
}
