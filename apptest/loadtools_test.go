//go:build unix

package apptest

import (
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/edges"
	"headgate.example/apptest/programs"
	"headgate.example/apptest/signer"
)

// The size of the load tests' sale.
const (
	loadStock = 500
	loadUsers = 20_000
)

// loadSite is `headgate dev` with an open sale called load and a token file.
func loadSite(t *testing.T) (m *market, users string) {
	t.Helper()
	dev := programs.NewDev(t, bin, nil)
	dev.Start()
	m = devMarket(t, dev)
	m.must(t, "sale", "create", "load", "--title", "Load", "--stock", strconv.Itoa(loadStock), "--limit", "1", "--price", "9900", "--open")
	users = filepath.Join(t.TempDir(), "users.csv")
	m.must(t, "token", "--users", strconv.Itoa(loadUsers), "--out", users)
	return m, users
}

// documented gives the command in a document's fenced lines that begins and goes on as told, as words, with
// some words replaced: a test that runs it keeps the document true.
func documented(t *testing.T, document, command string, replace ...string) []string {
	t.Helper()
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, document))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, command) {
			for i := 0; i < len(replace); i += 2 {
				if !strings.Contains(line, replace[i]) {
					t.Fatalf("%s: %q has no %q", document, line, replace[i])
				}
				line = strings.Replace(line, replace[i], replace[i+1], 1)
			}
			return strings.Fields(line)
		}
	}
	t.Fatalf("%s has no line that begins with %q", document, command)
	return nil
}

// TestWrk runs the commands of deploy/wrk's README.
func TestWrk(t *testing.T) {
	wrk := need(t, "HEADGATE_TEST_WRK")
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	m, users := loadSite(t)
	run := func(script, length string) string {
		t.Helper()
		words := documented(t, "deploy/wrk/README.md", "wrk -t2 -c64 -d20s --latency -s deploy/wrk/"+script,
			"-d20s", "-d"+length, "http://127.0.0.1:8080", m.edge, "users.csv wrk", users+" load")
		return programs.MustRun(t, wrk, words[1:]...)
	}
	answers := wrkTable(t, run("buy.lua", "3s"))
	checkAnswers(t, answers, healthyAnswers())
	if answers["202"] != loadStock {
		t.Errorf("%d buyers were told yes, want %d: %v", answers["202"], loadStock, answers)
	}
	checkAnswers(t, wrkTable(t, run("browse.lua", "2s")), words("200"))
	m.settled(t, "load")
	m.checkLedger(t, outcome{sale: "load", stock: loadStock})
	t.Run("what is wrong is said", func(t *testing.T) { wrkMistakes(t, wrk, m.edge, users) })
}

var wrkCookies = regexp.MustCompile(`(?m)^sent with a cookie .*: ([0-9.]+) %$`)

// TestWrkKeepsTheCookie: with a thread for each connection, users are sent to their own edge, as browsers are.
func TestWrkKeepsTheCookie(t *testing.T) {
	wrk, nginx := need(t, "HEADGATE_TEST_WRK"), need(t, "HEADGATE_TEST_NGINX")
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	cluster := edges.New(t, edges.Spec{Bin: bin, Edges: 3, Limits: "{user_bucket: {rate: 1000, burst: 1000}}"})
	if err := cluster.Counter.OpenSale(t.Context(), "1", 1_000_000, 1); err != nil {
		t.Fatal(err)
	}
	for _, e := range cluster.Edges { // which fetch the sales before they serve
		e.Start()
	}
	waitFor(t, 15*time.Second, "the edges agree", func() bool { return edges.Agreed(cluster.Edges...) })
	const few = 200 // so that each comes again and again
	users := filepath.Join(t.TempDir(), "users.csv")
	text := "user,token\n"
	for i, token := range signer.New().Many("w", few) {
		text += fmt.Sprintf("w%07d,%s\n", i, token)
	}
	if err := os.WriteFile(users, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := "http://" + cluster.Nginx(nginx, "", "")
	run := func(threads string) (report string, hopped float64) {
		t.Helper()
		hops, owned := cluster.Metric("headgate_edge_hops_total"), cluster.Metric("headgate_edge_owned_requests_total")
		report = programs.MustRun(t, wrk, threads, "-c8", "-d2s", "-s", filepath.Join(root, "deploy", "wrk", "buy.lua"), address, "--", users, "1")
		hops, owned = cluster.Metric("headgate_edge_hops_total")-hops, cluster.Metric("headgate_edge_owned_requests_total")-owned
		checkAnswers(t, wrkTable(t, report), words("202", "409 already_ordered", "429 too_soon"))
		return report, hops / (hops + owned)
	}
	report, without := run("-t2")
	if !strings.Contains(report, "cookies were not kept") || without < 0.5 {
		t.Errorf("with two threads %s hopped, want about 2/3, and to be told that no cookies are kept", percent(without))
	}
	report, with := run("-t8")
	sent := wrkCookies.FindStringSubmatch(report)
	if sent == nil || with > 0.1 {
		t.Fatalf("with a thread for each connection %s hopped, and cookies were sent: %v", percent(with), sent)
	}
	if share, err := strconv.ParseFloat(sent[1], 64); err != nil || share < 80 {
		t.Errorf("%s %% were sent with a cookie, want nearly all", sent[1])
	}
}

func wrkMistakes(t *testing.T, wrk, edge, users string) {
	few := filepath.Join(t.TempDir(), "few.csv")
	if err := os.WriteFile(few, []byte("user,token\nu1,abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"no file", "no token file: nowhere.csv", []string{"nowhere.csv", "load"}},
		{"another file", "the first line is not `user,token`", []string{"README.md", "load"}},
		{"too few users", "too few users for 2 threads", []string{few, "load"}},
		{"no sale", "want the arguments", []string{users}},
		{"no id", "no id of a sale", []string{users, "a b"}},
		{"other threads", "more threads than the 1 told", []string{users, "load", "threads=1"}},
	} {
		r := programs.Run(t, wrk, append([]string{"-t2", "-c2", "-d1s", "-s", "deploy/wrk/browse.lua", edge, "--"}, c.args...)...)
		if r.Code != 2 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%s: exit code %d, said %q, want 2 and %q", c.name, r.Code, r.Stderr, c.want)
		}
	}
}

var (
	wrkRequests = regexp.MustCompile(`(?m)^ +(\d+) requests in`)
	wrkRow      = regexp.MustCompile(`(?m)^(\d{3}(?: [a-z_]+)?|all answers) +(\d+) `)
)

// wrkTable reads the report's table, whose rows must add up to what wrk counted.
func wrkTable(t *testing.T, report string) map[string]int {
	t.Helper()
	t.Logf("%s", report)
	answers := make(map[string]int)
	sum := 0
	for _, row := range wrkRow.FindAllStringSubmatch(report, -1) {
		answers[row[1]] = number(t, row[2])
		sum += answers[row[1]]
	}
	total := answers["all answers"]
	delete(answers, "all answers")
	counted := wrkRequests.FindStringSubmatch(report)
	if counted == nil || total == 0 || sum-total != total || number(t, counted[1]) != total {
		t.Errorf("the rows sum up to %d, all answers are %d, wrk counted %v", sum-total, total, counted)
	}
	if !strings.Contains(report, "no answer: connect 0, write 0, read 0;") {
		t.Error("something had no answer")
	}
	return answers
}

// checkAnswers wants no answer but the allowed.
func checkAnswers(t *testing.T, answers map[string]int, allowed map[string]bool) {
	t.Helper()
	if len(answers) == 0 {
		t.Error("no answers")
	}
	for answer, count := range answers {
		if !allowed[answer] {
			t.Errorf("%d answers were %s", count, answer)
		}
	}
}

// TestJMeter runs the command of deploy/jmeter's README.
func TestJMeter(t *testing.T) {
	t.Setenv("JMETER_HOME", need(t, "HEADGATE_TEST_JMETER"))
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	m, all := loadSite(t)
	const pressing = 3000
	users := firstLines(t, all, pressing+1)
	results := filepath.Join(t.TempDir(), "jmeter.jtl")
	_, port, _ := strings.Cut(strings.TrimPrefix(m.edge, "http://"), ":")
	words := documented(t, "deploy/jmeter/README.md", "deploy/jmeter/run.sh --out jmeter.jtl users.csv",
		"jmeter.jtl", results, "users.csv jmeter", users+" load", "-Jport=8080", "-Jport="+port)
	report := jmeterTable(t, programs.MustRun(t, words[0], words[1:]...))

	buy := make(map[string]int)
	for kind, count := range report {
		if answer, ok := strings.CutPrefix(kind, "buy "); ok {
			buy[answer] = count
		}
	}
	checkAnswers(t, buy, healthyAnswers())
	if buy["202"] != loadStock || report["order 200"] != loadStock || report["look 200"] != pressing {
		t.Errorf("%d were told yes and %d saw their order, want %d; %d looked, want %d", buy["202"], report["order 200"], loadStock, report["look 200"], pressing)
	}
	if counted := jmeterResults(t, results); !maps.Equal(counted, report) {
		t.Errorf("the report says %v, the results are %v", report, counted)
	}
	m.settled(t, "load")
	m.checkLedger(t, outcome{sale: "load", stock: loadStock})

	// An answer that breaks a check is told by the exit code.
	wrong := programs.Run(t, words[0], "--out", filepath.Join(t.TempDir(), "wrong.jtl"), firstLines(t, all, 11), "nosuch", "-Jport="+port)
	if wrong.Code != 1 || !strings.Contains(wrong.Stdout, "look     404 not_found") {
		t.Errorf("a sale that does not exist: exit code %d\n%s%s", wrong.Code, wrong.Stdout, wrong.Stderr)
	}
	missing := programs.Run(t, words[0], "nowhere.csv", "load")
	if missing.Code != 2 || !strings.Contains(missing.Stderr, "no token file nowhere.csv") {
		t.Errorf("no token file: exit code %d, said %q", missing.Code, missing.Stderr)
	}
}

var jmeterRow = regexp.MustCompile(`(?m)^(look|buy|order|all) +(.*?) +(\d+) +(\d+)  `)

// jmeterTable reads the report's rows as "request answer", which must add up.
func jmeterTable(t *testing.T, report string) map[string]int {
	t.Helper()
	t.Logf("%s", report)
	answers := make(map[string]int)
	sum := 0
	for _, row := range jmeterRow.FindAllStringSubmatch(report, -1) {
		kind := strings.TrimSpace(row[1] + " " + row[2])
		answers[kind] = number(t, row[3])
		sum += answers[kind]
		if row[4] != "0" {
			t.Errorf("%s failed %s times", kind, row[4])
		}
	}
	if total := answers["all"]; total == 0 || sum != 2*total {
		t.Errorf("the rows sum up to %d, all are %d", sum-total, total)
	}
	delete(answers, "all")
	return answers
}

// jmeterResults counts what is in the result file, the same way.
func jmeterResults(t *testing.T, path string) map[string]int {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // only read
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("%d rows in %s (%v)", len(rows), path, err)
	}
	if got, want := strings.Join(rows[0], " "), "timeStamp elapsed label responseCode success code"; got != want {
		t.Fatalf("columns %q, want %q", got, want)
	}
	counts := make(map[string]int)
	for _, row := range rows[1:] {
		counts[strings.TrimSuffix(row[2]+" "+row[3]+" "+row[5], " -")]++
	}
	return counts
}

// firstLines copies the beginning of a file.
func firstLines(t *testing.T, path string, count int) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfterN(string(text), "\n", count+1)
	part := filepath.Join(t.TempDir(), "part.csv")
	if err := os.WriteFile(part, []byte(strings.Join(lines[:count], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return part
}

func number(t *testing.T, digits string) int {
	t.Helper()
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
