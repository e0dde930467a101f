package counter

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/counter/machine"
	"headgate.example/counter/replica"
)

const (
	maxKinds = int(machine.Revoke) + 1
	maxCodes = int(machine.CodeErr) + 1
)

// meter holds the counter's metrics.
type meter struct {
	set         *metrics.Set
	requests    *metrics.Counter
	refused     *metrics.Counter // from memory
	malformed   *metrics.Counter
	accepted    *metrics.Counter
	rejected    *metrics.Counter // connections over the limit
	evicted     *metrics.Counter // slow clients
	wrongAuth   *metrics.Counter
	commits     *metrics.PrometheusHistogram
	groups      *metrics.PrometheusHistogram
	decisions   [maxKinds][maxCodes]atomic.Pointer[metrics.Counter]
	gauges      []string
	undecided   *metrics.Counter
	notAccepted *metrics.Counter
	busy        *metrics.Counter
}

func newMeter(set *metrics.Set) *meter {
	sizes := []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000}
	times := []float64{0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5}
	return &meter{
		set:         set,
		requests:    set.GetOrCreateCounter("headgate_counter_requests_total"),
		refused:     set.GetOrCreateCounter("headgate_counter_refused_from_memory_total"),
		malformed:   set.GetOrCreateCounter("headgate_counter_protocol_errors_total"),
		accepted:    set.GetOrCreateCounter("headgate_counter_connections_total"),
		rejected:    set.GetOrCreateCounter("headgate_counter_connections_rejected_total"),
		evicted:     set.GetOrCreateCounter("headgate_counter_slow_clients_total"),
		wrongAuth:   set.GetOrCreateCounter("headgate_counter_wrong_passwords_total"),
		undecided:   set.GetOrCreateCounter(`headgate_counter_errors_total{code="UNKNOWN"}`),
		notAccepted: set.GetOrCreateCounter(`headgate_counter_errors_total{code="TRYAGAIN"}`),
		busy:        set.GetOrCreateCounter(`headgate_counter_errors_total{code="BUSY"}`),
		commits:     set.GetOrCreatePrometheusHistogramExt("headgate_counter_commit_seconds", times),
		groups:      set.GetOrCreatePrometheusHistogramExt("headgate_counter_group_commands", sizes),
	}
}

// watch shows the server's state; unwatch takes it away again, since a set outlives a server in tests.
func (m *meter) watch(s *Server) {
	gauge := func(name string, value func() float64) {
		m.set.GetOrCreateGauge(name, value)
		m.gauges = append(m.gauges, name)
	}
	gauge("headgate_counter_connections", func() float64 { return float64(s.connections()) })
	gauge("headgate_counter_serving", func() float64 {
		if s.replica.Ready() == nil {
			return 1
		}
		return 0
	})
	members := func(count func(replica.Member) bool) func() float64 {
		return func() float64 {
			n := 0
			for _, m := range s.replica.Members() {
				if count(m) {
					n++
				}
			}
			return float64(n)
		}
	}
	gauge("headgate_counter_raft_voters", members(func(m replica.Member) bool { return m.Votes }))
	gauge("headgate_counter_raft_voters_reachable", members(func(m replica.Member) bool { return m.Votes && m.Reachable }))
	gauge("headgate_counter_clock_offset_seconds", func() float64 {
		var worst time.Duration
		for _, m := range s.replica.Members() {
			worst = max(worst, m.ClockOffset.Abs())
		}
		return worst.Seconds()
	})
	for _, state := range []string{"leader", "follower", "candidate", "shutdown"} {
		gauge(fmt.Sprintf("headgate_counter_raft_state{state=%q}", state), func() float64 {
			if strings.EqualFold(s.replica.Status().State, state) {
				return 1
			}
			return 0
		})
	}
	gauge("headgate_counter_raft_term", func() float64 { return float64(s.replica.Status().Term) })
	gauge("headgate_counter_raft_applied_index", func() float64 { return float64(s.replica.Status().Applied) })
	gauge("headgate_counter_queued_commands", func() float64 { return float64(s.replica.Status().Queued) })
	gauge("headgate_counter_log_bytes_since_snapshot", func() float64 { return float64(s.replica.Status().LogBytes) })
	for i, n := range (&machine.Totals{}).Named() {
		gauge(fmt.Sprintf("headgate_counter_%s{state=%q}", n.Kind, n.State), func() float64 {
			totals := s.replica.Totals()
			return float64(totals.Named()[i].Count)
		})
	}
	gauge("headgate_counter_sales", func() float64 { return float64(s.replica.Totals().Sales) })
	gauge("headgate_counter_sales_from_backup", func() float64 { return float64(len(s.replica.Totals().FromBackup)) })
	gauge("headgate_counter_wall_jump_seconds", func() float64 { return s.replica.Status().WallJump.Seconds() })
}

func (m *meter) unwatch() {
	for _, name := range m.gauges {
		m.set.UnregisterMetric(name)
	}
}

func (m *meter) group(commands int, took time.Duration) {
	m.groups.Update(float64(commands))
	m.commits.Update(took.Seconds())
}

// decided counts n commands of one kind that came to the same.
func (m *meter) decided(kind machine.Kind, code machine.Code, n int) {
	if int(kind) >= maxKinds || int(code) >= maxCodes {
		return
	}
	slot := &m.decisions[kind][code]
	counter := slot.Load()
	if counter == nil {
		counter = m.set.GetOrCreateCounter(fmt.Sprintf("headgate_counter_decisions_total{command=%q,code=%q}", kind, code))
		slot.Store(counter)
	}
	counter.Add(n)
}

// tally counts decisions that follow each other with the same outcome as one: the counters are shared by
// all connections, and mostly it is the same outcome for everybody.
type tally struct {
	meter *meter
	kind  machine.Kind
	code  machine.Code
	n     int
}

func (t *tally) add(kind machine.Kind, code machine.Code) {
	if kind != t.kind || code != t.code {
		t.flush()
		t.kind, t.code = kind, code
	}
	t.n++
}

func (t *tally) flush() {
	if t.n > 0 {
		t.meter.decided(t.kind, t.code, t.n)
		t.n = 0
	}
}
