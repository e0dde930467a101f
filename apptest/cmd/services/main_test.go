//go:build unix

package main

import (
	"bytes"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// redisOnly needs no service to be started.
var redisOnly = []string{"--only", "redis", "--no-install", "--"}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"fine", append(redisOnly[:4:4], "true"), 0},
		{"the command's", append(redisOnly[:4:4], "sh", "-c", "exit 7"), 7},
		{"killed", append(redisOnly[:4:4], "sh", "-c", "kill -9 $$"), 137},
		{"no such command", append(redisOnly[:4:4], "/nowhere/to/be/found"), 127},
		{"no command", []string{"--only", "redis"}, 2},
		{"no such service", []string{"--only", "oracle", "--", "true"}, 2},
		{"no such flag", []string{"--all", "--", "true"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if got := run(c.args, strings.NewReader(""), &out, &errs); got != c.want {
				t.Errorf("exit code %d, want %d; said %s", got, c.want, errs.String())
			}
		})
	}
}

func TestPassesThrough(t *testing.T) {
	t.Setenv("PATH", fakeRedis(t)+":"+os.Getenv("PATH"))
	var out, errs bytes.Buffer
	code := run(append(redisOnly[:4:4], "sh", "-c", `cat; echo "$HEADGATE_TEST_REDIS_CLI"; echo loud >&2`), strings.NewReader("typed\n"), &out, &errs)
	if code != 0 || !strings.HasPrefix(out.String(), "typed\n/") || !strings.Contains(out.String(), "redis-cli") || !strings.Contains(errs.String(), "loud") {
		t.Fatalf("code %d, output %q, errors %q", code, out.String(), errs.String())
	}
}

func fakeRedis(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/redis-cli", []byte("#!/bin/sh\n"), 0o700); err != nil { //nolint:gosec // must be executable
		t.Fatal(err)
	}
	return dir
}

// TestSignal: a signal is the command's, and its way to end is ours.
func TestSignal(t *testing.T) {
	guard := make(chan os.Signal, 1) // lest the signal end the test before run listens
	signal.Notify(guard, syscall.SIGTERM)
	defer signal.Stop(guard)
	var out, errs bytes.Buffer
	code := run(append(redisOnly[:4:4], "sh", "-c", `trap 'exit 5' TERM; kill -TERM $PPID; while :; do read -r line; done`), neverEnding{}, &out, &errs)
	if code != 5 {
		t.Fatalf("exit code %d, want the command's own on SIGTERM", code)
	}
}

// neverEnding gives empty lines.
type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '\n'
	}
	return len(b), nil
}
