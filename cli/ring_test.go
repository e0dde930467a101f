package cli

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"headgate.example/hashring"
)

func TestRingReport(t *testing.T) {
	report, err := ReportRing([]string{"e1", "e2", "e3"}, hashring.DefaultParams(), []string{"e4"}, []string{"e1"}, []string{"u000001"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, m := range report.Members {
		sum += m.Share
	}
	if len(report.Members) != 3 || math.Abs(sum-1) > 1e-9 {
		t.Errorf("shares: %+v", report.Members)
	}
	if len(report.Changes) != 2 || report.Changes[0].Share <= 0 || report.Changes[0].Share > 0.4 {
		t.Errorf("changes: %+v", report.Changes)
	}
	if owner := report.Owners["u000001"]; !strings.HasPrefix(owner, "e") {
		t.Errorf("owner %q", owner)
	}
	var out bytes.Buffer
	if err := report.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"epoch " + report.Epoch, "e3", "add e4 would move", "remove e1 would move", "u000001"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestRingMembersAreChecked(t *testing.T) {
	for name, c := range map[string]struct{ members, join, leave []string }{
		"none":         {},
		"joins twice":  {members: []string{"a"}, join: []string{"a"}},
		"leaves never": {members: []string{"a"}, leave: []string{"b"}},
	} {
		if _, err := ReportRing(c.members, hashring.DefaultParams(), c.join, c.leave, nil, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPlainText(t *testing.T) {
	if got := plainText("a\x1b[31mb\nc é"); got != "a?[31mb?c é" {
		t.Errorf("got %q", got)
	}
}

// The config of an edge says who owns its users, by the same keyed hash as the edges.
func TestRingOfEdges(t *testing.T) {
	setExampleEnv(t)
	members, owner, err := LoadRing(filepath.Join(samples, "edges", "interceptor-1.yaml"), false)
	if err != nil || len(members) != 3 {
		t.Fatal(members, err)
	}
	owners := map[string]int{}
	users := make([]string, 300)
	for i := range users {
		users[i] = fmt.Sprintf("u%06d", i)
	}
	report, err := ReportRing(members, hashring.DefaultParams(), []string{"edge-4"}, nil, users, owner)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range report.Owners {
		owners[name]++
	}
	for _, name := range members {
		if owners[name] < 60 || owners[name] > 140 {
			t.Errorf("%s owns %d of 300 users", name, owners[name])
		}
	}
	if _, _, err := LoadRing(filepath.Join(samples, "counter.yaml"), false); err == nil {
		t.Error("a counter's config names no ring of edges")
	}
	if shards, _, err := LoadRing(filepath.Join(samples, "shards", "headgate.yaml"), false); err != nil || len(shards) != 2 {
		t.Errorf("shards %v, %v", shards, err)
	}
	if edges, _, err := LoadRing(filepath.Join(samples, "shards", "headgate.yaml"), true); err != nil || len(edges) != 1 {
		t.Errorf("edges %v, %v", edges, err)
	}
}
