package counter_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/counter"
	"headgate.example/counter/machine"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

// info asks for INFO and gives its fields by section.
func (s *socket) info(args ...string) map[string]map[string]string {
	s.t.Helper()
	text, err := strconv.Unquote(s.do(append([]string{"INFO"}, args...)...))
	if err != nil {
		s.t.Fatal(err)
	}
	sections, section := map[string]map[string]string{}, ""
	for line := range strings.SplitSeq(text, "\r\n") {
		if name, ok := strings.CutPrefix(line, "# "); ok {
			section = name
			sections[name] = map[string]string{}
		} else if name, value, ok := strings.Cut(line, ":"); ok {
			sections[section][name] = value
		} else if line != "" {
			s.t.Errorf("a line of INFO: %q", line)
		}
	}
	return sections
}

func TestInfoSections(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	c := dial(t, s.Addr())
	c.open("1", 5, 0)
	c.reserve("1", "u1", 2, "")
	servicetest.Eventually(t, 30*time.Second, "memory is ready for the sale", func() bool { return c.info()["Headgate"]["memory_ready"] == "1" })
	all := c.info()
	for _, want := range []struct{ section, field, value string }{
		{"Server", "redis_mode", "standalone"}, {"Clients", "connected_clients", "1"}, {"Clients", "maxclients", "4096"},
		{"Persistence", "loading", "0"}, {"Persistence", "disk_low", "0"}, {"Replication", "role", "master"},
		{"Stats", "total_connections_received", "1"}, {"Raft", "raft_state", "leader"}, {"Raft", "raft_entry_version", strconv.Itoa(machine.EntryVersion)},
		{"Headgate", "shard_name", "s1"},
		{"Headgate", "sales", "1"}, {"Headgate", "units_available", "3"}, {"Headgate", "units_held", "2"}, {"Headgate", "orders_held", "1"},
		{"Headgate", "sales_from_backup", "0"},
	} {
		if got := all[want.section][want.field]; got != want.value {
			t.Errorf("%s %s is %q, want %q", want.section, want.field, got, want.value)
		}
	}
	if used, err := strconv.Atoi(all["Memory"]["used_memory"]); err != nil || used < 1<<16 {
		t.Errorf("used_memory is %d: %v", used, err)
	}
	if some := c.info("memory", "HEADGATE"); len(some) != 2 || some["Memory"] == nil || some["Headgate"] == nil {
		t.Errorf("INFO memory HEADGATE: %v", some)
	}
}

// gate is a logger's output that stops at a line until it is opened.
type gate struct {
	at      string
	once    sync.Once
	reached chan struct{}
	open    chan struct{}
}

func (g *gate) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(g.at)) {
		g.once.Do(func() { close(g.reached) })
		<-g.open
	}
	return len(b), nil
}

// While the shard is recovered, the port answers what it is at, health is red and says why, and the rest
// is told to come again.
func TestRecoveryIsShown(t *testing.T) {
	cfg := testConfig(t.TempDir())
	s := start(t, cfg)
	c := dial(t, s.Addr())
	c.open("1", 100, 0)
	for i := range 20 {
		c.reserve("1", "u"+strconv.Itoa(i), 1, "")
	}
	cfg.Listen = s.Addr()
	cfg.ClientPassword, cfg.OperatorPassword = "buyer-secret", "operator-secret"
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	g := &gate{at: `step="checking the log"`, reached: make(chan struct{}), open: make(chan struct{})}
	rt := service.NewRuntime("counter", slog.New(slog.NewTextHandler(g, nil)))
	opened := make(chan *counter.Server, 1)
	go func() {
		s, err := counter.Open(context.Background(), cfg, rt)
		if err != nil {
			t.Error(err)
		}
		opened <- s
	}()
	<-g.reached
	early := dial(t, cfg.Listen)
	early.want("-NOAUTH Authentication required.", "INFO")
	early.want("+OK", "AUTH", "operator-secret")
	early.want("+PONG", "PING")
	persistence := early.info("persistence")["Persistence"]
	if persistence["loading"] != "1" || persistence["loading_step"] != "checking the log" || persistence["loading_unit"] != "entries" {
		t.Errorf("INFO: %v", persistence)
	}
	if total, err := strconv.Atoi(persistence["loading_total"]); err != nil || total < 20 {
		t.Errorf("loading_total is %d, %v", total, err)
	}
	for _, args := range [][]string{{"RESERVE", "1", "u", "1", ""}, {"CONFIRM", "1"}, {"SALE.INFO", "1"}, {"AUDIT", "1"}, {"BACKUP.OPEN"}, {"VOTERS"}} {
		if got := early.do(args...); !strings.HasPrefix(got, "-TRYAGAIN the counter is recovering: checking the log: ") {
			t.Errorf("%v: %s", args, got)
		}
	}
	if got := early.do("HELLO", "2"); !strings.Contains(got, `"role" "slave"`) {
		t.Errorf("HELLO: %s", got)
	}
	if err := probe(t, rt.Health.Check(t.Context()), "recovery"); err == nil || !strings.Contains(err.Error(), "checking the log") {
		t.Errorf("health: %v", err)
	}
	close(g.open)
	again := <-opened
	if again == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- again.Run(ctx) }()
	servicetest.Eventually(t, 30*time.Second, "the counter leads", func() bool { return again.Ready() == nil })
	if got := early.info()["Persistence"]["loading"]; got != "0" { // the same connection
		t.Errorf("loading is %q", got)
	}
	if got := early.do("RESERVE", "1", "late", "1", ""); !strings.HasPrefix(got, `["reserved"`) {
		t.Errorf("RESERVE: %s", got)
	}
	if err := probe(t, rt.Health.Check(t.Context()), "recovery"); err != nil {
		t.Errorf("health: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Each step of recovery is logged once at its end, with what it counted.
func TestRecoveryIsLogged(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.FinalSnapshot = true
	s := start(t, cfg)
	c := dial(t, s.Addr())
	c.open("1", 100, 0)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	again, err := counter.Open(t.Context(), cfg, service.NewRuntime("counter", slog.New(slog.NewTextHandler(log, nil))), counter.WithReplica(smallSegments))
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, line := range log.text {
		if _, rest, ok := strings.Cut(line, ` step="`); ok && strings.Contains(line, "msg=recovered") {
			step, _, _ := strings.Cut(rest, `"`)
			steps = append(steps, step)
		}
	}
	if want := []string{"checking the snapshots", "checking the log's files", "checking the log", "loading the snapshot"}; !slices.Equal(steps[:min(4, len(steps))], want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}

// lines keeps what is logged. slog writes one line at a time, under its own lock.
type lines struct{ text []string }

func (l *lines) Write(b []byte) (int, error) {
	l.text = append(l.text, string(b))
	return len(b), nil
}
