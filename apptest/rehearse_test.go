package apptest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

// rehearsed is what `headgate rehearse --json` tells, as far as these tests read it.
type rehearsed struct {
	Outcome string `json:"outcome"`
	Plan    string `json:"plan"`
	Figures struct {
		Decisions int `json:"decisions"`
		Yes       struct {
			Count int `json:"count"`
		} `json:"yes"`
	} `json:"figures"`
	Stages   []struct{ What string } `json:"refusals_by_stage"`
	Verdicts []struct {
		Sale       string         `json:"sale"`
		Stock      int64          `json:"stock"`
		Sold       int64          `json:"sold"`
		Paid       int64          `json:"paid"`
		Freed      int64          `json:"freed"`
		Violations map[string]int `json:"violations"`
	} `json:"verdicts"`
}

// TestRehearse rehearses on the one-process program: 2,000 buyers for 50 units. Everything is sold and paid, also
// what came back, and the plan is the one that its seed draws.
func TestRehearse(t *testing.T) {
	t.Parallel()
	dev := programs.NewDev(t, bin, nil)
	dev.Start()
	args := []string{"rehearse", "--seed", "7", "--buyers", "2000", "--stock", "50", "--duration", "12s", "--pay-within", "5s"}
	drawn := dev.MustCLI(append(args, "--dry-run")...)
	r := dev.CLI(append(args, "--json")...)
	if r.Code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	var report rehearsed
	programs.DecodeJSON(t, r.Stdout, &report)
	if report.Outcome != "clean" || len(report.Verdicts) != 2 || len(report.Stages) == 0 || report.Figures.Decisions < 2000 || report.Figures.Yes.Count < 50 {
		t.Errorf("%+v", report)
	}
	if v := report.Verdicts[0]; v.Stock != 50 || v.Sold != 50 || v.Paid != 50 || v.Freed == 0 {
		t.Errorf("%+v", v)
	}
	if !strings.Contains(drawn, report.Plan) {
		t.Errorf("the plan %s is not the one that the seed draws:\n%s", report.Plan, drawn)
	}
	if code := dev.Stop(40 * time.Second); code != 0 {
		t.Errorf("the program ended with exit code %d when asked to stop\n%s", code, dev.Log())
	}
}

// TestRehearseFindsALostMessage rehearses on a program whose consumer acknowledges one order message without writing
// it: the verdict has to be red, for a yes that was not kept.
func TestRehearseFindsALostMessage(t *testing.T) {
	t.Parallel()
	dev := programs.NewDev(t, brokenBinaries(t), nil)
	dev.Start()
	r := dev.CLI("rehearse", "--buyers", "300", "--stock", "20", "--duration", "5s", "--pay-within", "5s", "--settle-for", "10s", "--json")
	if r.Code != 1 {
		t.Fatalf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	var report rehearsed
	programs.DecodeJSON(t, r.Stdout, &report)
	lost := 0
	for _, v := range report.Verdicts {
		lost += v.Violations["lost after yes"]
	}
	if report.Outcome != "violated" || lost != 1 {
		t.Errorf("%+v", report)
	}
}

// TestRehearseWithNobodyThere: nothing to judge is told from everything is well.
func TestRehearseWithNobodyThere(t *testing.T) {
	dev := programs.NewDev(t, bin, nil) // not started
	if r := dev.CLI("rehearse", "--buyers", "10", "--stock", "1"); r.Code != 3 || r.Stderr == "" {
		t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := dev.CLI("rehearse", "--faults", "all"); r.Code != 3 || !strings.Contains(r.Stderr, "--cluster") {
		t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// brokenBinaries builds the program `headgate` with the tag rehearsalbroken.
func brokenBinaries(t *testing.T) programs.Binaries {
	t.Helper()
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "rehearsalbroken", "-trimpath", "-buildvcs=false",
		"-o", filepath.Join(folder, "headgate"), "./cli/cmd/headgate")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building with -tags rehearsalbroken: %v\n%s", err, bytes.TrimSpace(out))
	}
	return programs.Binaries(folder)
}
