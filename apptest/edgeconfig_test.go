//go:build unix

package apptest

import (
	"testing"

	"headgate.example/apptest/edges"
)

// Edges that are configured alike agree, though each has its own name and addresses; one that is not
// stands out at every other, until it is alike again.
func TestDifferingConfigsStandOut(t *testing.T) {
	const before, after = "rate: 10, burst: 20", "rate: 11, burst: 20"
	c := edges.New(t, edges.Spec{Bin: bin, Edges: 3, Limits: "{user_bucket: {" + before + "}}"})
	for _, e := range c.Edges {
		e.Start()
	}
	waitFor(t, patience, "the edges agree", func() bool { return edges.Agreed(c.Edges...) })

	odd, others := c.Edges[1], []*edges.Edge{c.Edges[0], c.Edges[2]}
	odd.Reload(before, after)
	for _, e := range others {
		waitFor(t, patience, "another config is seen at "+e.Name, func() bool {
			ring, err := e.Ring()
			if err != nil || ring.Agreed {
				return false
			}
			hashes := map[string]string{}
			for _, m := range ring.Members {
				hashes[m.Name] = m.ConfigHash
			}
			return hashes[odd.Name] != hashes[e.Name] && hashes[others[0].Name] == hashes[others[1].Name] && e.Metric("headgate_edge_differing_configs ") == 1
		})
	}
	for _, e := range others {
		e.Reload(before, after)
	}
	waitFor(t, patience, "the edges agree again", func() bool { return edges.Agreed(c.Edges...) })
	for _, e := range c.Edges {
		if n := e.Metric("headgate_edge_differing_configs "); n != 0 {
			t.Errorf("%s still counts %v configs that differ", e.Name, n)
		}
	}
}
