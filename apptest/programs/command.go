package programs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Result is what a command that ended gave.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a command to its end, for at most three minutes.
func Run(t testing.TB, path string, args ...string) Result {
	t.Helper()
	return run(t, os.Environ(), path, args...)
}

func run(t testing.TB, env []string, path string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		t.Fatalf("%s %s: %v\n%s%s", path, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// MustRun is Run for a command that has to succeed; it gives what it printed.
func MustRun(t testing.TB, path string, args ...string) string {
	t.Helper()
	r := Run(t, path, args...)
	if r.Code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s%s", path, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}
