package cli

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"headgate.example/hashring"
)

func TestRingReport(t *testing.T) {
	report, err := ReportRing([]string{"e1", "e2", "e3"}, hashring.DefaultParams(), []string{"e4"}, []string{"e1"}, []string{"u000001"})
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
	for _, want := range []string{"epoch " + report.Epoch, "e3", "join e4 would move", "leave e1 would move", "u000001"} {
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
		if _, err := ReportRing(c.members, hashring.DefaultParams(), c.join, c.leave, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPlainText(t *testing.T) {
	if got := plainText("a\x1b[31mb\nc é"); got != "a?[31mb?c é" {
		t.Errorf("got %q", got)
	}
}
