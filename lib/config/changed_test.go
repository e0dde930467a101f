package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestChangedNamesTheFields(t *testing.T) {
	for _, c := range []struct {
		change func(*sample)
		want   []string
	}{
		{func(*sample) {}, nil},
		{func(s *sample) { s.Count, s.Edge.Timeout = 3, time.Minute }, []string{"edge.timeout", "count"}},
		{func(s *sample) { s.Password = "other" }, []string{"password"}},
		{func(s *sample) { s.Shards[0].Addresses[0] = "b" }, []string{"shards[0].addresses[0]"}},
		{func(s *sample) { s.Shards = append(s.Shards, shard{}) }, []string{"shards"}},
		{func(s *sample) { s.Shards[0].Addresses = nil }, []string{"shards[0].addresses"}},
		{func(s *sample) { s.Limits["new"] = 1 }, []string{"limits"}},
		{func(s *sample) { s.Maybe = &section{} }, []string{"maybe"}},
		{func(s *sample) { s.Embedded.Depth = 3 }, []string{"depth"}},
		{func(s *sample) { s.Skipped = "x" }, nil},
	} {
		before, after := sampleDefault(), sampleDefault()
		c.change(&after)
		if got := Changed(&before, &after); !slices.Equal(got, c.want) {
			t.Errorf("changed %v, want %v", got, c.want)
		}
	}
	with := sampleDefault()
	with.Maybe = &section{Listen: "a"}
	other := sampleDefault()
	other.Maybe = &section{Listen: "b"}
	if got := Changed(with, other); !slices.Equal(got, []string{"maybe.listen"}) {
		t.Errorf("within a pointer: %v", got)
	}
}

func TestChangesAreCheckedAgainstWhatRuns(t *testing.T) {
	running := sampleDefault()
	next := sampleDefault()
	check := func(p *Problems) {
		for _, path := range Changed(&running, &next) {
			if strings.HasPrefix(path, "edge.listen") {
				p.Addf(path, "cannot be changed")
			}
		}
	}
	err := ParseChecked("c.yaml", []byte("count: 2\nedge:\n  listen: other\n  timeout: 30s\n"), &next, check)
	want := "c.yaml:3: edge.listen: cannot be changed\nc.yaml:4: edge.timeout: must be shorter than drain (20s), is 30s"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	next = sampleDefault()
	if err := ParseChecked("c.yaml", []byte("count: 2\n"), &next, check); err != nil || next.Count != 2 {
		t.Errorf("%v, count %d", err, next.Count)
	}
}

// own is a config with a part of its own.
type own struct {
	Name  string `yaml:"name"`
	Count int    `yaml:"count"`
}

func (o *own) Common() any { return own{Count: o.Count} }

func TestHashLeavesOutWhatIsEachNodesOwn(t *testing.T) {
	if Hash(&own{"a", 1}) != Hash(&own{"b", 1}) {
		t.Error("the names count")
	}
	if Hash(&own{"a", 1}) == Hash(&own{"a", 2}) {
		t.Error("what is common does not count")
	}
}
