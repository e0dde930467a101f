//go:build linux

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options of a cluster.
type Options struct {
	Folder Folder
	// Source is the folder with cluster.yaml and the config files.
	Source string
	// Bin is the folder of Headgate's programs.
	Bin string
	// Tools are the paths of nginx and nft, by their names in apptest/services.
	Tools map[string]string
	Log   *slog.Logger
}

// State is what is told of a cluster, and what cluster.json holds.
type State struct {
	Version        int      `json:"version"`
	Edge           string   `json:"edge"`
	OperatorConfig string   `json:"operator_config"`
	EnvFile        string   `json:"env_file"`
	Logs           string   `json:"logs"`
	Members        []Status `json:"members"`
	// Supervisor and Born are of the process that runs the cluster; Bin is where its programs are.
	Supervisor int    `json:"supervisor"`
	Born       uint64 `json:"born"`
	Bin        string `json:"bin"`
}

// stateVersion of State.
const stateVersion = 1

const (
	startWithin = 90 * time.Second // a step of the start
	stopWithin  = 30 * time.Second // a step of the end
)

// Supervisor runs the members of a cluster.
type Supervisor struct {
	folder Folder
	source string
	bin    string
	tools  map[string]string
	log    *slog.Logger
	cuts   *cutter
	lock   *os.File

	mu      sync.Mutex // of what follows
	layout  *Layout
	env     []string
	members []*member
	gids    int // used so far

	saving sync.Mutex // of cluster.json
}

// Open takes the folder, clears away what a supervisor that was killed has left, and reads the layout and
// the secrets. Nothing is started yet. say is told what was cleared away.
func Open(ctx context.Context, o Options, say func(format string, args ...any)) (*Supervisor, error) {
	lock, err := o.Folder.lock()
	if err != nil {
		return nil, err
	}
	s := &Supervisor{folder: o.Folder, source: o.Source, bin: o.Bin, tools: o.Tools, log: o.Log, cuts: newCutter(o.Tools["nftables"], o.Folder), lock: lock}
	if err = errors.Join(o.Folder.clearLeft(say), s.cuts.clear(ctx)); err == nil {
		err = s.read()
	}
	if err == nil {
		err = s.check(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// read reads the layout, and makes the members that are new.
func (s *Supervisor) read() error {
	layout, err := ReadLayout(s.source)
	if err != nil {
		return err
	}
	env, err := s.folder.Env(layout)
	if err != nil {
		return fmt.Errorf("the secrets: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		e := layout.Find(m.entry.Name)
		if e == nil {
			return fmt.Errorf("%s runs, and is no longer in %s: stop the cluster to take a member away", m.entry.Name, LayoutFile)
		}
	}
	s.layout, s.env = layout, env
	for _, e := range layout.Members {
		if s.find(e.Name) == nil {
			s.members = append(s.members, newMember(s, e, s.nextGID()))
		}
	}
	return nil
}

// nextGID gives each member a group id of its own, in a range that no distribution uses.
func (s *Supervisor) nextGID() uint32 {
	if os.Geteuid() != 0 {
		return 0
	}
	const base, each = 1 << 30, 256
	s.gids++
	return base + s.folder.id()%(1<<20)*each + uint32(s.gids) //nolint:gosec // at most MaxMembers
}

// find needs mu.
func (s *Supervisor) find(name string) *member {
	if i := slices.IndexFunc(s.members, func(m *member) bool { return m.entry.Name == name }); i >= 0 {
		return s.members[i]
	}
	return nil
}

// secret is a value of the environment file.
func (s *Supervisor) secret(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return getEnv(s.env, name)
}

func (s *Supervisor) member(name string) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(name)
}

func (s *Supervisor) all() []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.members)
}

// check has the programs read their config files: nginx its own, `headgate check` the others.
func (s *Supervisor) check(ctx context.Context) error {
	args := []string{"check", s.operatorConfig()}
	for _, m := range s.all() {
		switch {
		case m.entry.Kind == Nginx:
			if err := s.checkNginx(ctx, &m.entry); err != nil {
				return err
			}
		case m.entry.Config != "":
			args = append(args, m.entry.Config)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "headgate"), args...) //nolint:gosec // ours
	cmd.Env = s.programEnv()
	if said, err := cmd.CombinedOutput(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return fmt.Errorf("%w (make build)", err)
		}
		var wrong []string
		for line := range strings.Lines(string(said)) {
			if !strings.Contains(line, ": right (") {
				wrong = append(wrong, strings.TrimSpace(line))
			}
		}
		return fmt.Errorf("a config file is wrong:\n%s", strings.Join(wrong, "\n"))
	}
	return nil
}

func (s *Supervisor) operatorConfig() string { return filepath.Join(s.source, "headgate.yaml") }

// Start starts all members, in steps; say is told of each that is ready. After an error nothing runs.
func (s *Supervisor) Start(ctx context.Context, say func(format string, args ...any)) error {
	var errs []error
	for _, m := range s.all() { // all at once, so that nothing has to be stopped again
		errs = append(errs, m.free())
	}
	err := errors.Join(errs...)
	if err == nil {
		err = s.start(ctx, s.all(), say)
	}
	if err != nil {
		return errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	return nil
}

func (s *Supervisor) start(ctx context.Context, members []*member, say func(format string, args ...any)) error {
	for _, step := range startOrder() {
		ctx, cancel := context.WithTimeout(ctx, startWithin)
		var mu sync.Mutex
		var errs []error
		var group sync.WaitGroup
		for _, m := range members {
			if !slices.Contains(step, m.entry.Kind) {
				continue
			}
			group.Go(func() {
				began := time.Now()
				err := s.startOne(ctx, m, members)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					errs = append(errs, err)
					cancel() // the others need not be waited for
					return
				}
				say("%-14s ready in %.1f s%s", m.entry.Name, time.Since(began).Seconds(), at(m.entry.Address()))
			})
		}
		group.Wait()
		cancel()
		if len(errs) > 0 {
			return errs[0] // the others ended because of it
		}
	}
	return nil
}

func at(address string) string {
	if address == "" {
		return ""
	}
	return " on " + address
}

// startOne starts a member; the first voter of a shard without a log begins it.
func (s *Supervisor) startOne(ctx context.Context, m *member, members []*member) error {
	done, err := m.act(ctx)
	if err != nil {
		return err
	}
	defer done()
	if m.entry.Kind == Counter && s.firstOfNewShard(m, members) {
		cmd := exec.CommandContext(ctx, filepath.Join(m.bin, Counter), "--bootstrap", "--config", m.entry.Config) //nolint:gosec // ours
		cmd.Dir, cmd.Env = s.folder.Path, s.programEnv()
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("beginning the log of shard %s on %s: %w\n%s", m.entry.Shard, m.entry.Name, err, said)
		}
		if err := os.WriteFile(s.begun(m.entry.Shard), []byte("The log of this shard was begun.\n"), 0o600); err != nil {
			return err
		}
	}
	return m.start(ctx)
}

// begun is the file that says that a shard's log was begun: that is done once in a shard's life.
func (s *Supervisor) begun(shard string) string { return s.folder.join("begun-" + shard) }

// firstOfNewShard reports whether a member is the first voter of a shard whose log was never begun.
func (s *Supervisor) firstOfNewShard(m *member, members []*member) bool {
	first := slices.IndexFunc(members, func(other *member) bool { return other.entry.Kind == Counter && other.entry.Shard == m.entry.Shard })
	if members[first] != m {
		return false
	}
	_, err := os.Stat(s.begun(m.entry.Shard))
	return errors.Is(err, fs.ErrNotExist)
}

// Sync reads the layout again, starts the members that were never started, and gives their names.
func (s *Supervisor) Sync(ctx context.Context) (names []string, err error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	var fresh []*member
	for _, m := range s.all() {
		if m.status(nil).fresh() {
			fresh, names = append(fresh, m), append(names, m.entry.Name)
		}
	}
	err = s.start(ctx, fresh, func(string, ...any) {})
	s.save()
	return names, err
}

// Close ends all members gently, those first that others do not need, and frees the folder.
func (s *Supervisor) Close(ctx context.Context) error {
	var mu sync.Mutex
	var errs []error
	errs = append(errs, s.cuts.clear(ctx)) // before, so that they can say goodbye
	for _, step := range slices.Backward(startOrder()) {
		ctx, cancel := context.WithTimeout(ctx, stopWithin)
		var group sync.WaitGroup
		for _, m := range s.all() {
			if !slices.Contains(step, m.entry.Kind) {
				continue
			}
			group.Go(func() {
				done, err := m.act(ctx)
				if err == nil {
					defer done()
				}
				if err := m.stop(ctx); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			})
		}
		group.Wait()
		cancel()
	}
	s.save()
	return errors.Join(append(errs, removeQuotas(s.folder), s.lock.Close())...)
}

// State tells of all members.
func (s *Supervisor) State() State {
	s.mu.Lock()
	members, edge := slices.Clone(s.members), s.layout.Edge()
	s.mu.Unlock()
	st := State{Version: stateVersion, Edge: edge, OperatorConfig: s.operatorConfig(), EnvFile: s.folder.EnvFile(), Logs: s.folder.Logs(),
		Supervisor: os.Getpid(), Bin: s.bin}
	if own, err := readStat(st.Supervisor); err == nil {
		st.Born = own.born
	}
	groups := spent()
	for _, m := range members {
		st.Members = append(st.Members, m.status(groups))
	}
	return st
}

// save writes cluster.json.
func (s *Supervisor) save() {
	s.saving.Lock()
	defer s.saving.Unlock()
	text, err := json.MarshalIndent(s.State(), "", "  ")
	if err == nil {
		err = writePrivate(s.folder.join(stateName), string(text)+"\n")
	}
	if err != nil {
		s.log.Error("writing the cluster's state", "error", err)
	}
}
