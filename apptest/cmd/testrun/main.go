// Command testrun runs the workspace's tests and says plainly what ran, what failed and what was
// skipped for want of a service. It is what `make test` calls, inside apptest/cmd/services.
//
//	testrun [-race auto|off] [-kills N] [-only packages|apptest] [-run PATTERN]
//
// Package tests run with the race detector (unless there is no C compiler: then without, said
// loudly). The tests of apptest, which drive whole programs under load, run on plain binaries.
//
// Exit code 0: all passed. 1: something failed, or, with CI=true, something was skipped because a
// service was missing. 2: the tests could not be run.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.race, "race", "auto", "auto: use the race detector when there is a C compiler; off: never")
	flag.StringVar(&o.only, "only", "", "run one half only: packages or apptest")
	flag.StringVar(&o.run, "run", "", "pass -run to go test")
	flag.DurationVar(&o.timeout, "timeout", 20*time.Minute, "limit of one test binary")
	flag.Parse()
	o.ci = os.Getenv("CI") == "true"
	o.compiler = hasCompiler()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, o, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

type options struct {
	race, only, run string
	timeout         time.Duration
	ci, compiler    bool
}

// notRaced names packages whose tests run without the race detector although the detector is in
// use: under it SQLite inserts fall from 140,000 to 5,000 rows a second and compiling the pure Go
// database takes minutes. Their concurrency is the database's, not ours.
var notRaced = []string{}

func hasCompiler() bool {
	for _, name := range []string{"gcc", "clang", "cc"} {
		if _, err := exec.LookPath(name); err == nil {
			return true
		}
	}
	return false
}

func run(ctx context.Context, o options, stdout, stderr io.Writer) int {
	packages, err := workspacePackages(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "testrun:", err)
		return 2
	}
	var sum summary
	started := time.Now()
	if o.only != "apptest" {
		groups := packageGroups(packages, o)
		if groups[0].race && o.run == "" {
			left, err := leftOut(ctx, groups[0])
			if err != nil {
				fmt.Fprintln(stderr, "testrun:", err)
				return 2
			}
			groups = append(groups, left...)
		}
		for _, group := range groups {
			if err := sum.goTest(ctx, group, o, stdout, stderr); err != nil {
				fmt.Fprintln(stderr, "testrun:", err)
				return 2
			}
		}
	}
	if o.only != "packages" {
		group := group{name: "apptest: whole programs under load, plain binaries", packages: apptestOf(packages), parallel: 1, tests: apptestTests}
		if err := sum.goTest(ctx, group, o, stdout, stderr); err != nil {
			fmt.Fprintln(stderr, "testrun:", err)
			return 2
		}
	}
	return sum.finish(o, time.Since(started), stdout)
}

// workspacePackages lists the packages of all modules of the workspace. A root without a module of
// its own has no `./...`, so the pattern is `work`.
func workspacePackages(ctx context.Context) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "work")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list work: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// apptestTests run at a time, whatever the machine: most of their time they wait for programs that start, retry or expire.
const apptestTests = 3

const apptestModule = "headgate.example/apptest"

func isApptest(path string) bool {
	return path == apptestModule || strings.HasPrefix(path, apptestModule+"/")
}

func apptestOf(packages []string) []string {
	return slices.DeleteFunc(slices.Clone(packages), func(p string) bool { return !isApptest(p) })
}

// group is one call of go test.
type group struct {
	name     string
	packages []string
	race     bool
	parallel int    // test binaries at a time
	tests    int    // of one binary at a time, of those that say that they may run beside others; 0: as many as processors
	run      string // the tests to run; empty: as the options say
}

func packageGroups(packages []string, o options) []group {
	race := o.race == "auto" && o.compiler
	raced := group{name: "package tests with the race detector", race: true, parallel: 2}
	plain := group{name: "package tests without the race detector", parallel: 2}
	for _, p := range packages {
		switch {
		case isApptest(p):
		case race && !slices.Contains(notRaced, p):
			raced.packages = append(raced.packages, p)
		default:
			plain.packages = append(plain.packages, p)
		}
	}
	if o.race == "auto" && !o.compiler {
		plain.name = "package tests WITHOUT THE RACE DETECTOR: it needs gcc or clang, and there is neither"
	}
	groups := []group{raced, plain}
	return slices.DeleteFunc(groups, func(g group) bool { return len(g.packages) == 0 })
}

func (g group) args(o options) []string {
	args := []string{"test", "-json", fmt.Sprintf("-p=%d", g.parallel), "-timeout=" + o.timeout.String()}
	if g.race {
		args = append(args, "-race")
	}
	if g.tests > 0 {
		args = append(args, fmt.Sprintf("-parallel=%d", g.tests))
	}
	if run := cmp.Or(g.run, o.run); run != "" {
		args = append(args, "-run", run)
	}
	return append(args, g.packages...)
}

// environment is the caller's, with cgo as the group needs it: plain tests share the build cache of
// the plain programs.
func (g group) environment() []string {
	cgo := "CGO_ENABLED=0"
	if g.race {
		cgo = "CGO_ENABLED=1"
	}
	return append(os.Environ(), cgo)
}
