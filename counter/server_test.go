package counter_test

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter"
	"headgate.example/counter/machine"
	"headgate.example/counter/replica"
	"headgate.example/lib/problem"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

// fullDisk is a log that cannot be written any more once full is set.
type fullDisk struct {
	raft.LogStore
	full atomic.Bool
}

func (f *fullDisk) StoreLogs(logs []*raft.Log) error {
	if f.full.Load() {
		return syscall.ENOSPC
	}
	return f.LogStore.StoreLogs(logs)
}

// When the log cannot be written, the command's outcome is unknown, nothing more is accepted, health is
// red, and Run ends with the reason, so that a supervisor starts the counter anew.
func TestLogFailureEndsTheServer(t *testing.T) {
	disk := &fullDisk{}
	rt := service.NewRuntime("counter", servicetest.Log(t))
	s, err := counter.Open(t.Context(), testConfig(t.TempDir()), rt, counter.WithReplica(func(c *replica.Config) {
		c.WrapLog = func(l raft.LogStore) raft.LogStore {
			disk.LogStore = l
			return disk
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	servicetest.Eventually(t, 30*time.Second, "the counter leads", func() bool { return s.Ready() == nil })
	c := dial(t, s.Addr())
	c.open("1", 10, 0)
	disk.full.Store(true)
	if got := c.do("RESERVE", "1", "u1", "1", ""); !strings.HasPrefix(got, "-UNKNOWN ") {
		t.Errorf("the command whose write failed: %s", got)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Run ended with %v", err)
	}
	report := rt.Health.Check(t.Context())
	if probe(t, report, "log") == nil {
		t.Errorf("health: %+v", report.Results)
	}
}

// probe gives what one probe said.
func probe(t *testing.T, report service.Report, name string) error {
	t.Helper()
	for _, r := range report.Results {
		if r.Name == name {
			return r.Err
		}
	}
	t.Fatalf("no probe %s in %+v", name, report.Results)
	return nil
}

func TestHealthAndMetrics(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	s.rt.Health.SetReady(true)
	if report := s.rt.Health.Check(t.Context()); !report.Ready() || report.Degraded() {
		t.Errorf("health: %+v", report.Results)
	}
	c := dial(t, s.Addr())
	c.open("1", 1, 0)
	c.reserve("1", "u1", 1, "")
	c.do("RESERVE", "1", "u2", "1", "")
	var text strings.Builder
	s.rt.Metrics.WritePrometheus(&text)
	for _, line := range []string{
		`headgate_counter_decisions_total{command="RESERVE",code="reserved"} 1`,
		`headgate_counter_decisions_total{command="RESERVE",code="sold_out"} 1`,
		`headgate_counter_refused_from_memory_total 1`,
		`headgate_counter_serving 1`,
		`headgate_counter_connections 1`,
		`headgate_counter_raft_state{state="leader"} 1`,
		`headgate_counter_sales 1`,
		`headgate_counter_units{state="held"} 1`,
		`headgate_counter_units{state="available"} 0`,
		`headgate_counter_orders{state="held"} 1`,
		`headgate_counter_orders{state="confirmed"} 0`,
		`headgate_counter_slow_clients_total 0`,
		`headgate_counter_group_commands_count `,
		`headgate_counter_commit_seconds_bucket{le="0.0002"} `,
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}

// The words of refusals are those that the edge knows.
func TestRefusalWords(t *testing.T) {
	known := 0
	for code := machine.CodeOK; code <= machine.CodeErr; code++ {
		_, ok := problem.FromRefusal(code.String())
		if ok != code.Refusal() {
			t.Errorf("%s is a refusal: %v, for the edge: %v", code, code.Refusal(), ok)
		}
		if ok {
			known++
		}
	}
	if known != 7 {
		t.Errorf("%d refusals", known)
	}
}
