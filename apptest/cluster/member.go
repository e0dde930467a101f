//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The states of a member. One that dies by itself or by a kill stays dead until it is started.
const (
	Stopped  = "stopped"
	Starting = "starting" // its process runs and is not ready yet
	Running  = "running"
	Paused   = "paused"
	Dead     = "dead"
)

// Status is what is told of a member.
type Status struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	PID     int     `json:"pid"` // 0: no process
	State   string  `json:"state"`
	Cut     bool    `json:"cut"`
	Address string  `json:"address"` // host:port for clients; "": none
	Admin   string  `json:"admin"`   // http://host:port; "": none
	Config  string  `json:"config"`
	Log     string  `json:"log"`
	Version string  `json:"version"`
	CPU     float64 `json:"cpu_seconds"` // of it and its children, summed over restarts
	// Restarts counts its starts after the first one.
	Restarts int `json:"restarts"`
	// Note says what happened that was not asked for: how it died, or that it had to be killed.
	Note string `json:"note,omitempty"`
	// Groups are the process groups, for whoever has to clean up after a supervisor that was killed.
	Groups []int  `json:"groups,omitempty"`
	Born   uint64 `json:"born,omitempty"` // of PID, in clock ticks since the machine booted
}

// fresh reports whether the member was never started.
func (s Status) fresh() bool { return s.State == Stopped && s.Version == "" }

// conflict is an action that the member's state does not allow.
type conflict struct{ why string }

func (c conflict) Error() string { return c.why }

func conflictf(format string, args ...any) error { return conflict{fmt.Sprintf(format, args...)} }

const (
	pollEvery   = 50 * time.Millisecond
	logTail     = 1500     // bytes shown when a start fails
	maxLogBytes = 16 << 20 // a longer log is put aside at the next start, as NAME.log.1
)

// member is one of the cluster's programs. One action at a time; see DESIGN.md for the locks.
type member struct {
	entry  Entry
	s      *Supervisor
	gid    uint32
	acting chan struct{} // holds a token while an action is under way

	mu       sync.Mutex
	state    string
	cut      bool
	bin      string // where its program is
	recipe   *recipe
	running  []*process // of the last start; the last one is the member itself
	ready    chan struct{}
	ending   bool // it was told to end
	starts   int
	used     time.Duration // CPU of earlier runs
	sampled  time.Duration // CPU of this run, when it was last looked at
	note     string
	watching sync.WaitGroup
}

func newMember(s *Supervisor, e Entry, gid uint32) *member {
	return &member{entry: e, s: s, gid: gid, acting: make(chan struct{}, 1), state: Stopped, bin: s.bin}
}

// act takes the member's turn.
func (m *member) act(ctx context.Context) (done func(), err error) {
	select {
	case m.acting <- struct{}{}:
		return func() { <-m.acting; m.s.save() }, nil
	case <-ctx.Done():
		return nil, conflictf("%s is busy with another action", m.entry.Name)
	}
}

func (m *member) logFile() string { return filepath.Join(m.s.folder.Logs(), m.entry.Name+".log") }

// alive reports whether its own process runs, paused or not.
func (m *member) alive() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.aliveLocked()
}

func (m *member) aliveLocked() bool {
	return len(m.running) > 0 && !m.running[len(m.running)-1].ended()
}

// start starts the member and waits until it is ready. One that runs but is not ready in time is left
// running, and the error says why it is not ready.
func (m *member) start(ctx context.Context) error {
	m.mu.Lock()
	switch {
	case m.cut:
		m.mu.Unlock()
		return conflictf("%s is cut off and could not become ready: heal it first", m.entry.Name)
	case m.state == Paused:
		m.mu.Unlock()
		return conflictf("%s is paused: resume it", m.entry.Name)
	case m.aliveLocked():
		m.mu.Unlock()
		return m.await(ctx)
	}
	bin := m.bin
	m.mu.Unlock()
	if err := m.kill(); err != nil { // what it started may have outlived it
		return err
	}
	if err := m.free(); err != nil {
		return err
	}
	r, err := m.s.recipeOf(ctx, &m.entry, bin)
	if err != nil {
		return fmt.Errorf("%s: %w", m.entry.Name, err)
	}
	bound, err := newQuota(m.s.folder, m.entry.Name, m.entry.CPU)
	if err != nil {
		return fmt.Errorf("%s: %w", m.entry.Name, err)
	}
	if err := m.launch(r, bound); err != nil {
		return fmt.Errorf("%s: %w", m.entry.Name, err)
	}
	return m.await(ctx)
}

// free finds a port that another program has taken.
func (m *member) free() error {
	var errs []error
	for _, at := range m.entry.Listens {
		l, err := net.Listen("tcp", at.Address)
		if err == nil {
			err = l.Close()
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			_, digits, _ := net.SplitHostPort(at.Address)
			port, _ := strconv.Atoi(digits)
			err = fmt.Errorf("%s: %s (%s) is taken by %s: end that, or give the cluster other ports with --shift", m.entry.Name, at.Address, at.Field, listener(port))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// openLog opens the member's log to append to; one that is too long is put aside first.
func (m *member) openLog() (*os.File, error) {
	if old, err := os.Stat(m.logFile()); err == nil && old.Size() > maxLogBytes {
		if err := os.Rename(m.logFile(), m.logFile()+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(m.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func (m *member) launch(r *recipe, bound *quota) error {
	log, err := m.openLog()
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the processes have it
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recipe, m.running, m.ending, m.ready, m.note, m.sampled = r, nil, false, make(chan struct{}), "", 0
	group := 0
	for _, cmd := range r.commands() {
		cmd.Stdout, cmd.Stderr = log, log
		p, err := startProcess(cmd, group, m.gid)
		if err == nil {
			group = p.group
			m.running = append(m.running, p)
			err = bound.hold(cmd.Process.Pid)
		}
		if err != nil {
			m.signalLocked(syscall.SIGKILL)
			return err
		}
	}
	m.state = Starting
	m.starts++
	m.watchLocked(r, m.running[len(m.running)-1])
	return nil
}

// watchLocked sees the member's process become ready and end.
func (m *member) watchLocked(r *recipe, own *process) {
	ready := m.ready
	ctx, cancel := context.WithCancel(context.Background())
	m.watching.Go(func() { // ends with the process
		defer cancel()
		<-own.done
		m.gone(own)
	})
	m.watching.Go(func() { m.becomeReady(ctx, r, own, ready) })
}

// becomeReady asks until it is ready or has ended.
func (m *member) becomeReady(ctx context.Context, r *recipe, own *process, ready chan struct{}) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := r.ready(ctx)
		m.mu.Lock()
		switch {
		case own.ended():
			m.mu.Unlock()
			return
		case err == nil:
			if m.state == Starting {
				m.state, m.note = Running, ""
			}
			close(ready)
			m.mu.Unlock()
			m.s.save()
			return
		}
		m.note = "not ready: " + err.Error()
		m.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// gone notes that the member's process has ended.
func (m *member) gone(own *process) {
	m.mu.Lock()
	usage := own.cmd.ProcessState
	if at := slices.Index(m.running, own); at < len(m.running)-1 { // its successor runs: see handOver
		m.running = slices.Delete(slices.Clone(m.running), at, at+1)
		m.used += usage.UserTime() + usage.SystemTime()
		m.sampled = 0
		m.mu.Unlock()
		return
	}
	m.used += max(m.sampled, usage.UserTime()+usage.SystemTime())
	m.sampled = 0
	if m.ending { // whoever told it to end says the state
		m.mu.Unlock()
		return
	}
	m.state, m.note = Dead, own.end()
	m.mu.Unlock()
	m.s.log.Warn("a member died", "member", m.entry.Name, "how", own.end())
	m.s.save()
}

// await waits until the member is ready.
func (m *member) await(ctx context.Context) error {
	m.mu.Lock()
	ready, own := m.ready, m.running[len(m.running)-1]
	m.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-own.done:
		return fmt.Errorf("%s: %s before it was ready%s", m.entry.Name, own.end(), m.tail())
	case <-ctx.Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		return fmt.Errorf("%s runs, and is not ready in time: %s (log: %s)", m.entry.Name, strings.TrimPrefix(m.note, "not ready: "), m.logFile())
	}
}

// tail is the end of the member's log.
func (m *member) tail() string {
	text, err := os.ReadFile(m.logFile())
	if err != nil || len(text) == 0 {
		return ""
	}
	return fmt.Sprintf("\n--- end of %s\n%s", m.logFile(), strings.TrimSpace(string(text[max(0, len(text)-logTail):])))
}

// sample notes what the member's groups have used.
func (m *member) sample(groups map[int]time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum time.Duration
	seen := make(map[int]bool)
	for _, p := range m.running {
		if !seen[p.group] {
			seen[p.group] = true
			sum += groups[p.group]
		}
	}
	m.sampled = max(m.sampled, sum)
}

// status tells of the member; groups are what spent gives.
func (m *member) status(groups map[int]time.Duration) Status {
	m.sample(groups)
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{Name: m.entry.Name, Kind: m.entry.Kind, State: m.state, Cut: m.cut, Address: m.entry.Address(), Config: m.entry.Config,
		Log: m.logFile(), CPU: (m.used + m.sampled).Seconds(), Restarts: max(0, m.starts-1), Note: m.note}
	if m.entry.Admin != "" {
		s.Admin = "http://" + m.entry.Admin
	}
	if m.recipe != nil {
		s.Version = m.recipe.version
	}
	for _, p := range m.running {
		if !slices.Contains(s.Groups, p.group) {
			s.Groups = append(s.Groups, p.group)
		}
	}
	if m.aliveLocked() {
		s.PID = m.running[len(m.running)-1].cmd.Process.Pid
		if of, err := readStat(s.PID); err == nil {
			s.Born = of.born
		}
	}
	return s
}
