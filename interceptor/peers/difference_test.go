package peers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.example/hashring"
	"headgate.example/lib/service/servicetest"
)

func epochOf(t *testing.T, names ...string) uint64 {
	t.Helper()
	ring, err := hashring.New(names, hashring.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := strconv.ParseUint(ring.Epoch(), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return epoch
}

func TestRingDifference(t *testing.T) {
	all := []string{"e1", "e2", "e3", "e4", "e5"}
	live := all[:4]
	for _, c := range []struct {
		other []string
		want  string
	}{
		{[]string{"e1", "e2", "e3"}, "its ring lacks e4"},
		{[]string{"e2", "e4"}, "its ring lacks e1 and e3"},
		{all, "its ring has e5, which this node's lacks"},
		{[]string{"e1", "e2", "e3", "e5"}, "its ring lacks e4 and has e5, which this node's lacks"},
		{[]string{"e1", "e2", "e3", "e4", "e9"}, "its ring has nodes that this node's list of peers does not name, or differs in several"},
		{[]string{"e1"}, "its ring has nodes that this node's list of peers does not name, or differs in several"},
	} {
		if got := ringDifference(epochOf(t, c.other...), live, all); got != c.want {
			t.Errorf("%v: %q, want %q", c.other, got, c.want)
		}
	}
	var many []string
	for i := range hashring.MaxMembers {
		many = append(many, fmt.Sprintf("n%d", i))
	}
	if got := ringDifference(epochOf(t, many[1:]...), many, many); got != "its ring lacks n0" {
		t.Errorf("of %d nodes: %q", len(many), got)
	}
}

// While a longer list of peers goes from node to node, each tells which others do not have it, and since when.
func TestAListOfPeersRollsOut(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2", "edge-3")
	full := c.peers
	c.peers = full[:2]
	c.startAll()
	c.peers = full
	c.kill("edge-1")
	one, _ := c.start("edge-1"), c.start("edge-3")
	two := c.nodes["edge-2"]
	difference := func(n *node, name string) string {
		r := n.Report()
		at := slices.IndexFunc(r.Members, func(m MemberReport) bool { return m.Name == name })
		return r.Members[at].Difference()
	}
	servicetest.Eventually(t, 10*time.Second, "the restarted node says what the other lacks, and for how long", func() bool {
		said := difference(one, "edge-2")
		return strings.HasPrefix(said, "edge-2 differs for ") && strings.HasSuffix(said, ": its ring lacks edge-3")
	})
	servicetest.Eventually(t, 10*time.Second, "the other knows that it lacks something", func() bool {
		return strings.Contains(difference(two, "edge-1"), "nodes that this node's list of peers does not name")
	})
	if r := two.Report(); r.Agreed || r.Odd() {
		t.Errorf("of two others one does not speak to it: agreed %v, odd %v", r.Agreed, r.Odd())
	}
	servicetest.Eventually(t, 10*time.Second, "the new node says why they do not connect", func() bool {
		r := c.nodes["edge-3"].Report()
		at := slices.IndexFunc(r.Members, func(m MemberReport) bool { return m.Name == "edge-2" })
		return strings.Contains(r.Members[at].Cause, "where its list of peers names this node")
	})
	c.kill("edge-2")
	c.start("edge-2")
	c.agree()
	if said := difference(one, "edge-2"); said != "" {
		t.Errorf("afterwards: %q", said)
	}
}

func TestOdd(t *testing.T) {
	report := func(members ...MemberReport) *Report {
		return &Report{Self: "a", Members: append(members, MemberReport{Name: "a", Epoch: "1"})}
	}
	different := []string{"it runs another configuration"}
	for name, c := range map[string]struct {
		r    *Report
		want bool
	}{
		"from two that agree":    {report(MemberReport{Name: "b", Epoch: "2", Differs: different}, MemberReport{Name: "c", Epoch: "2", Differs: different}), true},
		"from two that do not":   {report(MemberReport{Name: "b", Epoch: "2", Differs: different}, MemberReport{Name: "c", Epoch: "3", Differs: different}), false},
		"from one of two":        {report(MemberReport{Name: "b", Epoch: "2", Differs: different}, MemberReport{Name: "c", Epoch: "1"}), false},
		"from the only other":    {report(MemberReport{Name: "b", Epoch: "2", Differs: different}), false},
		"with a third that died": {report(MemberReport{Name: "b", Epoch: "2", Differs: different}, MemberReport{Name: "c"}), false},
	} {
		if c.r.Odd() != c.want {
			t.Errorf("%s: odd %v", name, !c.want)
		}
	}
}

// When most nodes have another ring than this one, as where a new list of peers begins, that ring is looked into once.
func TestManyDifferAlike(t *testing.T) {
	var all []string
	for i := range maxPairs {
		all = append(all, fmt.Sprintf("n%d", i))
	}
	ring, err := hashring.New(all, hashring.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	word := &peerWord{epoch: epochOf(t, all[:maxPairs-3]...)}
	work := func(differing int) float64 {
		return testing.AllocsPerRun(1, func() {
			r, heard := Report{}, make(map[string]*peerWord)
			for _, name := range all[:differing] {
				r.Members, heard[name] = append(r.Members, MemberReport{Name: name}), word
			}
			if r.tell(heard, &view{ring: ring}, all); len(r.Members[differing-1].Differs) != 1 {
				t.Fatalf("%+v", r.Members[differing-1])
			}
		})
	}
	if one, many := work(1), work(maxPairs-1); many > 2*one {
		t.Errorf("%.0f allocations where one differs, %.0f where %d do", one, many, maxPairs-1)
	}
}
