package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// listLeftOut prints a line for each file that a build with the race detector leaves out.
const listLeftOut = `{{$p := .ImportPath}}{{$d := .Dir}}{{range .IgnoredGoFiles}}{{$p}} {{$d}}/{{.}}{{"\n"}}{{end}}`

var (
	notUnderRace = regexp.MustCompile(`(?m)^//go:build !race$`)
	testFunction = regexp.MustCompile(`(?m)^func (Test[A-Z0-9_]\w*)\(`)
)

// leftOut makes the group of the tests that the race detector's build leaves out (files marked
// `//go:build !race`: allocation budgets, bulk that the detector makes slow, and what a library's own race would
// spoil), so that they run, too.
func leftOut(ctx context.Context, raced group) ([]group, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-race", "-f", listLeftOut}, raced.packages...)...)
	cmd.Env, cmd.Stderr = raced.environment(), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -race: %w", err)
	}
	left := group{name: "tests that the race detector leaves out", parallel: 1}
	var tests []string
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if names := markedTests(string(text)); len(names) > 0 {
			tests = append(tests, names...)
			left.packages = append(left.packages, path)
		}
	}
	if len(tests) == 0 {
		return nil, nil
	}
	left.packages = slices.Compact(left.packages)
	left.run = "^(" + strings.Join(tests, "|") + ")$"
	return []group{left}, nil
}

// markedTests names the tests of a file that is marked as not for the race detector.
func markedTests(text string) []string {
	if !notUnderRace.MatchString(text) {
		return nil
	}
	var names []string
	for _, found := range testFunction.FindAllStringSubmatch(text, -1) {
		if found[1] != "TestMain" {
			names = append(names, found[1])
		}
	}
	return names
}
