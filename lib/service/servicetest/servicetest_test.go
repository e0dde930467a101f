package servicetest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorder stands in for a test that is expected to fail or skip.
type recorder struct {
	testing.TB
	said     string
	cleanups []func()
}

type stopped struct{}

func (r *recorder) Helper()          {}
func (r *recorder) Log(args ...any)  { r.said += fmt.Sprint(args...) }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.said = "FATAL " + fmt.Sprintf(format, args...)
	panic(stopped{})
}
func (r *recorder) Skipf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	panic(stopped{})
}

func record(f func(testing.TB)) (said string) {
	r := &recorder{}
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(stopped); !ok {
				panic(v)
			}
		}
		said = r.said
	}()
	f(r)
	return r.said
}

func TestEventually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		Eventually(t, time.Second, "three calls", func() bool { calls++; return calls == 3 })
		said := record(func(tb testing.TB) { Eventually(tb, time.Second, "the moon falls", func() bool { return false }) })
		if said != "FATAL not within 1s: the moon falls" {
			t.Errorf("said %q", said)
		}
	})
}

func TestNeed(t *testing.T) {
	need := func(tb testing.TB) { Need(tb, "HEADGATE_TEST_NOTHING") }
	t.Setenv("CI", "")
	if said := record(need); said != "SKIP-SERVICE: HEADGATE_TEST_NOTHING is not set" {
		t.Errorf("said %q", said)
	}
	t.Setenv("CI", "true")
	if said := record(need); !strings.HasPrefix(said, "FATAL HEADGATE_TEST_NOTHING is not set") {
		t.Errorf("said %q", said)
	}
	t.Setenv("HEADGATE_TEST_NOTHING", "x")
	if got := Need(t, "HEADGATE_TEST_NOTHING"); got != "x" {
		t.Errorf("got %q", got)
	}
}

func TestFreePort(t *testing.T) {
	address := FreePort(t)
	for range 3 { // a program that is started again and again
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Error("somebody listens")
	}
}

func TestLogEndsWithItsTest(t *testing.T) {
	r := &recorder{}
	log := Log(r)
	log.Debug("first")
	for _, f := range r.cleanups {
		f()
	}
	log.Info("late")
	if !strings.Contains(r.said, "first") || strings.Contains(r.said, "late") {
		t.Errorf("said %q", r.said)
	}
}
