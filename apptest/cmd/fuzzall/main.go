// Command fuzzall runs every fuzz target of the workspace for a while, one after the other, since `go
// test -fuzz` takes one target at a time.
//
//	fuzzall [-each 60s] [-only PATTERN]
//
// It ends with exit code 1 when a target found something; go test keeps the input in the package's
// testdata/fuzz, where it becomes a seed of the ordinary tests. "hung or terminated unexpectedly" with an input
// that runs in no time afterwards is no finding: a worker that gets no processor for ten seconds, as beside
// busier programs, is taken for hung. Run the target again.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	each := flag.Duration("each", time.Minute, "how long each target runs")
	only := flag.String("only", ".", "run targets whose package and name match this `pattern`")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall: -only:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, *each, pattern)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, each time.Duration, only *regexp.Regexp) int {
	targets, err := listTargets(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall:", err)
		return 2
	}
	found, ran := 0, 0
	for _, t := range targets {
		if !only.MatchString(t.pkg + "." + t.name) {
			continue
		}
		ran++
		fmt.Printf("== %s %s for %s\n", t.pkg, t.name, each)
		cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(), "-fuzzminimizetime="+minimize, "-timeout=0", t.pkg)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 20 * time.Second
		if err := cmd.Run(); err != nil {
			fmt.Printf("FAILED: %s %s: %v\n", t.pkg, t.name, err)
			found++
		}
		if ctx.Err() != nil {
			return 2
		}
	}
	fmt.Printf("%d fuzz targets ran, %d found something\n", ran, found)
	if found > 0 || ran == 0 {
		return 1
	}
	return 0
}

// minimize bounds the making of interesting inputs smaller: by default each may take a minute of a target's time.
const minimize = "500x"

type target struct{ pkg, name string }

// listTargets reads the sources: building every test binary only to list its targets takes minutes.
func listTargets(ctx context.Context) ([]target, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-f",
		`{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}`, "work")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list work: %w", err)
	}
	declared := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)
	var targets []target
	for line := range strings.Lines(string(out)) {
		pkg, file, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, match := range declared.FindAllSubmatch(text, -1) {
			targets = append(targets, target{pkg, string(match[1])})
		}
	}
	return targets, nil
}
