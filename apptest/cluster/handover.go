//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errCannotHandOver: the sockets of a running nginx cannot be had, so that it can only be stopped and started.
var errCannotHandOver = errors.New("its listening sockets cannot be handed over")

// handOver restarts nginx without closing its port for a moment: a new one starts on the listening sockets of the
// old one, as in nginx' own upgrade of its binary (which it refuses to programs that do not daemonize), and the
// old one finishes what it has. After an error the old one serves on.
func (m *member) handOver(ctx context.Context) error {
	if err := m.s.checkNginx(ctx, &m.entry); err != nil {
		return err
	}
	r, err := m.s.recipeOf(ctx, &m.entry, m.bin)
	if err != nil {
		return err
	}
	bound, err := newQuota(m.s.folder, m.entry.Name, m.entry.CPU)
	if err != nil {
		return err
	}
	m.mu.Lock()
	old := m.running[len(m.running)-1]
	m.mu.Unlock()
	next, err := m.startBeside(r, old)
	if err != nil {
		return err
	}
	if err := errors.Join(bound.hold(next.cmd.Process.Pid), working(ctx, next)); err != nil {
		m.withdraw(next)
		return fmt.Errorf("%s: the new one does not work, the old one goes on: %w%s", m.entry.Name, err, m.tail())
	}
	note := m.retire(ctx, old)
	m.mu.Lock()
	m.recipe, m.state, m.ready = r, Starting, make(chan struct{})
	m.starts++
	m.watchLocked(r, next)
	m.mu.Unlock()
	// The old one took the file with it, which `nginx -s` and log rotation read.
	pid := filepath.Join(m.s.folder.join(m.entry.Name), "nginx.pid")
	if err := os.WriteFile(pid, []byte(strconv.Itoa(next.cmd.Process.Pid)+"\n"), 0o600); err != nil {
		return err
	}
	if err := m.await(ctx); err != nil || note == "" {
		return err
	}
	m.mu.Lock()
	m.note = note
	m.mu.Unlock()
	return nil
}

// startBeside starts another process of the member on the sockets of the one that runs. It is the member's own from then on.
func (m *member) startBeside(r *recipe, old *process) (*process, error) {
	sockets, err := listeningSockets(old.cmd.Process.Pid)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCannotHandOver, err)
	}
	defer closeAll(sockets) // the new process has its own
	log, err := m.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the process has it
	cmd := r.commands()[0]
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, sockets
	var list strings.Builder
	for i := range sockets {
		fmt.Fprintf(&list, "%d;", 3+i) // behind standard input, output and error
	}
	cmd.Env = append(os.Environ(), "NGINX="+list.String())
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := startProcess(cmd, 0, m.gid)
	if err == nil {
		m.running = append(slices.Clone(m.running), next)
	}
	return next, err
}

// working waits until nginx has started a worker: then its config is read and its sockets are taken.
func working(ctx context.Context, p *process) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if slices.ContainsFunc(processes(), func(s stat) bool { return s.group == p.group && s.pid != p.cmd.Process.Pid }) {
			return nil
		}
		select {
		case <-p.done:
			return errors.New(p.end())
		case <-ctx.Done():
			return errors.New("it has no worker yet")
		case <-tick.C:
		}
	}
}

// withdraw ends a new process that does not work.
func (m *member) withdraw(next *process) {
	_ = syscall.Kill(-next.group, syscall.SIGKILL) // it may have ended
	<-next.done
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = slices.DeleteFunc(slices.Clone(m.running), func(p *process) bool { return p == next })
	if len(m.running) == 0 { // so did the old one, meanwhile
		m.state, m.note = Dead, next.end()
	}
}

// retire lets the old process finish what it has under way, until the context is over. The note tells of one that was killed.
func (m *member) retire(ctx context.Context, old *process) (note string) {
	_ = old.cmd.Process.Signal(syscall.SIGQUIT) // it may have died
	select {
	case <-old.done:
		return ""
	case <-ctx.Done():
		_ = syscall.Kill(-old.group, syscall.SIGKILL)
		<-old.done
		return "the one before did not end in time and was killed"
	}
}

// listeningSockets copies the sockets that a process listens on. Close them.
func listeningSockets(pid int) (sockets []*os.File, err error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(process) //nolint:errcheck // only read
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		number, err := strconv.Atoi(e.Name())
		to, linkErr := os.Readlink(filepath.Join(folder, e.Name()))
		if err != nil || linkErr != nil || !strings.HasPrefix(to, "socket:") {
			continue
		}
		fd, err := unix.PidfdGetfd(process, number, 0)
		if err != nil {
			closeAll(sockets)
			return nil, err
		}
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listens == 1 {
			sockets = append(sockets, os.NewFile(uintptr(fd), to))
			continue
		}
		_ = unix.Close(fd)
	}
	if len(sockets) == 0 {
		return nil, errors.New("it listens on none")
	}
	return sockets, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // copies
	}
}
