package backend_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/backend"
	"headgate.example/backend/internal/countertest"
	"headgate.example/lib/auth"
	"headgate.example/lib/queue"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop is a backend that serves, with a real ledger and queue and a counter in memory.
type shop struct {
	t       *testing.T
	log     *slog.Logger
	dir     string
	config  backend.Config
	counter *countertest.Counter
	meddle  func() // see meddled; before start
	queue   *scripted
	ledger  *store.Store
	runtime *service.Runtime
	base    string
	hops    *auth.Keyring
	tickets *auth.Keyring
	client  *http.Client
	stop    func()
}

// scripted is the server's own queue, whose next fates a test may script.
type scripted struct {
	queue.Queue
	mu   sync.Mutex
	next []queue.Outcome
	away error // what Ping says
}

func (q *scripted) goAway(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.away = err
}

func (q *scripted) Ping(ctx context.Context) error {
	q.mu.Lock()
	away := q.away
	q.mu.Unlock()
	if away != nil {
		return away
	}
	return q.Queue.Ping(ctx)
}

func (q *scripted) script(outcomes ...queue.Outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = outcomes
}

func (q *scripted) Publish(ctx context.Context, topic string, messages []queue.Message) []queue.Outcome {
	q.mu.Lock()
	if len(q.next) > 0 {
		outcome := q.next[0]
		q.next = q.next[1:]
		q.mu.Unlock()
		return []queue.Outcome{outcome}
	}
	q.mu.Unlock()
	return q.Queue.Publish(ctx, topic, messages)
}

// meddled is a counter that somebody else is quicker than, at each revocation.
type meddled struct {
	*countertest.Counter
	meddle func() // nil: nobody
}

func (m *meddled) Revoke(ctx context.Context, user string, before int64) error {
	if m.meddle != nil {
		m.meddle()
	}
	return m.Counter.Revoke(ctx, user, before)
}

func testConfig(dir string) backend.Config {
	cfg := backend.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.Tokens.Keys = []auth.TokenKey{{ID: "t1", Algorithm: auth.HS256, Secret: "0123456789abcdef0123456789abcdef"}}
	cfg.Tokens.SigningKey = "t1"
	cfg.TicketKeys = []auth.SymmetricKey{{ID: "k1", Secret: "ticket-secret-0123456789"}}
	cfg.HopKeys = []auth.SymmetricKey{{ID: "h1", Secret: "hop-secret-0123456789abc"}}
	cfg.Database.Path = filepath.Join(dir, "ledger.db")
	cfg.Queue.Path = filepath.Join(dir, "queue.db")
	cfg.Sales.Refresh = 250 * time.Millisecond
	return cfg
}

func newShop(t *testing.T, change ...func(*backend.Config)) *shop {
	t.Helper()
	return newLoggedShop(t, servicetest.Log(t), change...)
}

func newLoggedShop(t *testing.T, log *slog.Logger, change ...func(*backend.Config)) *shop {
	t.Helper()
	s := &shop{t: t, log: log, dir: t.TempDir(), counter: countertest.New(time.Now())}
	s.config = testConfig(s.dir)
	for _, c := range change {
		c(&s.config)
	}
	s.start()
	return s
}

// start opens and runs the server; it may be called again after stop.
func (s *shop) start() {
	t := s.t
	t.Helper()
	var err error
	if s.hops, err = auth.NewKeyring(s.config.HopKeys); err != nil {
		t.Fatal(err)
	}
	if s.tickets, err = auth.NewKeyring(s.config.TicketKeys); err != nil {
		t.Fatal(err)
	}
	s.runtime = service.NewRuntime("backend", s.log)
	s.queue = &scripted{Queue: openQueue(t, s.config.Queue)}
	server, err := backend.Open(t.Context(), s.config, s.runtime, backend.WithCounter(&meddled{s.counter, s.meddle}), backend.WithQueue(s.queue))
	if err != nil {
		t.Fatal(err)
	}
	s.base = "http://" + server.Addr()
	if s.ledger, err = store.Open(t.Context(), s.config.Database, servicetest.Log(t)); err != nil {
		t.Fatal(err)
	}
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 40 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		s.client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping: %v", err)
		}
		if err := s.ledger.Close(); err != nil {
			t.Errorf("closing the ledger: %v", err)
		}
	})
	t.Cleanup(s.stop)
}

// who is a user and roles, as an edge vouches for them.
type who struct{ user, roles string }

var (
	nobody = who{}
	alice  = who{user: "a1"}
	bob    = who{user: "a2"}
	root   = who{user: "a9", roles: "admin"}
)

// answer is what came back.
type answer struct {
	t       *testing.T
	status  int
	header  http.Header
	text    []byte
	Code    string `json:"code"`
	Status  any    `json:"status"`
	OrderID string `json:"order_id"`
	Errors  []struct {
		Field, Reason string
	} `json:"errors"`
}

func (s *shop) call(as who, method, path string, body any, headers ...string) *answer {
	s.t.Helper()
	var payload []byte
	if text, ok := body.(string); ok {
		payload = []byte(text)
	} else if body != nil {
		payload, _ = json.Marshal(body)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.base+path, bytes.NewReader(payload))
	if err != nil {
		s.t.Fatal(err)
	}
	if len(payload) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if as.user != "" {
		hop := auth.Hop{Method: method, Path: path, Body: payload, User: as.user, Roles: as.roles}
		r.Header.Set(auth.HeaderUser, as.user)
		r.Header.Set(auth.HeaderRoles, as.roles)
		r.Header.Set(auth.HeaderHop, s.hops.SignHop(hop, time.Now()))
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return s.send(r)
}

func (s *shop) send(r *http.Request) *answer {
	s.t.Helper()
	response, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // read whole
	a := &answer{t: s.t, status: response.StatusCode, header: response.Header}
	if a.text, err = io.ReadAll(response.Body); err != nil {
		s.t.Fatal(err)
	}
	_ = json.Unmarshal(a.text, a) // pages are no JSON
	return a
}

// want checks status and, for refusals, code and form.
func (a *answer) want(status int, code string) *answer {
	a.t.Helper()
	if a.status != status || a.Code != code {
		a.t.Fatalf("%d %q, want %d %q: %s", a.status, a.Code, status, code, a.text)
	}
	if code != "" {
		if ct := a.header.Get("Content-Type"); ct != "application/problem+json" {
			a.t.Fatalf("a refusal of type %q: %s", ct, a.text)
		}
		if a.header.Get("Headgate-Code") != code {
			a.t.Fatalf("header Headgate-Code is %q, want %q", a.header.Get("Headgate-Code"), code)
		}
		if retry := a.header.Get("Retry-After"); (status == 429 || status == 503) != (retry != "") {
			a.t.Fatalf("status %d with Retry-After %q", status, retry)
		}
	}
	return a
}

// into reads the body.
func (a *answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.text, v); err != nil {
		a.t.Fatalf("%v: %s", err, a.text)
	}
}

// openSale creates and opens a sale that sells now.
func (s *shop) openSale(id string, stock int64) {
	s.t.Helper()
	s.call(root, "POST", "/api/admin/sales", draft(id, stock)).want(201, "")
	s.call(root, "POST", "/api/admin/sales/"+id+"/open", nil).want(200, "")
}

func draft(id string, stock int64) map[string]any {
	return map[string]any{
		"id": id, "title": "Tea set", "price_minor": 19900, "stock": stock, "limit_per_user": 1,
		"opens_at": time.Now().Add(-time.Minute).UnixMilli(),
	}
}

// hold reserves a unit for a user and gives the edge's ticket.
func (s *shop) hold(saleID, user string) (auth.Ticket, string) {
	s.t.Helper()
	r, err := s.counter.Reserve(s.t.Context(), saleID, user, 1, "")
	if err != nil || r.Refused() {
		s.t.Fatalf("reserving: %+v %v", r, err)
	}
	ticket := auth.Ticket{Order: r.Order, Sale: saleID, User: user, Quantity: 1, Slot: r.Slot, ExpiresAt: r.ExpiresAt}
	text, err := s.tickets.SignTicket(ticket)
	if err != nil {
		s.t.Fatal(err)
	}
	return ticket, text
}

// consume does what the consumer does with one accepted order.
func (s *shop) consume(ticket auth.Ticket) {
	s.t.Helper()
	if _, err := s.counter.Confirm(s.t.Context(), ticket.Order); err != nil {
		s.t.Fatal(err)
	}
	report, err := s.ledger.WriteOrders(s.t.Context(), []store.Accepted{{Binding: ticket.Binding(), AcceptedAt: time.Now()}})
	if err != nil || len(report.Results) != 1 || report.Results[0].Outcome != store.Written {
		s.t.Fatalf("writing an order: %+v %v", report, err)
	}
}

func (s *shop) depth() int {
	s.t.Helper()
	depth, err := s.queue.Depth(s.t.Context(), backend.Topic)
	if err != nil {
		s.t.Fatal(err)
	}
	return depth.Ready
}

func wantField(t *testing.T, a *answer, field string) {
	t.Helper()
	a.want(400, "invalid_request")
	for _, e := range a.Errors {
		if strings.Contains(e.Field, field) {
			return
		}
	}
	t.Fatalf("no error names the field %s: %s", field, a.text)
}
