//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func made(t *testing.T) Folder {
	t.Helper()
	f, err := MakeFolder(filepath.Join(t.TempDir(), "c"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFolderIsOurs(t *testing.T) {
	f := made(t)
	if again, err := MakeFolder(f.Path); err != nil || again != f {
		t.Errorf("a second time: %v, %v", again, err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := MakeFolder(foreign); !errors.Is(err, ErrNotOurs) {
		t.Errorf("a folder with other files: %v", err)
	}
	if err := (Folder{foreign}).Wipe(); !errors.Is(err, ErrNotOurs) {
		t.Errorf("wiping it: %v", err)
	}
	if _, err := os.Stat(filepath.Join(foreign, "thesis.txt")); err != nil {
		t.Error(err)
	}
	if err := f.Wipe(); err != nil {
		t.Error(err)
	}
	if _, err := OpenFolder(f.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the wipe: %v", err)
	}
}

func TestOneSupervisor(t *testing.T) {
	f := made(t)
	lock, err := f.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.lock(); err == nil {
		t.Error("two hold the folder")
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if lock, err = f.lock(); err != nil {
		t.Fatal(err)
	}
	_ = lock.Close()
}

// TestClearLeftWaitsForTheLock: a supervisor that was killed may still hold the folder when its socket is gone.
func TestClearLeftWaitsForTheLock(t *testing.T) {
	f := made(t)
	lock, err := f.lock()
	if err != nil {
		t.Fatal(err)
	}
	cleared := make(chan error, 1)
	go func() { cleared <- ClearLeft(t.Context(), f, t.Logf) }()
	timer := time.NewTimer(5 * pollEvery)
	defer timer.Stop()
	select {
	case err := <-cleared:
		t.Errorf("it did not wait: %v", err)
		cleared <- nil
	case <-timer.C:
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-cleared; err != nil {
		t.Error(err)
	}
}

// TestSecretsAreKept: random, for their owner only, and the same from then on.
func TestSecretsAreKept(t *testing.T) {
	f := made(t)
	l, err := ReadLayout(source)
	if err != nil {
		t.Fatal(err)
	}
	first, err := f.Env(l)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.Env(l)
	if err != nil || strings.Join(first, "\n") != strings.Join(again, "\n") {
		t.Errorf("the secrets changed: %v", err)
	}
	stat, err := os.Stat(f.EnvFile())
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", stat, err)
	}
	values := make(map[string]bool)
	for _, each := range first {
		_, value, _ := strings.Cut(each, "=")
		if values[value] || len(value) < 32 {
			t.Errorf("%s: short, or there twice", each)
		}
		values[value] = true
	}
	shell := exec.Command("/bin/sh", "-c", `. "$1"; printf %s "$HEADGATE_MYSQL_DSN"`, "sh", f.EnvFile())
	said, err := shell.CombinedOutput()
	if err != nil || string(said) != getEnv(first, "HEADGATE_MYSQL_DSN") || !strings.HasSuffix(string(said), "@tcp(127.0.0.1:3406)/headgate") {
		t.Errorf("a shell reads %q, %v", said, err)
	}
}

func TestShift(t *testing.T) {
	f := made(t)
	folder, err := f.Shifted(source, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ReadLayout(folder)
	if err != nil {
		t.Fatal(err)
	}
	if l.Edge() != "http://127.0.0.1:18000" || l.Find("mariadb").Address() != "127.0.0.1:13406" || l.Find("rabbitmq").Ports[2] != 15774 ||
		l.Find("counter-s1-2").Admin != "127.0.0.1:17612" {
		t.Errorf("%+v", l)
	}
	text, err := os.ReadFile(filepath.Join(folder, "interceptor-1.yaml"))
	if err != nil || strings.Contains(string(text), ":8081\"") || !strings.Contains(string(text), "drain_for: 20s") {
		t.Errorf("%v\n%s", err, text)
	}
	if again, err := f.Shifted(source, 0); err != nil || again != folder {
		t.Errorf("from then on: %s, %v", again, err)
	}
}

// TestLeftovers: what a killed supervisor left is ended, what merely has the number is not.
func TestLeftovers(t *testing.T) {
	f := made(t)
	start := func(dir string) *process {
		t.Helper()
		cmd := exec.Command("/bin/sleep", "300")
		cmd.Dir = dir
		p, err := startProcess(cmd, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGKILL); <-p.done })
		return p
	}
	ours, foreign := start(f.Path), start(t.TempDir())
	state := fmt.Sprintf(`{"supervisor":1,"members":[{"name":"backend-1","groups":[%d]},{"name":"backend-2","groups":[%d]}]}`, ours.group, foreign.group)
	if err := os.WriteFile(f.join(stateName), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	left, err := f.Left()
	if err != nil || len(left) != 1 || left[0] != fmt.Sprintf("backend-1 (process %d)", ours.group) {
		t.Errorf("left: %v, %v", left, err)
	}
	var told string
	if err := f.clearLeft(func(format string, args ...any) { told += fmt.Sprintf(format, args...) }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ours.done:
	case <-time.After(10 * time.Second):
		t.Error("it still runs")
	}
	if foreign.ended() || !strings.Contains(told, "left 1 processes running: ending them: backend-1") {
		t.Errorf("the foreign one has ended: %t; told %q", foreign.ended(), told)
	}
	taken, done := listener(0), foreign.ended()
	if taken != "another program" || done {
		t.Errorf("nobody listens on port 0: %q", taken)
	}
}

func TestCutRules(t *testing.T) {
	c := newCutter("nft", Folder{"/somewhere"})
	if got := c.rules(); strings.Contains(got, "table inet "+c.table+" {") || !strings.Contains(got, "delete table inet "+c.table) {
		t.Errorf("with nobody cut off the table goes: %s", got)
	}
	c.cut["backend-1"] = cutRule{gid: 77, ports: []string{"8091", "8191"}}
	for _, want := range []string{"tcp dport { 8091, 8191 } drop", "tcp sport { 8091, 8191 } drop", "meta skgid 77 update @from_backend_1 { tcp sport timeout 10s } drop", "tcp dport @from_backend_1 drop"} {
		if got := c.rules(); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if other := newCutter("nft", Folder{"/elsewhere"}); other.table == c.table {
		t.Error("two clusters have one table")
	}
}
