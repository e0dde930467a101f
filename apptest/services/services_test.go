//go:build unix

package services

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLifecycle starts both services side by side, kills and restarts each, and looks for leftovers.
func TestLifecycle(t *testing.T) {
	for _, name := range []string{RabbitMQ, MariaDB} {
		if _, err := lookUp(name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s: %v", name, err)
			}
			t.Skipf("SKIP-SERVICE: %s: %v", name, err)
		}
	}
	var out bytes.Buffer
	s, err := Start(t.Context(), Options{Only: []string{RabbitMQ, MariaDB}, NoInstall: true, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	if len(s.Missing) > 0 {
		t.Fatalf("missing: %v", s.Missing)
	}
	env := strings.Join(s.Env(), "\n")
	for _, want := range []string{"HEADGATE_TEST_AMQP_URL=amqp://guest:guest@" + s.RabbitMQ.Addr() + "/", "HEADGATE_TEST_MYSQL_DSN=root@tcp(" + s.MariaDB.Addr() + ")/"} {
		if !strings.Contains(env, want) {
			t.Errorf("environment %q lacks %s", env, want)
		}
	}
	for _, i := range s.instances() {
		if err := i.Restart(t.Context()); err == nil {
			t.Errorf("%s: restarting what runs was no error", i.Name())
		}
	}
	stillThere(t, s)
	for _, i := range s.instances() {
		addr := i.Addr()
		if err := i.Kill(); err != nil {
			t.Fatal(err)
		}
		if _, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			t.Errorf("%s still answers after Kill", i.Name())
		}
		if err := i.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i.Addr() != addr {
			t.Errorf("%s moved from %s to %s", i.Name(), addr, i.Addr())
		}
		if err := i.plan.Ready(t.Context(), addr); err != nil {
			t.Errorf("%s does not answer after Restart: %v", i.Name(), err)
		}
	}
	pids := s.processes(t)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
}

// gone waits for the end of a process that was killed: a service's children end a moment after it.
func gone(t *testing.T, pid string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(stopWithin); ; <-tick.C {
		text, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err != nil || len(text) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("process %s is left: %q", pid, text)
			return
		}
	}
}

// stillThere: a refused Restart must not have ended anything.
func stillThere(t *testing.T, s *Set) {
	t.Helper()
	for _, i := range s.instances() {
		if err := i.plan.Ready(t.Context(), i.Addr()); err != nil {
			t.Fatalf("%s was ended by a refused Restart: %v", i.Name(), err)
		}
	}
}

// processes finds every process that names the set's folder in its arguments.
func (s *Set) processes(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), s.dir) {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	if len(pids) == 0 && len(files) > 0 {
		t.Error("no process of the set was found: the test would show nothing")
	}
	return pids
}

func TestInterruptedStart(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	cancel(why)
	var out bytes.Buffer
	if _, err := Start(ctx, Options{Only: []string{MariaDB, RabbitMQ}, NoInstall: true, Output: &out}); !errors.Is(err, why) {
		t.Fatalf("error %v, want the interruption", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
}

func TestUnknownName(t *testing.T) {
	if _, err := Start(t.Context(), Options{Only: []string{"oracle"}}); err == nil || !strings.Contains(err.Error(), "oracle") {
		t.Fatalf("error %v, want one that names it", err)
	}
}

// TestMissing: what is not installed is said loudly and has no variable.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	s, err := Start(t.Context(), Options{Only: []string{Redis}, NoInstall: true, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop() //nolint:errcheck // nothing was started
	if !strings.Contains(out.String(), "!!! NO REDIS") || len(s.Env()) != 0 || s.Missing[Redis] == "" {
		t.Fatalf("said %q, environment %v", out.String(), s.Env())
	}
}

// TestJMeterNeedsItsParts: the folder alone is not enough, neither without the HTTP sampler nor without a
// Java that compiles.
func TestJMeterNeedsItsParts(t *testing.T) {
	home, path := t.TempDir(), t.TempDir()
	t.Setenv("JMETER_HOME", home)
	t.Setenv("PATH", path)
	lacks := func(want string) {
		t.Helper()
		if found, err := lookUp(JMeter); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("found %q, error %v, want one that names %s", found, err, want)
		}
	}
	put := func(file string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("#!/bin/sh\n"), 0o700)); err != nil { //nolint:gosec // must be executable
			t.Fatal(err)
		}
	}
	lacks("ApacheJMeter_http.jar")
	put(filepath.Join(home, "lib/ext/ApacheJMeter_http.jar"))
	lacks("java")
	put(filepath.Join(path, "java"))
	lacks("javac")
	put(filepath.Join(path, "javac"))
	if found, err := lookUp(JMeter); err != nil || found != home {
		t.Errorf("found %q (%v), want %s", found, err, home)
	}
}

// TestFailedStart: the error shows the end of the log, and nothing is left running.
func TestFailedStart(t *testing.T) {
	dir := t.TempDir()
	fake := filepath.Join(dir, "fake")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho the disk is on fire\nexit 3\n"), 0o700); err != nil { //nolint:gosec // must be executable
		t.Fatal(err)
	}
	_, err := start(t.Context(), &Plan{Name: "Fake", Dir: dir, Addr: "127.0.0.1:1", Ready: brokerReady, Commands: func() []*exec.Cmd {
		return []*exec.Cmd{exec.Command(fake)}
	}}, func() {})
	if err == nil || !strings.Contains(err.Error(), "the disk is on fire") || !strings.Contains(err.Error(), "exit status 3") {
		t.Fatalf("error %v, want the log's tail and the status", err)
	}
}

// TestPolicy: while packages are installed, daemons may not start; afterwards all is as before.
func TestPolicy(t *testing.T) {
	for _, before := range []string{"", "#!/bin/sh\nexit 0\n"} {
		policy := filepath.Join(t.TempDir(), "policy-rc.d")
		if before != "" {
			if err := os.WriteFile(policy, []byte(before), 0o755); err != nil { //nolint:gosec // as it would be
				t.Fatal(err)
			}
		}
		failure := errors.New("no network")
		err := withoutDaemons(policy, func() error {
			text, err := os.ReadFile(policy)
			if err != nil || !strings.Contains(string(text), "exit 101") {
				t.Errorf("while installing the policy is %q (%v)", text, err)
			}
			return failure
		})
		if !errors.Is(err, failure) {
			t.Fatalf("error %v, want the work's", err)
		}
		text, err := os.ReadFile(policy)
		if before == "" && !errors.Is(err, os.ErrNotExist) || string(text) != before {
			t.Errorf("afterwards the policy is %q (%v), want %q", text, err, before)
		}
		left, err := os.ReadDir(filepath.Dir(policy))
		if err != nil || len(left) > 1 {
			t.Errorf("left: %v (%v)", left, err)
		}
	}
}

func TestPackages(t *testing.T) {
	for _, name := range Names() {
		if len(packages(name)) == 0 {
			t.Errorf("%s has no packages", name)
		}
	}
	if !slices.Contains(packages(Redis), "redis-tools") {
		t.Error("redis-cli is in redis-tools")
	}
}
