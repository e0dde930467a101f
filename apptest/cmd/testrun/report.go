package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// event is one line of `go test -json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

const skipMark = "SKIP-SERVICE"

// Bounds on what is kept of the output of tests that are still running.
const (
	maxLineBytes = 4 << 20
	maxTestLines = 5000
)

// summary gathers what the closing lines say.
type summary struct {
	passed, failed, skipped int // tests
	packages                int
	failures                []string
	services                []string // SKIP-SERVICE lines
	noTests                 int
	slow                    []slowTest
}

// slowTest is a test that took slowSeconds or more: they are told, because the whole is to stay below a quarter
// of an hour.
type slowTest struct {
	name    string
	seconds float64
}

const slowSeconds = 10

// goTest runs one group and prints package lines, the output of failing tests and skips. The error
// says that go could not be run at all.
func (s *summary) goTest(ctx context.Context, g group, o options, stdout, stderr io.Writer) error {
	fmt.Fprintf(stdout, "== %s: %d packages\n", g.name, len(g.packages))
	started := time.Now()
	cmd := exec.CommandContext(ctx, "go", g.args(o)...)
	cmd.Env = g.environment()
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	before := len(s.failures)
	readErr := s.read(pipe, stdout)
	err = cmd.Wait()
	fmt.Fprintf(stdout, "== %s: %s\n", g.name, time.Since(started).Round(time.Second))
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case readErr != nil:
		return readErr
	case err != nil && !errors.As(err, &exit):
		return fmt.Errorf("go test: %w", err)
	case err != nil && len(s.failures) == before:
		s.failures = append(s.failures, fmt.Sprintf("go test of the %s ended with %v and named no test", g.name, err))
	}
	return nil
}

func (s *summary) read(r io.Reader, stdout io.Writer) error {
	lines := make(map[string][]string) // output of tests not finished yet, by package and test
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, maxLineBytes)
	for scan.Scan() {
		var e event
		if json.Unmarshal(scan.Bytes(), &e) != nil {
			fmt.Fprintln(stdout, scan.Text())
			continue
		}
		s.event(e, lines, stdout)
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("reading go test's output: %w", err)
	}
	return nil
}

func (s *summary) event(e event, lines map[string][]string, stdout io.Writer) {
	key := e.Package + " " + e.Test
	if (e.Action == "pass" || e.Action == "fail") && e.Test != "" && !strings.Contains(e.Test, "/") && e.Elapsed >= slowSeconds {
		s.slow = append(s.slow, slowTest{key, e.Elapsed})
	}
	switch e.Action {
	case "output":
		s.output(e, key, lines, stdout)
	case "build-output":
		fmt.Fprint(stdout, e.Output)
	case "build-fail":
		s.failures = append(s.failures, "does not build: "+e.ImportPath)
	case "pass":
		if e.Test != "" {
			s.passed++
		} else {
			s.packages++
		}
		delete(lines, key)
	case "skip":
		if e.Test == "" {
			s.noTests++
			break
		}
		s.skipped++
		fmt.Fprint(stdout, strings.Join(lines[key], ""))
		delete(lines, key)
	case "fail":
		fmt.Fprint(stdout, strings.Join(lines[key], ""))
		delete(lines, key)
		if e.Test != "" {
			s.failed++
			s.failures = append(s.failures, e.Package+" "+e.Test)
		} else {
			s.packages++
			if !slices.ContainsFunc(s.failures, func(f string) bool { return strings.HasPrefix(f, e.Package+" ") }) {
				s.failures = append(s.failures, e.Package)
			}
		}
	}
}

// output keeps a test's lines until it is known how the test ended; go test's own closing line of a
// package (ok, FAIL, ?) is printed at once.
func (s *summary) output(e event, key string, lines map[string][]string, stdout io.Writer) {
	if strings.Contains(e.Output, skipMark) {
		s.services = append(s.services, strings.TrimSpace(e.Output))
	}
	closing := e.Test == "" && (strings.HasPrefix(e.Output, "ok ") || strings.HasPrefix(e.Output, "FAIL") || strings.HasPrefix(e.Output, "?"))
	if closing {
		if !strings.Contains(e.Output, "[no test files]") {
			fmt.Fprint(stdout, e.Output)
		}
		return
	}
	if len(lines[key]) < maxTestLines {
		lines[key] = append(lines[key], e.Output)
	}
}

// finish prints the closing lines and gives the exit code.
func (s *summary) finish(o options, took time.Duration, stdout io.Writer) int {
	slices.SortFunc(s.slow, func(a, b slowTest) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, t := range s.slow {
		fmt.Fprintf(stdout, "%5.0f s  %s\n", t.seconds, t.name)
	}
	fmt.Fprintf(stdout, "\n%d tests passed, %d failed, %d skipped in %d packages (%d without tests), %s\n",
		s.passed, s.failed, s.skipped, s.packages, s.noTests, took.Round(time.Second))
	for _, f := range s.failures {
		fmt.Fprintln(stdout, "FAILED:", f)
	}
	if n := len(s.services); n > 0 {
		fmt.Fprintf(stdout, "!!! %d %s lines: these tests did NOT run, a real service was missing:\n", n, skipMark)
		for _, line := range s.services {
			fmt.Fprintln(stdout, "!!!  ", line)
		}
	} else {
		fmt.Fprintf(stdout, "0 %s lines: every test had the services that it needs\n", skipMark)
	}
	switch {
	case len(s.failures) > 0:
		fmt.Fprintln(stdout, "FAIL")
		return 1
	case len(s.services) > 0 && o.ci:
		fmt.Fprintln(stdout, "FAIL: CI=true allows no skipped service")
		return 1
	}
	fmt.Fprintln(stdout, "PASS")
	return 0
}
