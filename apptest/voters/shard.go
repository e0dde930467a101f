package voters

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"headgate.example/apptest/ports"
)

// Shard is the voters of one shard, each a process.
type Shard struct {
	Name   string // s1, s2, ...
	Voters []*Voter
	all    []*Shard // of the counter, this one included, by number
	links  *links
	ports  []func() // give up the voters' ports
	binary string
	folder string
}

// Voter is one of them.
type Voter struct {
	ID     string
	Client string // host:port of RESP
	Raft   string // host:port where the others reach it: the proxy
	listen string // host:port where it listens for them
	folder string
	config string
	log    string
	shard  *Shard
	cmd    *exec.Cmd
	done   chan struct{} // nil when it was never started
}

// New configures so many voters of the only shard in a folder. None runs yet.
func New(binary, folder string, count int) (*Shard, error) {
	shards, err := NewCounter(binary, folder, 1, count)
	if err != nil {
		return nil, err
	}
	return shards[0], nil
}

// NewCounter configures a counter of so many shards, with so many voters each, in a folder. None runs yet.
func NewCounter(binary, folder string, shards, voters int) (all []*Shard, err error) {
	defer func() {
		if err != nil {
			for _, s := range all {
				s.Close()
			}
		}
	}()
	for number := range shards {
		s := &Shard{Name: fmt.Sprintf("s%d", number+1), links: newLinks(), binary: binary}
		all = append(all, s)
		s.folder = filepath.Join(folder, s.Name)
		if err := os.Mkdir(s.folder, 0o700); err != nil {
			return all, err
		}
		for i := range voters {
			if err := s.place(fmt.Sprintf("c%d", i+1)); err != nil {
				return all, err
			}
		}
	}
	for _, s := range all {
		s.all = all
		for _, v := range s.Voters {
			if err := v.configure(); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// Newcomer configures one more voter, which the others do not know yet.
func (s *Shard) Newcomer(id string) (*Voter, error) {
	if err := s.place(id); err != nil {
		return nil, err
	}
	v := s.Voters[len(s.Voters)-1]
	return v, v.configure()
}

// place gives a voter its ports, and opens the proxy before its raft port.
func (s *Shard) place(id string) error {
	own, release, err := ports.Reserve(3)
	if err != nil {
		return err
	}
	s.ports = append(s.ports, release)
	v := &Voter{ID: id, Client: own[0], Raft: own[2], listen: own[1], shard: s}
	v.folder, v.config, v.log = filepath.Join(s.folder, id), filepath.Join(s.folder, id+".yaml"), filepath.Join(s.folder, id+".log")
	s.Voters = append(s.Voters, v)
	return s.links.door(v.Raft, id, v.listen)
}

func (v *Voter) configure() error {
	var text strings.Builder
	fmt.Fprintf(&text, "service: {mode: development, admin: '', log_format: text, drain_for: 5s}\nlisten: %s\nraft_listen: %s\nraft_secret: %s\ndata_dir: %s\nvoter_id: %s\n",
		v.Client, v.listen, "the voters' secret", v.folder, v.ID)
	for number, s := range v.shard.all {
		if s == v.shard {
			fmt.Fprintf(&text, "shard: {name: %s, number: %d}\nvoters:\n", s.Name, number)
			for _, each := range s.Voters {
				fmt.Fprintf(&text, "  - {id: %s, raft: %q, client: %q}\n", each.ID, each.Raft, each.Client)
			}
		}
	}
	if len(v.shard.all) > 1 {
		text.WriteString("peers:\n")
	}
	for number, s := range v.shard.all {
		if s != v.shard {
			fmt.Fprintf(&text, "  - {name: %s, number: %d, addresses: [%s]}\n", s.Name, number, strings.Join(s.Addresses(), ", "))
		}
	}
	return os.WriteFile(v.config, []byte(text.String()), 0o600)
}

// Addresses are where the voters answer RESP.
func (s *Shard) Addresses() []string {
	var addresses []string
	for _, v := range s.Voters {
		addresses = append(addresses, v.Client)
	}
	return addresses
}

// Config is the voter's config file.
func (v *Voter) Config() string { return v.config }

// Folder is the voter's data folder.
func (v *Voter) Folder() string { return v.folder }

// Ended is closed when a voter that was started has ended, by itself too.
func (v *Voter) Ended() <-chan struct{} { return v.done }

// Start starts every voter for the first time, begins their log, and waits for a leader.
func (s *Shard) Start(ctx context.Context) error {
	first := s.Voters[0]
	for _, v := range s.Voters[1:] {
		if err := v.Start(); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, s.binary, "--bootstrap", "--config", first.config).CombinedOutput(); err != nil {
		return fmt.Errorf("bootstrapping: %w\n%s", err, out)
	}
	if err := first.Start(); err != nil {
		return err
	}
	_, err := s.Leader(ctx)
	return err
}

// Close ends all processes at once, and the network.
func (s *Shard) Close() {
	for _, v := range s.Voters {
		v.Kill()
	}
	s.links.close()
	for _, release := range s.ports {
		release()
	}
}

// Start starts a voter that does not run.
func (v *Voter) Start() error {
	log, err := os.OpenFile(v.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	v.cmd = exec.Command(v.shard.binary, "--config", v.config)
	v.cmd.Stdout, v.cmd.Stderr = log, log
	v.cmd.SysProcAttr = processAttributes()
	started := make(chan error)
	done := make(chan struct{})
	cmd := v.cmd
	go func() {
		// The kernel ends the process when the thread that started it ends: keep that thread until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // a kill is how it ends
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	v.done = done
	return nil
}

// Kill ends the voter with kill -9.
func (v *Voter) Kill() {
	if v.done == nil {
		return
	}
	_ = v.cmd.Process.Kill()
	<-v.done
	v.done = nil
}

// Stop ends it gently.
func (v *Voter) Stop() {
	_ = v.cmd.Process.Signal(syscall.SIGTERM)
	<-v.done
	v.done = nil
}

// Pause stops the process where it is; Resume lets it go on.
func (v *Voter) Pause() error { return v.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (v *Voter) Resume() error { return v.cmd.Process.Signal(syscall.SIGCONT) }

// CutOff cuts the voter off from the others, both ways, or mends it. Clients still reach it.
func (v *Voter) CutOff(cut bool) {
	for _, other := range v.shard.Voters {
		if other != v {
			v.shard.links.set(v.ID, other.ID, cut)
			v.shard.links.set(other.ID, v.ID, cut)
		}
	}
}

// Running reports whether the voter was started and not ended since.
func (v *Voter) Running() bool { return v.done != nil }

// Log is the end of what the voter printed.
func (v *Voter) Log() string {
	const most = 8 << 10
	text, err := os.ReadFile(v.log)
	if err != nil {
		return err.Error()
	}
	return "--- log of " + v.ID + ":\n" + string(text[max(0, len(text)-most):])
}

const (
	askFor   = 300 * time.Millisecond
	askEvery = 20 * time.Millisecond
)

// serves asks a voter whether it leads and answers.
func (v *Voter) serves() bool {
	c, err := Dial(v.Client, askFor)
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Do(askFor, "SALE.INFO", "nothing")
	return err == nil
}

// Leader waits for the voter that serves.
func (s *Shard) Leader(ctx context.Context) (*Voter, error) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		for _, v := range s.Voters {
			if v.Running() && v.serves() {
				return v, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("no leader: %w", ctx.Err())
		}
	}
}

// Do asks the leader, whoever it is, until it answers; for commands that may be repeated.
func (s *Shard) Do(ctx context.Context, args ...string) (any, error) {
	for {
		v, err := s.Leader(ctx)
		if err != nil {
			return nil, err
		}
		c, err := Dial(v.Client, askFor)
		if err != nil {
			continue
		}
		reply, err := c.Do(5*time.Second, args...)
		c.Close()
		if errors.Is(err, ReplyError("MOVED")) || errors.Is(err, ReplyError("TRYAGAIN")) {
			continue
		}
		return reply, err
	}
}

// OpenSale opens a sale on all shards of the counter; it sells at once.
func (s *Shard) OpenSale(ctx context.Context, id string, stock, limit int) error {
	for _, each := range s.all {
		if _, err := each.Do(ctx, "SALE.OPEN", s.Terms(id, stock, limit)); err != nil {
			return err
		}
	}
	for _, each := range s.all {
		if _, err := each.Do(ctx, "SALE.RESUME", id, "2"); err != nil {
			return err
		}
	}
	return nil
}

// Terms are those of a sale on all shards of the counter, as OpenSale opens it.
func (s *Shard) Terms(id string, stock, limit int) string {
	var names []string
	for _, each := range s.all {
		names = append(names, strconv.Quote(each.Name))
	}
	return fmt.Sprintf(`{"id":%q,"revision":1,"stock":%d,"limit":%d,"opens_at":1767225600000,"hold_for_ms":600000,"retain_for_ms":86400000,"shards":[%s],"ring":{"partitions":271,"replicas":100,"load":1.05}}`,
		id, stock, limit, strings.Join(names, ","))
}
