package rehearse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestLatencyIsExact(t *testing.T) {
	var all []time.Duration
	for i := range 1000 {
		all = append(all, time.Duration(1000-i)*time.Millisecond)
	}
	l := latencyOf(all)
	if l.Count != 1000 || l.P50 != 501*time.Millisecond || l.P99 != 991*time.Millisecond || l.P999 != time.Second || l.Max != time.Second {
		t.Errorf("%+v", l)
	}
	if (latencyOf(nil) != Latency{}) {
		t.Error("of nothing")
	}
}

// What a generator does not manage itself is told.
func TestAnOverrunIsMarked(t *testing.T) {
	presses := make([]Press, 100)
	for i := range presses {
		presses[i] = Press{Sent: time.Duration(i) * time.Millisecond, Status: 202}
	}
	if f := figuresOf(presses, nil, 0, time.Second); !f.Marked {
		t.Errorf("%+v", f.GeneratorLate)
	}
	for i := range presses {
		presses[i].Waited = true // for a connection: the system's doing
	}
	if f := figuresOf(presses, nil, 0, time.Second); f.Marked || f.Waited != 100 {
		t.Errorf("%+v", f.GeneratorLate)
	}
}

func TestTheReportTellsWhatIsWrong(t *testing.T) {
	e := world()
	delete(e.Orders, 101)
	e.Left.Available, e.Pages = 1, e.Pages[:1]
	r := &Report{
		Seed: 7, Plan: "0123456789abcdef", Verdicts: []Verdict{Judge(e), Judge(world())}, Figures: figuresOf(e.Presses, map[string]int{"pay 200": 3}, opens, 2*opens),
		Faults: []Broken{{Fault: Fault{Kind: Kill, Member: "counter-s1-1"}, Began: time.Second, Mended: 2 * time.Second, Probes: 9, ProbesFailed: 4, YesAgain: 1500 * time.Millisecond}},
		CPU:    []CPU{cpuOf("counter", 5, 1000)}, Stages: []Count{{"token", 3}}, Died: []string{"nginx is dead"},
	}
	r.conclude()
	var out bytes.Buffer
	if err := WriteText(&out, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"violated (exit code 1)", "lost after yes: u1 was told", "the ledger does not have it", "nginx is dead", "kill counter-s1-1", "4 of 9",
		"1.5s", "not seen", "5.000 s", "token", "0123456789abcdef", "409 sold_out"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	var again Report
	text, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(text, &again)
	}
	if err != nil || again.Outcome != Violated || again.Verdicts[0].Violations[RuleLost] != 1 {
		t.Errorf("%v: %s", err, text)
	}
}

// Counts add up over restarts, without what was counted before the rehearsal.
func TestSamplerAddsUpOverRestarts(t *testing.T) {
	var count atomic.Int64
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if count.Load() < 0 {
			panic(http.ErrAbortHandler)
		}
		for _, name := range []string{"go_goroutines", `headgate_interceptor_stage_refusals_total{stage="token",mode="enforce"}`,
			`headgate_interceptor_stage_refusals_total{stage="token",mode="shadow"}`, "process_cpu_seconds_total"} {
			fmt.Fprintf(w, "%s %d\n", name, count.Load())
		}
	}))
	defer admin.Close()
	s := newSampler([]string{admin.URL})
	defer s.client.CloseIdleConnections()
	for _, value := range []int64{100, 110, -1, 5, 8} {
		count.Store(value)
		s.look(t.Context())
	}
	got := s.stages()
	if len(got) != 2 || got[0] != (Count{"token", 18}) || got[1] != (Count{"token (shadow)", 18}) {
		t.Errorf("%+v", got)
	}
	if seconds, known := s.cpu(); !known || seconds != 18 {
		t.Errorf("%v %t", seconds, known)
	}
}
