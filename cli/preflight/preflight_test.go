package preflight

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/cli"
	"headgate.example/counter/client"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A clock is read as far as the exchange allows: whatever lies on the network is doubt.
func TestExchangedClock(t *testing.T) {
	began := time.UnixMilli(1_800_000_000_000)
	for _, c := range []struct {
		told         int64 // milliseconds after began
		ended, took  time.Duration
		offset, sure time.Duration
	}{
		{5, 10 * time.Millisecond, 0, 0, 6 * time.Millisecond},
		{405, 10 * time.Millisecond, 0, 400 * time.Millisecond, 6 * time.Millisecond},
		{-395, 10 * time.Millisecond, 0, -400 * time.Millisecond, 6 * time.Millisecond},
		{2005, 2010 * time.Millisecond, 2000 * time.Millisecond, 0, 6 * time.Millisecond}, // probes took two seconds, the way ten milliseconds
	} {
		got := exchanged("x", began.UnixMilli()+c.told, began, began.Add(c.ended), c.took)
		if got.offset != c.offset || got.unsure != c.sure {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestCompareClocks(t *testing.T) {
	at := func(who string, offset time.Duration) clock { return clock{who, offset, 5 * time.Millisecond} }
	for _, c := range []struct {
		name   string
		clocks []clock
		word   Word
		seen   string
	}{
		{"nobody", nil, Fail, "nobody told"},
		{"agreed", []clock{at("a", 0), at("b", 20*time.Millisecond), at("c", -30*time.Millisecond)}, OK, "3 agree within 50ms"},
		{"at the bound, in doubt", []clock{at("a", -20*time.Millisecond), at("b", 239*time.Millisecond)}, OK, ""},
		{"beyond the bound", []clock{at("a", 0), at("b", 300*time.Millisecond), at("c", 100*time.Millisecond)}, Fail, "b is 300ms ahead of a"},
		{"each near to this machine, not to each other", []clock{at("a", -200*time.Millisecond), at("b", 200*time.Millisecond)}, Fail, "b is 400ms ahead of a"},
		{"this machine is off", []clock{at("a", 2*time.Second), at("b", 2010*time.Millisecond)}, Warn, "2.01s off this machine's clock"},
	} {
		lines := compareClocks(c.clocks)
		if len(lines) != 1 || lines[0].Word != c.word || !strings.Contains(lines[0].Seen, c.seen) {
			t.Errorf("%s: %+v", c.name, lines)
		}
	}
}

func TestQuorum(t *testing.T) {
	voter := func(id string, leads, reachable bool, applied int64) client.Voter {
		return client.Voter{ID: id, Client: id + ":7380", Votes: true, Leads: leads, Reachable: reachable, Applied: applied}
	}
	for _, c := range []struct {
		name   string
		voters []client.Voter
		word   Word
		seen   string
	}{
		{"whole", []client.Voter{voter("c1", true, true, 9000), voter("c2", false, true, 8999), voter("c3", false, true, 4000)}, OK, "3 of 3 voters answer, c1 leads"},
		{"behind", []client.Voter{voter("c1", true, true, 9000), voter("c2", false, true, 8999), voter("c3", false, true, 3999)}, Fail, "c3 by 5001 entries"},
		{"one away", []client.Voter{voter("c1", true, true, 9000), voter("c2", false, false, 0), voter("c3", false, true, 9000)}, Fail, "c2 (c2:7380) does not answer: 2 of 3"},
		{"no leader", []client.Voter{voter("c1", false, true, 9000), voter("c2", false, false, 0), voter("c3", false, false, 0)}, Fail, "0 voters lead: nothing is sold; 1 of 3"},
		{"alone", []client.Voter{voter("c1", true, true, 9000)}, Warn, "one voter"},
	} {
		if l := quorum("s1", c.voters); l.Word != c.word || !strings.Contains(l.Seen, c.seen) || l.Check != "counter s1" {
			t.Errorf("%s: %+v", c.name, l)
		}
	}
}

func TestWellness(t *testing.T) {
	for _, c := range []struct {
		status service.Status
		word   Word
		seen   string
	}{
		{service.Status{Ready: true, Started: true, Version: "v1", ConfigHash: "abc"}, OK, "version v1, config abc"},
		{service.Status{Waiting: "reaching the database: refused"}, Fail, "still starting; reaching the database: refused"},
		{service.Status{Started: true, Draining: true}, Fail, "stopping"},
		{service.Status{Started: true, Probes: []service.ProbeStatus{{Name: "queue", Required: true, Problem: "away"}}}, Fail, "not ready: queue: away"},
		{service.Status{Ready: true, Started: true, Probes: []service.ProbeStatus{{Name: "peers", Problem: "one away"}}}, Warn, "degraded: peers: one away"},
		{service.Status{Ready: true, Started: true, ConfigRefused: "line 3"}, Fail, "not taken: line 3"},
	} {
		if l := wellness(&program{c.status, "edge-1:8181"}); l.Word != c.word || !strings.Contains(l.Seen, c.seen) {
			t.Errorf("%+v: %+v", c.status, l)
		}
	}
}

// Where nothing answers everything fails, in time, and nothing is made.
func TestNothingAnswers(t *testing.T) {
	cfg := cli.DefaultConfig()
	folder := t.TempDir()
	cfg.Backend.Database.Path, cfg.Backend.Queue.Path = filepath.Join(folder, "ledger.db"), filepath.Join(folder, "queue.db")
	nobody := servicetest.FreePort(t)
	foreign := httptest.NewServer(http.NotFoundHandler())
	defer foreign.Close()
	cfg.Backend.Counter.Shards[0].Addresses = []string{nobody}
	cfg.API = "http://" + nobody
	cfg.Admins = []string{nobody, foreign.Listener.Addr().String()}
	cfg.Backend.Tokens.SigningKey = "none"
	report := Run(t.Context(), cfg, Options{Sale: "kettle"})
	want := map[string]string{
		"program " + nobody: "does not answer", "program " + cfg.Admins[1]: "no admin port", "interceptor": "none answers", "backend": "none answers", "consumer": "none answers",
		"counter s1": "refused", "clocks": "nobody told", "database": "no such file", "broker": "no such file", "sale kettle": "cannot be asked", "way in": "",
	}
	for _, l := range report.Lines {
		if l.Word == Fail {
			if seen, expected := want[l.Check]; !expected || !strings.Contains(l.Seen, seen) || l.Do == "" {
				t.Errorf("%+v", l)
			}
			delete(want, l.Check)
		}
	}
	if len(want) > 0 || report.Word != Fail || report.ExitCode() != ExitNotReady {
		t.Errorf("no line for %v; %s", want, report.Word)
	}
	if made, err := filepath.Glob(filepath.Join(folder, "*")); err != nil || len(made) > 0 {
		t.Errorf("made %v, %v", made, err)
	}
	var text strings.Builder
	if err := Write(&text, &report); err != nil || strings.Count(text.String(), "\n") != len(report.Lines)+1 || !strings.Contains(text.String(), "NOT READY (0 ok") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

func TestReadMeasured(t *testing.T) {
	m, err := ReadMeasured([]byte(`{"outcome":"clean","began":"2026-11-22T10:00:00Z","machine":{"version":"v1"},"figures":{"decisions":10,"decisions_in_the_busiest_second":7}}`))
	if err != nil || !m.Clean || m.Rate != 7 || m.Version != "v1" || m.At.Hour() != 10 {
		t.Errorf("%+v, %v", m, err)
	}
	for _, text := range []string{"", "{}", "[]", `{"outcome":"clean","began":"2026-11-22T10:00:00Z"}`} {
		if m, err := ReadMeasured([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, m)
		}
	}
}
