//go:build linux

package cluster

import (
	"strings"
	"testing"
)

func TestWellAndWords(t *testing.T) {
	view := func(change func(*View)) *View {
		v := &View{State: State{Members: []Status{{Name: "nginx", State: Running}}}, Shards: []Shard{{Name: "s1", Leader: "c1"}}, Ring: Ring{Agreed: true}, Queue: &Queue{Ready: 4}, Audit: "holds"}
		change(v)
		return v
	}
	for name, c := range map[string]struct {
		change func(*View)
		well   bool
		says   string
	}{
		"all well":         {func(*View) {}, true, "ready 4, delayed 0, dead 0"},
		"messages travel":  {func(v *View) { v.Audit = "not_settled" }, true, "not_settled"},
		"violated":         {func(v *View) { v.Audit = "violated" }, false, "violated"},
		"no broker":        {func(v *View) { v.Audit, v.Queue = "unreachable", nil }, false, "unknown"},
		"nobody leads":     {func(v *View) { v.Shards[0].Leader = "" }, false, "NOBODY LEADS"},
		"a member cut off": {func(v *View) { v.State.Members[0].Cut = true }, false, "running, cut off"},
		"a list rolls out": {func(v *View) {
			v.Ring = Ring{By: "interceptor-1", Members: []RingPart{{Name: "interceptor-2", State: "serving", Differs: []string{"its ring lacks interceptor-4"}}}}
		}, false, "as interceptor-1 sees it, interceptor-2: its ring lacks interceptor-4"},
		"the ring is silent": {func(v *View) { v.Ring.Error = "away" }, false, "nobody tells: away"},
	} {
		v := view(c.change)
		var said strings.Builder
		if err := v.Write(&said); err != nil {
			t.Fatal(err)
		}
		if v.well() != c.well || !strings.Contains(said.String(), c.says) {
			t.Errorf("%s: well %v, want %v and %q in\n%s", name, v.well(), c.well, c.says, &said)
		}
	}
}
