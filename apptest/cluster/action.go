//go:build linux

package cluster

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// silentAfter bounds the wait until a killed process' ports are free.
const silentAfter = 10 * time.Second

// signalLocked sends a signal to the process groups. Where a group's leader has ended, its number may have
// become another's: then only those are meant that work in the cluster's folder.
func (m *member) signalLocked(signal syscall.Signal) {
	var groups []int
	for _, p := range m.running {
		if slices.Contains(groups, p.group) {
			continue
		}
		groups = append(groups, p.group)
		if p.cmd.Process.Pid == p.group && !p.ended() {
			_ = syscall.Kill(-p.group, signal) // it may have ended just now
			continue
		}
		killOrphans(p.group, m.s.folder.Path, signal)
	}
}

// killOrphans signals the processes of a group that work in a folder.
func killOrphans(group int, folder string, signal syscall.Signal) (found int) {
	for _, s := range processes() {
		if s.group == group && worksIn(s.pid, folder) {
			_ = syscall.Kill(s.pid, signal)
			found++
		}
	}
	return found
}

// kill ends the member at once and waits until nothing of it is left.
func (m *member) kill() error {
	return m.end(Dead, "killed")
}

// end kills what is left of the member, and waits for it. A member that has no processes keeps its state.
func (m *member) end(state, note string) error {
	m.sample(spent())
	m.mu.Lock()
	if len(m.running) == 0 {
		m.mu.Unlock()
		return nil
	}
	m.ending = true
	m.signalLocked(syscall.SIGKILL)
	running := m.running
	m.mu.Unlock()
	for _, p := range running {
		<-p.done
	}
	m.watching.Wait()
	err := m.silence()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running, m.state, m.note = nil, state, note
	return err
}

// stop asks the member to end, and kills it when the context is over.
func (m *member) stop(ctx context.Context) error {
	m.mu.Lock()
	if len(m.running) == 0 {
		if m.state == Dead {
			m.state, m.note = Stopped, ""
		}
		m.mu.Unlock()
		return nil
	}
	m.ending = true
	if m.state == Paused {
		m.signalLocked(syscall.SIGCONT)
	}
	running, signal := m.running, m.recipe.stop
	m.mu.Unlock()
	note := ""
	for _, p := range slices.Backward(running) {
		_ = p.cmd.Process.Signal(signal)
		select {
		case <-p.done:
			continue
		case <-ctx.Done():
			note = "it did not end in time and was killed"
		}
		break
	}
	return m.end(Stopped, note)
}

// silence waits until nobody listens on the member's ports: its children die a moment after it.
func (m *member) silence() error {
	deadline := time.Now().Add(silentAfter)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := m.free()
		if err == nil || !time.Now().Before(deadline) {
			return err
		}
		<-tick.C
	}
}

// pause stops the member where it is.
func (m *member) pause() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.state == Paused:
		return nil
	case !m.aliveLocked():
		return conflictf("%s is %s: only a running member can be paused", m.entry.Name, m.state)
	}
	m.signalLocked(syscall.SIGSTOP)
	m.state = Paused
	return nil
}

// resume lets a paused member go on.
func (m *member) resume() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.aliveLocked():
		return conflictf("%s is %s: start it", m.entry.Name, m.state)
	case m.state != Paused:
		return nil
	}
	m.signalLocked(syscall.SIGCONT)
	m.state = Running
	select {
	case <-m.ready:
	default:
		m.state = Starting
	}
	return nil
}

// cutOff cuts the member off from all others, or heals it. A member without a process may be healed only.
func (m *member) cutOff(ctx context.Context, cut bool) error {
	if err := m.s.cuts.usable(); err != nil {
		return conflictf("%s cannot be cut off: %v", m.entry.Name, err)
	}
	if cut && !m.alive() {
		return conflictf("%s is not running: only a running member can be cut off", m.entry.Name)
	}
	rule := cutRule{gid: m.gid}
	for _, at := range m.entry.Listens {
		_, port, err := net.SplitHostPort(at.Address)
		if err != nil {
			return err
		}
		rule.ports = append(rule.ports, port)
	}
	if err := m.s.cuts.set(ctx, m.entry.Name, rule, cut); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = cut
	return nil
}

// reload asks the member to read its config again.
func (m *member) reload() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.aliveLocked() || m.state == Paused {
		return conflictf("%s is %s: only a running member can read its config again", m.entry.Name, m.state)
	}
	if m.entry.Kind == RabbitMQ || m.entry.Kind == MariaDB {
		return conflictf("%s has no config file that it could read again", m.entry.Name)
	}
	return m.running[len(m.running)-1].cmd.Process.Signal(syscall.SIGHUP)
}

// control runs the service's own tool.
func (m *member) control(ctx context.Context, args ...string) error {
	m.mu.Lock()
	r := m.recipe
	m.mu.Unlock()
	if r == nil || r.control == nil {
		return conflictf("%s has no such action", m.entry.Name)
	}
	if !m.alive() {
		return conflictf("%s is not running", m.entry.Name)
	}
	cmd := r.control(ctx, args)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(cmd.Path), strings.Join(args, " "), err, strings.TrimSpace(string(said)))
	}
	return nil
}
