package interceptor

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Both sleep between rounds and end by themselves after the last, up to 10 s later.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		// The date in responses, once for the process.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

const (
	tokenSecret = "0123456789abcdef0123456789abcdef"
	hopSecret   = "hop-secret-0123456789"
)

func testConfig() Config {
	c := DefaultConfig()
	c.Listen = "127.0.0.1:0"
	c.Tokens.Keys = []auth.TokenKey{{ID: "t1", Algorithm: auth.HS256, Secret: tokenSecret}}
	c.Tokens.SigningKey = "t1"
	c.TicketKeys = []auth.SymmetricKey{{ID: "k1", Secret: "ticket-secret-0123456789"}}
	c.HopKeys = []auth.SymmetricKey{{ID: "h1", Secret: hopSecret}}
	c.Upstreams[0].Health.Path = "" // what the shop is sent is counted
	// What takes its time on a machine that stalls has it, unless a test says otherwise.
	c.Upstreams[0].Timeout, c.Upstreams[0].ConnectTimeout, c.Upstreams[0].MaxWait = 20*time.Second, 20*time.Second, 20*time.Second
	c.Counter.Timeout, c.Service.DrainFor = 10*time.Second, 2*time.Minute
	c.PollInterval = 10 * time.Millisecond
	c.StateMaxAge = 3 * time.Second
	c.Limits.MaxTrackedUsers = 100_000
	c.TokenCacheEntries = 10_000
	return c
}

// edge is a running interceptor between a fake counter and a scripted upstream.
type edge struct {
	t       testing.TB
	cfg     Config
	server  *Server
	rt      *service.Runtime
	clock   *fakeClock
	counter *fakeCounter
	shop    *shop
	client  *http.Client
	stop    func() error // drains; once
}

// shop is the upstream: it takes orders unless told otherwise.
type shop struct {
	*httptest.Server
	mu       sync.Mutex
	handler  http.HandlerFunc
	requests []*http.Request
	bodies   []string
}

func (s *shop) handle(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.requests = append(s.requests, r.Clone(context.Background()))
	s.bodies = append(s.bodies, string(body))
	h := s.handler
	s.mu.Unlock()
	h(w, r)
}

func (s *shop) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func (s *shop) last() (*http.Request, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[len(s.requests)-1], s.bodies[len(s.bodies)-1]
}

func take(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"status":"queued"}`)
}

func newEdge(t *testing.T, change func(*Config)) *edge {
	t.Helper()
	return newLoggedEdge(t, servicetest.Log(t), change)
}

func newLoggedEdge(t testing.TB, log *slog.Logger, change func(*Config)) *edge {
	t.Helper()
	return newPreparedEdge(t, log, change, func(*fakeCounter) {})
}

// newPreparedEdge starts an edge whose counter is as prepare leaves it.
func newPreparedEdge(t testing.TB, log *slog.Logger, change func(*Config), prepare func(*fakeCounter)) *edge {
	t.Helper()
	clock := newFakeClock()
	e := &edge{t: t, cfg: testConfig(), clock: clock, counter: newFakeCounter(clock), shop: &shop{handler: take}}
	e.counter.open("1", 1000, 1)
	prepare(e.counter)
	e.shop.Server = httptest.NewServer(e.shop)
	t.Cleanup(e.shop.Close)
	e.cfg.Upstreams[0].Addresses = []string{strings.TrimPrefix(e.shop.URL, "http://")}
	if change != nil {
		change(&e.cfg)
	}
	e.open(log)
	return e
}

// open starts the edge by its config.
func (e *edge) open(log *slog.Logger) {
	t := e.t
	t.Helper()
	if err := config.Check(&e.cfg); err != nil {
		t.Fatal(err)
	}
	e.rt = service.NewRuntime("interceptor", log)
	server, err := Open(t.Context(), e.cfg, e.rt, WithClock(e.clock.Now), WithCounter(e.counter))
	if err != nil {
		t.Fatal(err)
	}
	e.server = server
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	e.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	e.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: 20 * time.Second}
	t.Cleanup(func() {
		e.client.CloseIdleConnections()
		if err := e.stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	servicetest.Eventually(t, 30*time.Second, "sale state is known", func() bool {
		_, known := server.sales.Age(0)
		return known
	})
}

// fresh waits until the edge has fetched what the counter says now.
func (e *edge) fresh() {
	e.t.Helper()
	lists := func() (n int) { e.counter.change(func() { n = e.counter.lists }); return n }
	before := lists()
	// The first may have begun before, and the second may not be applied yet when it is counted.
	servicetest.Eventually(e.t, 30*time.Second, "sale state is fetched", func() bool { return lists() >= before+3 })
	rules := func() (n int64) { e.counter.change(func() { n = int64(len(e.counter.rules)) }); return n }
	servicetest.Eventually(e.t, 30*time.Second, "rules are fetched", func() bool { return e.server.rules.Index() == rules() })
}

// reload changes the config of the running edge.
func (e *edge) reload(change func(*Config)) {
	e.t.Helper()
	next := e.cfg
	change(&next)
	if err := e.server.Reload(next); err != nil {
		e.t.Fatal(err)
	}
	e.cfg = next
}

func (e *edge) token(user string, roles ...string) string {
	e.t.Helper()
	return signToken(e.t, e.cfg.Tokens, user, e.clock.Now(), roles...)
}

func signToken(t testing.TB, c auth.TokenConfig, user string, now time.Time, roles ...string) string {
	t.Helper()
	signer, err := auth.NewSigner(c)
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := signer.SignFor(user, "Name of "+user, roles, now)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// openForBenchmark opens a server that is not run.
func openForBenchmark(b *testing.B, cfg Config, counter Counter) *Server {
	b.Helper()
	if err := config.Check(&cfg); err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), cfg, service.NewRuntime("interceptor", nil), WithCounter(counter))
	if err != nil {
		b.Fatal(err)
	}
	if err := s.rules.Apply(client.Rules{Full: true}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.listener.Close(); s.cancelWork() })
	return s
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	text   string
	closed bool // Connection: close
	body   struct {
		Code    string `json:"code"`
		OrderID string `json:"order_id"`
		Ticket  string `json:"ticket"`
		OpensAt int64  `json:"opens_at"`
		Held    *int64 `json:"held"`
		Left    *int64 `json:"left"`
		Detail  string `json:"detail"`
		Errors  []struct{ Field string }
	}
}

// send sends a request with headers as pairs.
func (e *edge) send(method, target, body string, headers ...string) answer {
	e.t.Helper()
	a, err := e.trySend(method, target, body, headers...)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}

func (e *edge) trySend(method, target, body string, headers ...string) (answer, error) {
	var a answer
	req, err := http.NewRequest(method, "http://"+e.server.Addr()+target, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	a.status, a.header, a.text = resp.StatusCode, resp.Header, string(text)
	a.closed = resp.Close
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		_ = json.Unmarshal(text, &a.body)
	}
	return a, err
}

func (e *edge) buy(user string, headers ...string) answer {
	e.t.Helper()
	return e.send("POST", "/api/sales/1/orders", "", append(headers, "Authorization", "Bearer "+e.token(user))...)
}

// refused checks everything that a refusal must have.
func (e *edge) refused(a answer, status int, code string) {
	e.t.Helper()
	if a.status != status || a.body.Code != code || a.header.Get("Headgate-Code") != code {
		e.t.Errorf("got %d %q (header %q), want %d %q: %s", a.status, a.body.Code, a.header.Get("Headgate-Code"), status, code, a.text)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		e.t.Errorf("%s: content type %q", code, got)
	}
	if len(a.header.Get("Headgate-Request-Id")) != requestIDBytes {
		e.t.Errorf("%s: request id %q", code, a.header.Get("Headgate-Request-Id"))
	}
	waits := status == 429 || status == 503
	if after := a.header.Get("Retry-After"); waits != (after != "") || waits && (after < "1" || strings.HasPrefix(after, "0")) {
		e.t.Errorf("%s: Retry-After %q", code, after)
	}
}

func (e *edge) accepted(a answer) {
	e.t.Helper()
	if a.status != 202 || a.body.OrderID == "" || !strings.Contains(a.text, `"status":"queued"`) {
		e.t.Errorf("not accepted: %d %s", a.status, a.text)
	}
}

// raw sends bytes and gives all that comes back until the edge closes the connection.
func (e *edge) raw(text string) string {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.server.Addr())
	if err != nil {
		e.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		e.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		e.t.Fatal(err)
	}
	got, _ := io.ReadAll(conn) // a reset after the answer is as good as an end
	return string(got)
}
