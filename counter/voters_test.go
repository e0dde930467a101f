package counter_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/counter"
	"headgate.example/counter/client"
	"headgate.example/counter/replica"
	"headgate.example/lib/config"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

// shard is several voters in one process, with a network of their own.
type shard struct {
	t       *testing.T
	configs map[string]counter.Config
	clocks  map[string]time.Duration // added to a voter's wall clock
	running map[string]*running
	change  func(*replica.Config)
}

// newShard configures the voters. Nothing runs yet.
func newShard(t *testing.T, ids ...string) *shard {
	t.Helper()
	s := &shard{t: t, configs: make(map[string]counter.Config), clocks: make(map[string]time.Duration), running: make(map[string]*running), change: smallSegments}
	for _, id := range ids {
		s.configure(id)
	}
	var voters []counter.VoterConfig
	for _, id := range ids {
		voters = append(voters, s.configs[id].Voters[0])
	}
	for id, cfg := range s.configs {
		cfg.Voters = voters
		s.configs[id] = cfg
	}
	return s
}

// begin starts the voters; the first one begins the log when the others run.
func (s *shard) begin(ids ...string) {
	s.t.Helper()
	s.start(ids[1:]...)
	if err := s.bootstrap(ids[0]); err != nil {
		s.t.Fatal(err)
	}
	s.start(ids[0])
}

// configure makes a config that lists the voter alone.
func (s *shard) configure(id string) {
	s.t.Helper()
	cfg := testConfig(filepath.Join(s.t.TempDir(), id))
	cfg.Bootstrap = false
	cfg.Listen, cfg.RaftListen = servicetest.FreePort(s.t), servicetest.FreePort(s.t)
	cfg.RaftSecret = "a secret of the voters"
	cfg.VoterID = id
	cfg.Voters = []counter.VoterConfig{{ID: id, Raft: cfg.RaftListen, Client: cfg.Listen}}
	s.configs[id] = cfg
}

func (s *shard) bootstrap(id string) error {
	return counter.Bootstrap(s.t.Context(), s.configs[id], service.NewRuntime("counter", servicetest.Log(s.t)))
}

func (s *shard) start(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		offset := s.clocks[id]
		rt := service.NewRuntime("counter", servicetest.Log(s.t))
		rt.Health.SetReady(true)
		srv, err := counter.Open(s.t.Context(), s.configs[id], rt, counter.WithReplica(s.change),
			counter.WithClock(func() time.Time { return time.Now().Add(offset) }))
		if err != nil {
			s.t.Fatalf("opening voter %s: %v", id, err)
		}
		s.running[id] = serve(s.t, srv, rt)
	}
}

// leader waits for one that serves.
func (s *shard) leader() string {
	s.t.Helper()
	leader := ""
	servicetest.Eventually(s.t, 30*time.Second, "a leader", func() bool {
		for id, r := range s.running {
			if r.Ready() == nil {
				leader = id
				return true
			}
		}
		return false
	})
	return leader
}

func (s *shard) stop(id string) {
	s.t.Helper()
	r := s.running[id]
	delete(s.running, id)
	if err := r.stop(); err != nil {
		s.t.Errorf("stopping voter %s: %v", id, err)
	}
}

func (s *shard) addr(id string) string { return s.configs[id].Listen }

// ask asks the leader, whoever it is, until it answers: elections may come in between.
func (s *shard) ask(args ...string) string {
	s.t.Helper()
	answer := ""
	servicetest.Eventually(s.t, 30*time.Second, "an answer to "+strings.Join(args, " "), func() bool {
		for id := range s.running {
			var err error
			if answer, err = askOnce(s.addr(id), args...); err != nil {
				continue
			}
			word, _, _ := strings.Cut(answer, " ")
			if !slices.Contains([]string{"-MOVED", "-TRYAGAIN", "-UNKNOWN"}, word) { // what is asked for here may be repeated
				return true
			}
		}
		return false
	})
	return answer
}

func askOnce(addr string, args ...string) (string, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(nc, request(args...)); err != nil {
		return "", err
	}
	return readReply(bufio.NewReader(nc))
}

func (s *shard) client(ids ...string) *client.Client {
	s.t.Helper()
	cfg := client.DefaultConfig()
	cfg.Timeout = 30 * time.Second
	cfg.Shards[0].Addresses = nil
	for _, id := range ids {
		cfg.Shards[0].Addresses = append(cfg.Shards[0].Addresses, s.addr(id))
	}
	c, err := client.Open(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// votes is how many of the voters that the leader lists have a vote and answer.
func (s *shard) votes() int {
	list := s.voters()
	return strings.Count(list, `"votes" "1" "leads" "0" "reachable" "1"`) + strings.Count(list, `"votes" "1" "leads" "1" "reachable" "1"`)
}

// voters is the leader's list of them; another one's may be older.
func (s *shard) voters() string {
	s.t.Helper()
	list := ""
	servicetest.Eventually(s.t, 30*time.Second, "a list of voters", func() (told bool) {
		var err error
		list, err = askOnce(s.addr(s.leader()), "VOTERS")
		return err == nil
	})
	return list
}

// buyers press without a pause until stop; each must get its unit, whatever happens to the voters.
func (s *shard) buyers(c *client.Client, sale string) (bought *atomic.Int64, stop func()) {
	bought = new(atomic.Int64)
	ctx, cancel := context.WithCancel(s.t.Context())
	var press sync.WaitGroup
	for b := range 4 {
		press.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				r, err := c.Reserve(context.WithoutCancel(ctx), sale, fmt.Sprintf("u%d-%d", b, i), 1, "k")
				if err != nil || r.Refused() {
					s.t.Errorf("a buyer was told %+v, %v", r, err)
					return
				}
				bought.Add(1)
			}
		})
	}
	return bought, func() {
		cancel()
		press.Wait()
	}
}

func TestVotersHandOverChangeAndGrowWhileSelling(t *testing.T) {
	s := newShard(t, "c1", "c2", "c3")
	s.begin("c1", "c2", "c3")
	first := s.leader()
	if got := s.ask("SALE.OPEN", terms("1", 1_000_000, 1)); got != "+OK" {
		t.Fatal(got)
	}
	if got := s.ask("SALE.RESUME", "1", "2"); got != "+OK" {
		t.Fatal(got)
	}
	s.configure("c4")
	c := s.client("c1", "c2", "c3", "c4")
	bought, stop := s.buyers(c, "1")
	more := func(what string) {
		t.Helper()
		before := bought.Load()
		servicetest.Eventually(t, 30*time.Second, "sales go on "+what, func() bool { return bought.Load() > before+20 || t.Failed() })
	}
	more("at first")

	// A graceful stop hands over: the next leader is there at once.
	s.stop(first)
	more("after a hand-over")

	// A wiped voter is not taken for the one it was.
	if err := os.RemoveAll(s.configs[first].DataDir); err != nil {
		t.Fatal(err)
	}
	s.start(first)
	if err := s.bootstrap(first); err == nil {
		t.Error("a running voter was bootstrapped again")
	}
	servicetest.Eventually(t, 30*time.Second, "the wiped voter is shown as away", func() bool {
		return strings.Contains(s.voters(), `"leads" "0" "reachable" "0"`)
	})
	if report := s.running[first].rt.Health.Check(t.Context()); report.Ready() {
		t.Error("a wiped voter is ready")
	}
	s.stop(first)
	if err := s.bootstrap(first); err == nil || !strings.Contains(err.Error(), "lives already") {
		t.Errorf("a second bootstrap: %v", err)
	}

	// It is replaced under a new id, which gets the log and then its vote.
	s.start("c4")
	if got := s.ask("VOTER.ADD", "c4", s.configs["c4"].RaftListen, s.addr("c4")); got != "+OK" {
		t.Fatal(got)
	}
	servicetest.Eventually(t, 30*time.Second, "the new voter gets its vote", func() bool { return s.votes() == 3 })
	if got := s.ask("VOTER.REMOVE", first); got != "+OK" {
		t.Fatal(got)
	}
	more("after the replacement")

	// The leader itself can be taken out: it hands over first.
	leader := s.leader()
	if got := s.ask("VOTER.REMOVE", leader); got != "+OK" {
		t.Fatal(got)
	}
	more("after the leader was taken out")
	stop()
	if list := s.voters(); strings.Contains(list, `"`+leader+`"`) || strings.Contains(list, `"`+first+`"`) {
		t.Errorf("removed voters are still listed: %s", list)
	}
	if got := field(s.ask("SALE.INFO", "1"), "held"); got != fmt.Sprint(bought.Load()) {
		t.Errorf("%s units are held, %d were bought", got, bought.Load())
	}
}

// A voter that was away for longer than the log is kept gets a snapshot.
func TestLaggingVoterGetsASnapshot(t *testing.T) {
	s := newShard(t, "c1", "c2", "c3")
	s.change = func(c *replica.Config) { c.SnapshotEntries, c.TrailingLogs, c.SegmentBytes = 1000, 100, 1<<20 }
	s.begin("c1", "c2", "c3")
	s.leader()
	s.stop("c3")
	s.ask("SALE.OPEN", terms("1", 1_000_000, 1))
	s.ask("SALE.RESUME", "1", "2")
	c := s.client("c1", "c2")
	const entries = 2000 // more than are kept behind a snapshot: each is one, since one after the other is bought
	for i := range entries {
		if r, err := c.Reserve(t.Context(), "1", fmt.Sprintf("u%d", i), 1, "k"); err != nil || r.Refused() {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	snapshots := func(id string) int {
		found, _ := filepath.Glob(filepath.Join(s.configs[id].DataDir, "snapshots", "*", "state.bin"))
		return len(found)
	}
	servicetest.Eventually(t, 30*time.Second, "a snapshot at the leader", func() bool { return snapshots(s.leader()) > 0 })
	s.start("c3")
	servicetest.Eventually(t, 30*time.Second, "a snapshot at the voter that was away", func() bool { return snapshots("c3") > 0 })
	servicetest.Eventually(t, 30*time.Second, "it has caught up", func() bool { return s.votes() == 3 })
	s.stop("c3")
	s.start("c3") // from what it was sent
	for _, id := range []string{"c1", "c2"} {
		if s.running[id].Ready() == nil {
			s.stop(id) // c3 or the other one leads, and needs c3's vote
			break
		}
	}
	if got := field(s.ask("SALE.INFO", "1"), "held"); got != fmt.Sprint(entries) {
		t.Errorf("%s units are held, want %d", got, entries)
	}
}

func TestClockOfTheLeaderIsOff(t *testing.T) {
	s := newShard(t, "c1", "c2", "c3")
	s.clocks["c1"] = 400 * time.Millisecond
	s.begin("c1", "c2", "c3")
	alarm := func(id string) string {
		var text strings.Builder
		for _, check := range s.running[id].rt.Health.Check(t.Context()).Results {
			if check.Name == "clock" && check.Err != nil {
				text.WriteString(check.Err.Error())
			}
		}
		return text.String()
	}
	servicetest.Eventually(t, 30*time.Second, "alarms", func() bool {
		return strings.Contains(alarm("c1"), "differs from most others") && strings.Contains(alarm("c2"), "other voters are off: [c1 by")
	})
}

func TestVotersOfAnotherSecretAreRefused(t *testing.T) {
	s := newShard(t, "c1", "c2", "c3")
	s.begin("c1", "c2", "c3")
	s.leader()
	for id, cfg := range s.configs {
		s.stop(id)
		cfg.RaftSecret = config.Secret("the secret of " + id)
		s.configs[id] = cfg
	}
	s.start("c1", "c2", "c3")
	dialed := dial(t, s.addr("c1"))
	servicetest.Eventually(t, 30*time.Second, "elections have been tried", func() bool {
		return strings.Contains(dialed.do("INFO", "raft"), "raft_state:candidate")
	})
	if s.running["c1"].Ready() == nil {
		t.Error("a leader was elected by strangers")
	}
	dialed.want("-TRYAGAIN no leader serves yet", "SALE.LIST")
	if !strings.HasPrefix(dialed.do("VOTER.REMOVE", "c2"), "-TRYAGAIN") {
		t.Error("voters were changed without a leader")
	}
}

func TestVoterChangesThatAreRefused(t *testing.T) {
	s := newShard(t, "c1", "c2", "c3")
	s.begin("c1", "c2", "c3")
	servicetest.Eventually(t, 30*time.Second, "all voters answer", func() bool { return s.votes() == 3 })
	free := servicetest.FreePort(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"VOTER.ADD", "c9", "nowhere", free}, "raft: must be host:port"},
		{[]string{"VOTER.ADD", "c 9", free, free}, "id: must be"},
		{[]string{"VOTER.ADD", "c9", free, free}, "does not answer"},
		{[]string{"VOTER.ADD", "c9", s.configs["c2"].RaftListen, free}, "voter c2 has these addresses"},
		{[]string{"VOTER.ADD", "c2", s.configs["c2"].RaftListen, s.addr("c2")}, "+OK"}, // as it is
		{[]string{"VOTER.REMOVE", "c9"}, "+OK"},                                        // gone already
	} {
		if got := s.ask(c.args...); !strings.Contains(got, c.want) {
			t.Errorf("%v: %s, want %q", c.args, got, c.want)
		}
	}
	leader := s.leader()
	var followers []string
	for id := range s.running {
		if id != leader {
			followers = append(followers, id)
		}
	}
	s.stop(followers[0])
	if got := s.ask("VOTER.REMOVE", followers[1]); !strings.Contains(got, "only 1 of 2 voters would answer") {
		t.Errorf("removing the voter that the quorum needs: %s", got)
	}
}

// A shard that began with one voter gets others without losing anything: its config names them, and the
// log is told of each.
func TestAloneGrowsToThree(t *testing.T) {
	s := &shard{t: t, configs: make(map[string]counter.Config), clocks: make(map[string]time.Duration), running: make(map[string]*running), change: smallSegments}
	for _, id := range []string{"c1", "c2", "c3"} {
		s.configure(id)
	}
	alone := s.configs["c1"]
	alone.Bootstrap, alone.Voters = true, nil
	first := start(t, alone)
	socket := dial(t, first.Addr())
	socket.open("1", 10, 1)
	order := socket.reserve("1", "u1", 1, "k")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	s.start("c1", "c2", "c3")
	s.leader()
	for _, id := range []string{"c2", "c3"} {
		if got := s.ask("VOTER.ADD", id, s.configs[id].RaftListen, s.addr(id)); got != "+OK" {
			t.Fatal(got)
		}
	}
	servicetest.Eventually(t, 30*time.Second, "three voters", func() bool { return s.votes() == 3 })
	s.stop("c1")
	if got := s.ask("RESERVE", "1", "u1", "1", "k"); !strings.Contains(got, `"already" "`+order) {
		t.Errorf("the first voter's order at the others: %s", got)
	}
}

func TestAloneHasNoVoters(t *testing.T) {
	c := start(t, testConfig(t.TempDir()))
	got := dial(t, c.Addr()).do("VOTER.ADD", "c2", "127.0.0.1:1", "127.0.0.1:2")
	if !strings.HasPrefix(got, "-ERR voters: this counter runs alone") {
		t.Error(got)
	}
}
