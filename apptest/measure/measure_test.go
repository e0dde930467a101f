//go:build unix

package measure

import (
	"errors"
	"os/exec"
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
