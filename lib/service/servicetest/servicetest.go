// Package servicetest has what tests of the programs share: waiting for conditions instead of time,
// private ports, logs that belong to their test, and skipping where a real service is not there.
package servicetest

import (
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// pollEvery is how often Eventually looks.
const pollEvery = 2 * time.Millisecond

// Eventually waits until a condition holds, and fails the test when it does not within the time given.
// what says in words what is waited for. The condition is called from the test's own goroutine.
func Eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if holds() {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			if holds() { // a slow condition may have missed its last chance
				return
			}
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// Need gives the value of an environment variable that names a real service, such as
// HEADGATE_TEST_AMQP_URL. Without it the test is skipped with one line that begins "SKIP-SERVICE:",
// or fails where CI=true, so that a missing service cannot pass for a success there.
func Need(t testing.TB, env string) string {
	t.Helper()
	value := os.Getenv(env)
	switch {
	case value != "":
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is not set, and with CI=true every service must be there", env)
	default:
		t.Skipf("SKIP-SERVICE: %s is not set", env)
	}
	return value
}

// FreePort gives an address "127.0.0.1:port" at which nobody listens, for programs of the test to listen at,
// again and again. On Linux it stays the test's until its end: neither a connection that goes out nor somebody
// else who asks for any free port is given it meanwhile. Prefer port 0 where the program can tell what it got.
func FreePort(t testing.TB) string {
	t.Helper()
	address, free, err := reserve()
	if err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	t.Cleanup(free)
	return address
}

// Log gives a logger whose lines, debug included, belong to the test and show when it fails or is
// verbose. What is logged after the test's end is dropped, where testing would panic.
func Log(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.end)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct {
	mu    sync.Mutex
	t     testing.TB
	ended bool
}

func (w *testWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
}

func (w *testWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.t.Log(strings.TrimSuffix(string(line), "\n"))
	}
	return len(line), nil
}
