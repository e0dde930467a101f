//go:build unix

package measure

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	if got := Median([]float64{5, 1, 3}); got != 3 {
		t.Errorf("of three: %v", got)
	}
	if got := Median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("of four: %v", got)
	}
}

func TestMetricsAreSummedByNameAndLabel(t *testing.T) {
	const text = "a_total{route=\"x\",code=\"too_soon\"} 3\na_total{route=\"y\",code=\"too_soon\"} 4\na_total{code=\"2xx\"} 9\na_total_more 5\nb 1.5\n"
	for _, c := range []struct {
		name, label string
		want        float64
	}{{"a_total", `code="too_soon"`, 7}, {"a_total", "", 16}, {"b", "", 1.5}, {"c", "", 0}} {
		if got, err := Metrics(text).Sum(c.name, c.label); err != nil || got != c.want {
			t.Errorf("%s %s: %v, %v", c.name, c.label, got, err)
		}
	}
	if _, err := Metrics("b x\n").Sum("b", ""); err == nil {
		t.Error("what is no number is taken")
	}
}

func TestSuitesAreChosenAndCleanUp(t *testing.T) {
	in := t.TempDir()
	var ran []string
	suite := func(name string, err error) Suite {
		return Suite{name, func(_ context.Context, dir string) error {
			ran = append(ran, name)
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		}}
	}
	broken := errors.New("broken")
	all := []Suite{suite("a", nil), suite("b", broken), suite("c", nil)}
	if _, err := Choose(all, "a,x"); err == nil {
		t.Error("a suite that there is not is chosen")
	}
	chosen, err := Choose(all, "c,a")
	if err != nil || Names(chosen) != "c,a" {
		t.Fatalf("%s, %v", Names(chosen), err)
	}
	if err := Run(t.Context(), chosen, in, "bench"); err != nil {
		t.Error(err)
	}
	if every, err := Choose(all, ""); err != nil || !errors.Is(Run(t.Context(), every, in, "bench"), broken) {
		t.Errorf("a suite that fails is passed over: %v", err)
	}
	if got := strings.Join(ran, ","); got != "c,a,a,b" {
		t.Errorf("ran %s", got)
	}
	if left, err := os.ReadDir(in); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestProcessIsMeasuredWhileItRuns(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	p, err := Launch(t.Context(), "spinner", t.TempDir(), "sh", "-c", "echo begun; while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	err = p.Await(t.Context(), func() error {
		if used, err := p.CPU(); err != nil || used < 50*time.Millisecond {
			return errors.Join(errors.New("it has not used 50 ms yet"), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if rss, err := p.RSS(); err != nil || rss < 4096 {
		t.Errorf("RSS %d, %v", rss, err)
	}
	if got := string(p.LogTail()); got != "begun" {
		t.Errorf("log %q", got)
	}
}

func TestAwaitTellsWhyAProgramEnded(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	p, err := Launch(t.Context(), "quitter", t.TempDir(), "sh", "-c", "echo no such disk; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	err = p.Await(t.Context(), func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "no such disk") {
		t.Errorf("got %v", err)
	}
}
