package apptest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

// broken is a deployment with something wrong, and what each program is to say about it.
type broken struct {
	name     string
	programs []string
	edit     func(*programs.Config)
	env      []string
	// exit is the exit code of a program that cannot start like this; -1: it stays, and tells on /readyz.
	exit  int
	ready bool // /readyz answers 200, since it can work without
	says  []string
}

// TestBrokenDeployments starts programs in deployments that are broken in one way each: every program says what is
// wrong, where, and what to do, on /readyz or in its last words; and none half-starts.
func TestBrokenDeployments(t *testing.T) {
	t.Parallel()
	f := programs.NewFleet(t, bin, programs.FleetSpec{})
	taken := listening(t)
	noCounter := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(noCounter.Close)
	all := []string{"counter", "backend", "consumer", "interceptor"}
	clients := []string{"backend", "consumer", "interceptor"}
	cases := []broken{
		{name: "the port is taken", programs: []string{"counter", "backend", "interceptor"}, exit: 1,
			edit: func(c *programs.Config) { c.Set("listen", taken) },
			says: []string{"starting: listen: " + taken + " is taken by another program: stop that one, or change the address"}},
		{name: "the admin port is taken", programs: all, exit: 1,
			edit: func(c *programs.Config) { c.Set("service.admin", taken) },
			says: []string{"service.admin: " + taken + " is taken by another program"}},
		{name: "a key of another version", programs: all, exit: 2,
			edit: func(c *programs.Config) { c.Set("cooled_by", "water") },
			says: []string{"cooled_by: unknown key", "this is version ", "another version of the program"}},
		{name: "a format of another version", programs: all, exit: 2,
			edit: func(c *programs.Config) { c.Set("version", 7) },
			says: []string{"version: this program reads config files of format version 1"}},
		{name: "a sample's secret", programs: all, exit: 2,
			env:  []string{"HEADGATE_TICKET_SECRET=replace-me-by-headgate-secret-of-your-own", "HEADGATE_COUNTER_CLIENT_PASSWORD=replace-me-by-headgate-secret-of-your-own"},
			says: []string{"as samples that everybody can read do: `headgate secret` makes one"}},
		{name: "a short secret", programs: all, exit: 2,
			env:  []string{"HEADGATE_TICKET_SECRET=Zq8vT1mKx0Rw5Lp2", "HEADGATE_COUNTER_CLIENT_PASSWORD=Zq8vT1mKx0Rw5Lp2"},
			says: []string{"has 16 bytes and needs at least 32: `headgate secret` makes one"}},
		{name: "an HTTP server for a counter", programs: clients, exit: -1, ready: true,
			edit: counterAt(noCounter.Listener.Addr().String()),
			says: []string{"counter (degraded)", "shard s1 at " + noCounter.Listener.Addr().String() + " (what listens there is no counter: see counter.shards[].addresses)"}},
		{name: "a Redis for a counter", programs: clients, exit: -1, ready: true,
			edit: counterAt(redisOf(t)),
			says: []string{"counter (degraded)", "so it is no counter with passwords"}},
		{name: "nobody for a counter", programs: clients, exit: -1, ready: true,
			edit: counterAt(programs.FreePorts(t, 1)[0]),
			says: []string{"counter (degraded)", "connection refused"}},
		{name: "the wrong password of the counter", programs: clients, exit: -1, ready: true,
			env:  []string{"HEADGATE_COUNTER_CLIENT_PASSWORD=" + strings.Repeat("another-one-", 4) + "Zq8vT1mKx0Rw5Lp2ZZq8vT1mKx0Rw5Lp2Z"},
			says: []string{"counter (degraded)", "counter refuses the password"}},
	}
	for _, c := range cases {
		for _, program := range c.programs {
			t.Run(c.name+"/"+program, func(t *testing.T) {
				t.Parallel()
				c.check(t, f, program)
			})
		}
	}
}

func counterAt(address string) func(*programs.Config) {
	return func(c *programs.Config) {
		c.Set("counter.shards", []any{map[string]any{"name": "s1", "number": 0, "addresses": []any{address}}})
	}
}

// listening is an address that is taken for as long as the test.
func listening(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// redisOf starts a Redis.
func redisOf(t *testing.T) string {
	t.Helper()
	server, folder, address := needProgram(t, "redis-server"), t.TempDir(), programs.FreePorts(t, 1)[0]
	_, port, _ := strings.Cut(address, ":")
	programs.Launch(t, programs.Spec{Name: "redis", Path: server, Args: []string{"--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"}})
	waitFor(t, patience, "Redis listens", func() bool { return dials(address) })
	return address
}

func dials(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func (c *broken) check(t *testing.T, f *programs.Fleet, program string) {
	p := f.Launch(program, "", c.edit, c.env...)
	if c.exit >= 0 {
		if code := p.Wait(20 * time.Second); code != c.exit {
			t.Errorf("exit code %d, want %d", code, c.exit)
		}
		tells(t, p.Log(), c.says)
		return
	}
	waitFor(t, patience, "/readyz tells", func() bool {
		text := p.Page("/readyz?verbose")
		for _, want := range c.says {
			if !strings.Contains(text, want) {
				return false
			}
		}
		return (p.Page("/readyz") == "ok, degraded\n") == c.ready
	})
	if code := p.Stop(30 * time.Second); code != 0 {
		t.Errorf("it ended with exit code %d when asked to", code)
	}
}

func tells(t *testing.T, text string, says []string) {
	t.Helper()
	for _, want := range says {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
}

// With a broker that refuses the password, or is away, a backend serves (reading, and refusing orders), a consumer is
// not ready; both say why, and try again in growing pauses. When the way is free, they are well by themselves.
func TestBrokerRefusesThePassword(t *testing.T) {
	t.Parallel()
	address := need(t, "HEADGATE_TEST_AMQP_URL")
	host := strings.TrimSuffix(address[strings.Index(address, "@")+1:], "/")
	f := programs.NewFleet(t, bin, programs.FleetSpec{})
	queue := func(url string) func(*programs.Config) {
		return func(c *programs.Config) {
			c.Set("queue", map[string]any{"driver": "rabbitmq", "url": url, "prefix": "refused"})
		}
	}
	for program, level := range map[string]string{"backend": "degraded", "consumer": "required"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			gate := newGate(t, host)
			refused := f.Launch(program, "", queue("amqp://guest:wrong@"+host+"/"))
			heals := f.Launch(program, "", queue("amqp://guest:guest@"+gate.address+"/"))
			waitFor(t, patience, "/readyz names user and field", func() bool {
				text := refused.Page("/readyz?verbose")
				return strings.Contains(text, "queue ("+level+")") && strings.Contains(text, host+` (it runs, and refuses user "guest" or its password in queue.url)`) &&
					strings.HasPrefix(refused.Page("/readyz"), "ok") == (program == "backend")
			})
			waitFor(t, patience, "/readyz says that the broker is away", func() bool {
				return strings.Contains(heals.Page("/readyz?verbose"), "queue ("+level+"): ") && strings.Contains(heals.Page("/readyz?verbose"), gate.address)
			})
			gate.open()
			waitFor(t, patience, "the queue is well again", func() bool { return strings.Contains(heals.Page("/readyz?verbose"), "queue ("+level+"): ok") })
			heals.Stop(patience)
			waitFor(t, patience, "it tries again", func() bool { return strings.Count(refused.Log(), "no connection to the broker for publishing") >= 2 })
			if log := refused.Log(); strings.Contains(log, "guest:wrong") {
				t.Errorf("the log shows the password:\n%s", log)
			}
			refused.Stop(patience)
		})
	}
}

// With the database down at the start, backend and consumer wait for it, say so, and have nothing open meanwhile;
// then they start by themselves. A refused password is told as such.
func TestDatabaseDownAtStart(t *testing.T) {
	t.Parallel()
	dsn := freshDatabase(t, need(t, "HEADGATE_TEST_MYSQL_DSN"))
	host := dsn[strings.Index(dsn, "(")+1 : strings.Index(dsn, ")")]
	f := programs.NewFleet(t, bin, programs.FleetSpec{})
	gate := newGate(t, host)
	database := func(dsn string) func(*programs.Config) {
		return func(c *programs.Config) { c.Set("database", map[string]any{"driver": "mysql", "dsn": dsn}) }
	}
	var waiting []*programs.Extra
	for _, program := range []string{"backend", "consumer"} {
		waiting = append(waiting, f.Launch(program, "", database(strings.Replace(dsn, host, gate.address, 1))))
		refused := f.Launch(program, "", database(strings.Replace(dsn, "root@", "nobody:wrong@", 1)))
		waitFor(t, patience, "/readyz tells of the refusal", func() bool {
			return strings.Contains(refused.Page("/readyz?verbose"), "it runs, and refuses the user or password in database.dsn")
		})
		if strings.Contains(refused.Log(), "nobody:wrong") {
			t.Errorf("the log shows the password:\n%s", refused.Log())
		}
		refused.Kill()
	}
	for _, p := range waiting {
		waitFor(t, patience, "/readyz tells what it waits for", func() bool {
			text := p.Page("/readyz?verbose")
			return strings.Contains(text, "started: not yet: waiting: reaching the database (is it running, and is the address in database.dsn right?): dial tcp "+gate.address)
		})
		if strings.HasPrefix(p.Page("/readyz"), "ok") || p.Listen != "" && dials(p.Listen) {
			t.Errorf("it half-started: %s", p.Page("/readyz?verbose"))
		}
		waitFor(t, patience, "it tries again", func() bool { return strings.Count(p.Log(), "the database does not answer; trying again") >= 3 })
	}
	gate.open()
	for _, p := range waiting {
		p.WaitReady()
		p.Stop(30 * time.Second)
	}
}

// A counter whose clock is off: the edge says so, and so does the preflight.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	skewed := filepath.Join(t.TempDir(), "counter")
	programs.MustRun(t, "go", "build", "-C", root, "-trimpath", "-buildvcs=false", "-tags", "skewedclock", "-o", skewed, "./counter/cmd/counter")
	f := programs.NewFleet(t, bin, programs.FleetSpec{})
	m := &market{edge: f.Edge, cli: f.CLI}
	m.must(t, "sale", "create", "kettle", "--title", "Kettle", "--stock", "50", "--limit", "1", "--price", "100", "--opens", "10m", "--open")
	preflight(t, f, "kettle").wantLine(t, "clocks", "ok", "")
	f.Counter.Stop(20 * time.Second)
	f.Counter = programs.Start(t, programs.Spec{Name: "skewed", Path: skewed, Args: []string{"--config", f.CounterConfig(0)},
		Env:   []string{"HEADGATE_CLOCK_SKEW=900ms", "HEADGATE_COUNTER_CLIENT_PASSWORD=" + programs.ClientPassword, "HEADGATE_COUNTER_OPERATOR_PASSWORD=" + programs.OperatorPassword},
		Ready: f.Admin("counter-s1") + "/readyz"})
	waitFor(t, patience, "the edge tells", func() bool {
		text := page(f.Admin("interceptor") + "/readyz?verbose")
		return strings.Contains(text, "clock (degraded): the counter's clock is ") && strings.Contains(text, "ahead of this machine's: let both follow the same time servers")
	})
	preflight(t, f, "kettle").wantLine(t, "clocks", "FAIL", "leader of s1 is ")
}

func page(url string) string {
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	response, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20)) // what was read so far says enough
	return string(text)
}

// gate stands before a server: shut, nobody listens; open, connections are passed on.
type gate struct {
	t        *testing.T
	address  string
	behind   string
	listener net.Listener
}

func newGate(t *testing.T, behind string) *gate {
	t.Helper()
	g := &gate{t: t, address: programs.FreePorts(t, 1)[0], behind: behind}
	t.Cleanup(g.shut)
	return g
}

func (g *gate) open() {
	g.t.Helper()
	listener, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.listener = listener
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go g.pass(conn)
		}
	}()
}

func (g *gate) shut() {
	if g.listener != nil {
		_ = g.listener.Close()
		g.listener = nil
	}
}

// pass copies both ways until one side ends.
func (g *gate) pass(conn net.Conn) {
	defer conn.Close()
	server, err := net.Dial("tcp", g.behind)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, conn) // either side's end ends the other
		_ = server.Close()
	}()
	_, _ = io.Copy(conn, server)
}
