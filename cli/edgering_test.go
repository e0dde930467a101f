package cli

import (
	"strings"
	"testing"

	"headgate.example/interceptor/peers"
)

func TestWriteRings(t *testing.T) {
	edge := func(name, epoch string, ms int64, differs ...string) peers.MemberReport {
		return peers.MemberReport{Name: name, State: peers.StateServing, Epoch: epoch, ConfigHash: "c", Differs: differs, DiffersMs: ms}
	}
	for name, c := range map[string]struct {
		report     peers.Report
		want, lack []string
	}{
		"agreed": {peers.Report{Self: "edge-1", Epoch: "1", Agreed: true, Members: []peers.MemberReport{edge("edge-1", "1", 0), edge("edge-2", "1", 0)}},
			[]string{"all live nodes agree"}, []string{"differs", "passes when"}},
		"one differs": {peers.Report{Self: "edge-1", Epoch: "1", Members: []peers.MemberReport{edge("edge-1", "1", 0), edge("edge-2", "2", 12_340, "its ring lacks edge-4", "it runs another configuration"), edge("edge-4", "1", 0)}},
			[]string{"edge-2 differs for 12.3s: its ring lacks edge-4; it runs another configuration", "restarted with the same list of peers"}, []string{"DIFFER", "edge-4 differs", "the one that differs"}},
		"the asked one is odd": {peers.Report{Self: "edge-1", Epoch: "1", Members: []peers.MemberReport{edge("edge-1", "1", 0), edge("edge-2", "2", 0, "x"), edge("edge-4", "2", 0, "x")}},
			[]string{"edge-1 is the one that differs"}, nil},
		"one is silent": {peers.Report{Self: "edge-1", Epoch: "1", Members: []peers.MemberReport{edge("edge-1", "1", 0), edge("edge-2", "", 0)}},
			[]string{"edge-2 has not said yet which ring it has"}, []string{"differs"}},
	} {
		var said strings.Builder
		if err := WriteRings(&said, []peers.Report{c.report}); err != nil {
			t.Fatal(err)
		}
		for _, part := range c.want {
			if !strings.Contains(said.String(), part) {
				t.Errorf("%s: %q is missing in\n%s", name, part, &said)
			}
		}
		for _, part := range c.lack {
			if strings.Contains(said.String(), part) {
				t.Errorf("%s: %q is in\n%s", name, part, &said)
			}
		}
	}
}
