package apptest

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

// preflightReport is what `headgate preflight --json` prints.
type preflightReport struct {
	Word  string `json:"result"`
	Lines []struct {
		Check string `json:"check"`
		Word  string `json:"result"`
		Seen  string `json:"seen"`
		Do    string `json:"do"`
	} `json:"lines"`
}

// preflight runs the command, and holds its exit code to its words.
func preflight(t *testing.T, f *programs.Fleet, args ...string) preflightReport {
	t.Helper()
	got := f.CLI(append([]string{"preflight", "--json"}, args...)...)
	var r preflightReport
	if err := json.Unmarshal([]byte(got.Stdout), &r); err != nil {
		t.Fatalf("preflight %v: exit code %d, %v\n%s%s", args, got.Code, err, got.Stdout, got.Stderr)
	}
	failing := 0
	for _, l := range r.Lines {
		if l.Word == "FAIL" {
			failing++
		}
		if (l.Word == "ok") != (l.Do == "") {
			t.Errorf("%s is %s, and says to do %q", l.Check, l.Word, l.Do)
		}
	}
	if want := map[bool]int{true: 1, false: 0}[failing > 0]; got.Code != want || (r.Word == "FAIL") != (failing > 0) {
		t.Errorf("preflight %v: exit code %d and %s, with %d FAIL", args, got.Code, r.Word, failing)
	}
	return r
}

// wantLine holds one line to a word and a text.
func (r preflightReport) wantLine(t *testing.T, check, word, seen string) {
	t.Helper()
	for _, l := range r.Lines {
		if strings.HasPrefix(l.Check, check) && l.Word == word && strings.Contains(l.Seen, seen) {
			return
		}
	}
	t.Errorf("no line %s %s with %q in %+v", word, check, seen, r.Lines)
}

// fails lists the checks that fail.
func (r preflightReport) fails() (checks []string) {
	for _, l := range r.Lines {
		if l.Word == "FAIL" {
			checks = append(checks, l.Check)
		}
	}
	return checks
}

// threeVoters makes the fleet's shard one of three voters, and gives the last one.
func threeVoters(t *testing.T, f *programs.Fleet, raft string) *programs.Extra {
	t.Helper()
	var last *programs.Extra
	for _, id := range []string{"c2", "c3"} {
		port := programs.FreePorts(t, 1)[0]
		last = f.Launch("counter", "", func(c *programs.Config) {
			c.Set("bootstrap", false)
			c.Set("raft_listen", port)
			c.Set("voter_id", id)
			c.Set("voters", []any{
				map[string]any{"id": "c1", "raft": raft, "client": f.RESP[0]}, map[string]any{"id": id, "raft": port, "client": c.Text("listen")},
			})
		})
		waitFor(t, patience, "the new voter's admin port", func() bool { return last.Page("/livez") != "" })
		waitFor(t, patience, "voter "+id+" is taken in", func() bool {
			return f.CLI("counter", "add-voter", id, port, last.Listen).Code == 0
		})
	}
	return last
}

// TestPreflight holds the command to a system that is whole, and then to one that is broken in one way after the
// other: each has its own line.
func TestPreflight(t *testing.T) {
	t.Parallel()
	raft := programs.FreePorts(t, 1)[0]
	f := programs.NewFleet(t, bin, programs.FleetSpec{Edit: func(program string, c *programs.Config) {
		if program == "counter-s1" {
			c.Set("raft_listen", raft)
			c.Set("voter_id", "c1")
			c.Set("voters", []any{map[string]any{"id": "c1", "raft": raft, "client": c.Text("listen")}})
		}
	}})
	m := &market{edge: f.Edge, cli: f.CLI}
	m.must(t, "sale", "create", "kettle", "--title", "Kettle", "--stock", "50", "--limit", "1", "--price", "100", "--opens", "10m", "--open")
	m.must(t, "sale", "create", "draft", "--title", "Draft", "--stock", "50", "--limit", "1", "--price", "100", "--opens", "10m")

	preflight(t, f, "kettle").wantLine(t, "counter s1", "warn", "one voter")
	third := threeVoters(t, f, raft)
	whole := preflight(t, f, "kettle")
	for check, seen := range map[string]string{
		"interceptor 127.0.0.1:": "ready", "backend 127.0.0.1:": "ready", "consumer 127.0.0.1:": "ready", "counter 127.0.0.1:": "ready", "config interceptor": "equal on 1",
		"counter s1": "3 of 3 voters answer", "clocks": "agree within", "database": "answers", "dead letters": "none", "outbox": "0 units", "parked messages": "none",
		"broker": "takes messages; 0 wait", "sale kettle": "opens in ", "audit": "agree", "edge edge-1": "knows the sale (would answer not_open", "way in": "tokens and hops fit",
	} {
		whole.wantLine(t, check, "ok", seen)
	}
	whole.wantLine(t, "capacity", "warn", "not measured")
	if failing := whole.fails(); len(failing) > 0 {
		t.Errorf("a whole system fails in %v", failing)
	}
	if text := f.CLI("preflight", "kettle"); text.Code != 0 || strings.Count(text.Stdout, "\n") != len(whole.Lines)+1 || !strings.Contains(text.Stdout, "sale kettle: ready, with warnings (") {
		t.Errorf("exit code %d\n%s%s", text.Code, text.Stdout, text.Stderr)
	}
	preflightCapacity(t, f)

	preflight(t, f, "nothing").wantLine(t, "sale nothing", "FAIL", "the ledger does not know it")
	preflight(t, f, "nothing").wantLine(t, "edge edge-1", "FAIL", "does not know the sale")
	preflight(t, f, "draft").wantLine(t, "sale draft", "FAIL", "it is a draft")

	odd := f.AddEdge("edge-2") // which knows of no peers but itself
	apart := preflight(t, f, "kettle", "--admin", strings.TrimPrefix(f.Admin("interceptor"), "http://"), "--admin", odd.Admin)
	apart.wantLine(t, "config interceptor", "FAIL", "the edges differ")
	apart.wantLine(t, "backend", "FAIL", "none answers")
	odd.Stop(20 * time.Second)
	preflight(t, f, "kettle", "--admin", odd.Admin).wantLine(t, "program "+odd.Admin, "FAIL", "does not answer")

	third.Kill()
	waitFor(t, patience, "the leader misses the voter", func() bool {
		return strings.Contains(strings.Join(preflight(t, f, "kettle").fails(), " "), "counter s1")
	})
	preflight(t, f, "kettle").wantLine(t, "counter s1", "FAIL", "c1 leads, but c3 ("+third.Listen+") does not answer: 2 of 3 voters are left")

	book, err := sql.Open("sqlite", "file:"+f.LedgerFile+"?_pragma=busy_timeout(5000)")
	if err == nil {
		_, err = book.ExecContext(t.Context(), "INSERT INTO dead_letters (digest, order_id, topic, body, reason, created_at) VALUES ('d', 0, 'orders', x'00', 'a test''s', '2026-01-01 00:00:00')")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	preflight(t, f, "kettle").wantLine(t, "dead letters", "FAIL", "1 order messages could not become orders")

	f.Backend.Kill()
	gone := preflight(t, f, "kettle")
	gone.wantLine(t, "program "+strings.TrimPrefix(f.Admin("backend"), "http://"), "FAIL", "does not answer")
	gone.wantLine(t, "way in", "FAIL", "through the edge")
	f.Counter.Kill() // two of three are gone
	preflight(t, f, "kettle").wantLine(t, "counter s1", "FAIL", "")

	if r := f.CLI("preflight", "kettle", "--report", filepath.Join(t.TempDir(), "none.json")); r.Code != 3 {
		t.Errorf("a report that is not there: exit code %d: %s", r.Code, r.Stderr)
	}
}

// preflightCapacity gives the command reports of rehearsals.
func preflightCapacity(t *testing.T, f *programs.Fleet) {
	t.Helper()
	version := strings.Fields(programs.MustRun(t, bin.Path("backend"), "--version"))[1]
	for _, c := range []struct {
		outcome, rate string
		word, seen    string
	}{
		{"clean", "1000", "ok", "1000 decisions a second are asked for, 4000 were measured"},
		{"clean", "3000", "warn", "4000 were measured"},
		{"clean", "5000", "FAIL", "4000 were measured"},
		{"violated", "1000", "FAIL", "not clean"},
	} {
		file := filepath.Join(t.TempDir(), "report.json")
		text := `{"outcome":"` + c.outcome + `","began":"2026-11-22T10:00:00Z","machine":{"version":"` + version + `"},"figures":{"decisions":100000,"decisions_in_the_busiest_second":4000}}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		preflight(t, f, "kettle", "--rate", c.rate, "--report", file).wantLine(t, "capacity", c.word, c.seen)
	}
	preflight(t, f, "kettle", "--rate", "10").wantLine(t, "capacity", "warn", "what it carries is not measured")
}
