package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"headgate.example/hashring"
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
	Change   string     `json:"change"` // "join NAME" or "leave NAME"
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

// ReportRing reports on a ring of members. Each of join and leave is looked at by itself.
func ReportRing(members []string, params hashring.Params, join, leave, keys []string) (RingReport, error) {
	ring, err := hashring.New(members, params)
	if err != nil {
		return RingReport{}, fmt.Errorf("members: %w", err)
	}
	report := RingReport{Epoch: ring.Epoch(), Params: ring.Params()}
	for _, s := range ring.Shares() {
		report.Members = append(report.Members, RingShare{s.Member, s.Partitions, s.Share})
	}
	for _, name := range join {
		other, err := ring.With(name)
		if err != nil {
			return RingReport{}, fmt.Errorf("--join %s: %w", name, err)
		}
		if err := report.change("join "+name, ring, other); err != nil {
			return RingReport{}, err
		}
	}
	for _, name := range leave {
		other, err := ring.Without(name)
		if err != nil {
			return RingReport{}, fmt.Errorf("--leave %s: %w", name, err)
		}
		if err := report.change("leave "+name, ring, other); err != nil {
			return RingReport{}, err
		}
	}
	for _, key := range keys {
		if report.Owners == nil {
			report.Owners = make(map[string]string, len(keys))
		}
		report.Owners[key] = ring.Owner(key)
	}
	return report, nil
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
