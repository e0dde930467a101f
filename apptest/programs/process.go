package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Spec says how to start a program.
type Spec struct {
	Name string // for messages and the log's name
	Path string
	Args []string
	Env  []string // added to the test's own
	// Ready is asked until it answers 200; empty: the program counts as ready at once.
	Ready string
	// Within bounds the wait for Ready (default 60 s).
	Within time.Duration
}

// Process is a running program. It ends with the test at the latest.
type Process struct {
	t      testing.TB
	spec   Spec
	log    string
	cmd    *exec.Cmd
	done   chan struct{}
	err    error // what Wait gave; read after done
	killed atomic.Bool
}

// Start starts a program and waits until it is ready. A program that ends before fails the test with
// its log.
func Start(t testing.TB, spec Spec) *Process {
	t.Helper()
	p := Launch(t, spec)
	p.WaitReady()
	return p
}

// Launch is Start without waiting.
func Launch(t testing.TB, spec Spec) *Process {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), spec.Name+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{t: t, spec: spec, log: file.Name(), done: make(chan struct{})}
	p.cmd = exec.Command(spec.Path, spec.Args...)
	p.cmd.Env = append(os.Environ(), spec.Env...)
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = processAttributes()
	started := make(chan error)
	go func() {
		// The kernel ends the program when the thread that started it ends: keep that thread until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer file.Close()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", spec.Name, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			p.keepLog()
		}
	})
	return p
}

// WaitReady waits until the program answers, and fails the test when it ends before.
func (p *Process) WaitReady() {
	p.t.Helper()
	if p.spec.Ready == "" {
		return
	}
	within := p.spec.Within
	if within == 0 {
		within = time.Minute
	}
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !answers(p.spec.Ready) {
		select {
		case <-p.done:
			p.t.Fatalf("%s ended before it was ready: %v\n%s", p.spec.Name, p.err, p.Log())
		case <-deadline.C:
			p.t.Fatalf("%s was not ready within %s: %s says %s\n%s", p.spec.Name, within, p.spec.Ready, body(p.spec.Ready+"?verbose"), p.Log())
		case <-tick.C:
		}
	}
}

func answers(url string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func body(url string) string {
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
	return fmt.Sprintf("%d %s", response.StatusCode, text)
}

// Kill ends the program with kill -9 and waits for its end.
func (p *Process) Kill() {
	p.killed.Store(true)
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the program to end (SIGTERM) and gives its exit code; the test fails when it takes longer.
func (p *Process) Stop(within time.Duration) int {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.Wait(within)
}

// Wait waits for the program's own end and gives its exit code, -1 when a signal ended it.
func (p *Process) Wait(within time.Duration) int {
	p.t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.t.Fatalf("%s did not end within %s\n%s", p.spec.Name, within, p.Log())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Ended reports whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

const maxLogShown = 16 << 10

// Log is the end of what the program printed.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(text) > maxLogShown {
		text = append([]byte("...\n"), text[len(text)-maxLogShown:]...)
	}
	return fmt.Sprintf("--- log of %s:\n%s", p.spec.Name, text)
}

// keepLog copies a failed test's log out of its folder, which is about to be deleted.
func (p *Process) keepLog() {
	folder := filepath.Join(os.TempDir(), "headgate-failed", strings.ReplaceAll(p.t.Name(), "/", "_"))
	text, err := os.ReadFile(p.log)
	if err == nil {
		err = errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, filepath.Base(p.log)), text, 0o644))
	}
	if err != nil {
		p.t.Logf("keeping the log of %s: %v", p.spec.Name, err)
		return
	}
	p.t.Logf("the log of %s is kept in %s", p.spec.Name, folder)
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }
