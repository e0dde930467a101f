package backend_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/backend"
	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

type saleView struct {
	ID         string
	Phase      sale.Phase
	Left       *int64
	Stock      int64
	ServerTime int64 `json:"server_time"`
	OpensAt    int64 `json:"opens_at"`
}

func (s *shop) sale(id string) saleView {
	s.t.Helper()
	var v saleView
	s.call(nobody, "GET", "/api/sales/"+id, nil).want(200, "").into(&v)
	return v
}

// phase waits for a phase: what is told may be as old as the refresh.
func (s *shop) phase(id string, want sale.Phase) saleView {
	s.t.Helper()
	var v saleView
	servicetest.Eventually(s.t, 30*time.Second, "sale "+id+" is "+string(want), func() bool {
		v = s.sale(id)
		return v.Phase == want
	})
	return v
}

func TestSalePhases(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 3)
	v := s.phase("1", sale.Open)
	if v.Left == nil || *v.Left != 3 || v.ServerTime < time.Now().Add(-time.Minute).UnixMilli() {
		t.Fatalf("%+v", v)
	}
	a := s.call(nobody, "GET", "/api/sales", nil).want(200, "")
	if a.header.Get("Cache-Control") != "public, max-age=1" || a.header.Get("Age") == "" {
		t.Fatalf("headers %v", a.header)
	}
	for _, user := range []string{"u1", "u2", "u3"} {
		s.hold("1", user)
	}
	s.phase("1", sale.SoldOut)
	s.counter.Fail(client.ErrUnavailable)
	s.phase("1", sale.Open) // nobody knows: never sold out by guess
	s.counter.Fail(nil)
	s.phase("1", sale.SoldOut)
	s.call(root, "POST", "/api/admin/sales/1/pause", nil).want(200, "")
	s.phase("1", sale.Paused)
	s.call(root, "POST", "/api/admin/sales/1/close", nil).want(200, "")
	s.phase("1", sale.Ended)

	later := draft("2", 5)
	later["opens_at"] = time.Now().Add(time.Hour).UnixMilli()
	later["releases"] = []map[string]int64{{"at": time.Now().Add(2 * time.Hour).UnixMilli(), "units": 2}}
	s.call(root, "POST", "/api/admin/sales", later).want(201, "")
	s.call(nobody, "GET", "/api/sales/2", nil).want(404, "not_found") // a draft is hidden
	s.call(root, "POST", "/api/admin/sales/2/open", nil).want(200, "")
	s.phase("2", sale.Upcoming)
	s.call(nobody, "GET", "/api/sales/3", nil).want(404, "not_found")
}

// A crowd that asks costs the counter one look per refresh.
func TestCrowdCostsNothing(t *testing.T) {
	s := newShop(t, func(c *backend.Config) { c.Sales.Refresh = time.Second })
	s.openSale("1", 3)
	s.sale("1")
	before := s.counter.Calls("SaleList")
	started := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				s.call(nobody, "GET", "/api/sales", nil).want(200, "")
			}
		})
	}
	all.Wait()
	most := 2 * (2 + int(time.Since(started)/time.Second)) // the pusher looks once a second, too
	if n := s.counter.Calls("SaleList") - before; n > most {
		t.Fatalf("1000 requests made %d looks at the counter, want at most %d", n, most)
	}
}

type adminView struct {
	Intent       string
	Revision     int64
	Acknowledged int64
	Pending      bool
	Alarm        string
	Stock        int64
	StockCeiling int64 `json:"stock_ceiling"`
	Counter      *struct {
		Revision, Stock, Available, Held, Confirmed, Debt int64
		Paused                                            bool
	}
}

func TestAdminSale(t *testing.T) {
	s := newShop(t)
	s.call(root, "POST", "/api/admin/sales", draft("1", 10)).want(201, "")
	s.call(root, "POST", "/api/admin/sales", draft("1", 10)).want(409, "conflict")
	for _, route := range []string{"pause", "resume", "close"} {
		s.call(root, "POST", "/api/admin/sales/1/"+route, nil).want(409, "conflict")
	}
	change := func(method, route string, body any, status int) adminView {
		t.Helper()
		var v adminView
		s.call(root, method, "/api/admin/sales/1"+route, body).want(status, "").into(&v)
		return v
	}
	v := change("POST", "/open", nil, 200)
	if v.Intent != "open" || v.Revision != 2 || v.Acknowledged != 2 || v.Counter == nil || v.Counter.Available != 10 || v.Pending {
		t.Fatalf("opened as %+v", v)
	}
	if v = change("POST", "/open", nil, 200); v.Revision != 2 {
		t.Fatal("opening twice is a second change")
	}
	s.hold("1", "u1")
	v = change("PUT", "/stock", map[string]int{"total": 4}, 200)
	if v.Revision != 5 || v.Counter.Stock != 4 || v.Counter.Available != 3 || v.Counter.Paused || v.StockCeiling != 4 {
		t.Fatalf("cut to %+v %+v", v, v.Counter)
	}
	if v = change("PUT", "/stock", map[string]int{"total": 40}, 200); v.Revision != 6 || v.Counter.Available != 39 {
		t.Fatalf("raised to %+v", v)
	}
	if v = change("POST", "/pause", nil, 200); v.Intent != "paused" || !v.Counter.Paused {
		t.Fatalf("paused as %+v", v)
	}
	s.counter.Fail(client.ErrUnavailable)
	if v = change("POST", "/resume", nil, 202); !v.Pending || v.Intent != "open" || v.Counter != nil {
		t.Fatalf("with the counter away: %+v", v)
	}
	s.counter.Fail(nil)
	servicetest.Eventually(t, 30*time.Second, "the change is applied", func() bool { return change("GET", "", nil, 200).Acknowledged == 8 })
	change("POST", "/close", nil, 200)
	s.call(root, "POST", "/api/admin/sales/1/resume", nil).want(409, "conflict")
	s.call(root, "PUT", "/api/admin/sales/1/stock", map[string]int{"total": 4}).want(409, "conflict")
	s.call(root, "POST", "/api/admin/sales/9/open", nil).want(404, "not_found")
}

// A change that was written while the counter was away, and the backend restarted, is applied.
func TestRestartAppliesWhatWasIntended(t *testing.T) {
	s := newShop(t)
	s.call(root, "POST", "/api/admin/sales", draft("1", 10)).want(201, "")
	s.counter.Fail(client.ErrUnknown)
	s.call(root, "POST", "/api/admin/sales/1/open", nil).want(202, "")
	s.stop()
	s.counter.Fail(nil)
	s.start()
	s.phase("1", sale.Open)
}

func TestDraftInput(t *testing.T) {
	s := newShop(t)
	for field, value := range map[string]any{
		"id": "../x", "stock": -1, "price_minor": -5, "currency": "yuan", "limit_per_user": -1, "opens_at": 0,
		"ends_at": 5, "hold_for_ms": 5, "pay_within_ms": 1, "title": strings.Repeat("x", 201),
		"releases": []map[string]int64{{"at": 1, "units": 1}},
	} {
		body := draft("x", 10)
		body[field] = value
		wantField(t, s.call(root, "POST", "/api/admin/sales", body), strings.TrimSuffix(field, "_ms"))
	}
	for _, field := range []string{"hold_for_ms", "pay_within_ms"} {
		for _, millis := range []int64{18446744103710, -18446744043710} { // as nanoseconds they wrap around to about 30 s
			body := draft("x", 10)
			body[field] = millis
			wantField(t, s.call(root, "POST", "/api/admin/sales", body), strings.TrimSuffix(field, "_ms"))
		}
	}
	body := draft("x", 10)
	body["colour"] = "red"
	wantField(t, s.call(root, "POST", "/api/admin/sales", body), "colour")
}

func TestBans(t *testing.T) {
	s := newShop(t)
	until := time.Now().Add(time.Hour).UnixMilli()
	ban := func(kind, value string, until int64) *answer {
		return s.call(root, "POST", "/api/admin/bans", map[string]any{"kind": kind, "value": value, "until": until, "reason": "bots"})
	}
	ban("user", "u1", 0).want(201, "")
	ban("address", "192.0.2.77/24", until).want(201, "")
	ban("address", "::ffff:198.51.100.7", until).want(201, "")
	wantField(t, ban("address", "not-an-address", 0), "value")
	wantField(t, ban("user", "has space", 0), "value")
	wantField(t, ban("shoe", "u1", 0), "kind")
	wantField(t, ban("user", "u1", 5), "until")
	list := func() string {
		var out struct {
			Bans []struct{ Kind, Value string }
		}
		s.call(root, "GET", "/api/admin/bans", nil).want(200, "").into(&out)
		var all []string
		for _, b := range out.Bans {
			all = append(all, b.Kind+":"+b.Value)
		}
		return strings.Join(all, " ")
	}
	if got := list(); got != "address:192.0.2.0/24 address:198.51.100.7 user:u1" {
		t.Fatalf("bans %s", got)
	}
	s.call(root, "DELETE", "/api/admin/bans/user/u1", nil).want(204, "")
	s.call(root, "DELETE", "/api/admin/bans?kind=address&value=192.0.2.0/24", nil).want(204, "")
	s.call(root, "DELETE", "/api/admin/bans/address/198.51.100.7%2F32", nil).want(204, "")
	if got := list(); got != "" {
		t.Fatalf("bans %s after all were taken back", got)
	}
	s.counter.Fail(client.ErrUnavailable)
	ban("user", "u1", 0).want(503, "unavailable")
}

// An operator cannot lock himself, or half the world, out of the edge through which bans are taken back.
func TestBansThatWouldLockOut(t *testing.T) {
	s := newShop(t)
	for _, c := range []struct {
		kind, value string
		status      int
	}{
		{"user", root.user, 400}, {"user", alice.user, 201},
		{"address", "198.51.100.9", 400}, {"address", "198.51.100.0/24", 400}, {"address", "198.51.101.0/24", 201},
		{"address", "0.0.0.0/0", 400}, {"address", "10.0.0.0/7", 400}, {"address", "10.0.0.0/8", 201},
		{"address", "::/0", 400}, {"address", "2001::/15", 400}, {"address", "2001::/16", 201},
	} {
		a := s.call(root, "POST", "/api/admin/bans", map[string]any{"kind": c.kind, "value": c.value}, "X-Forwarded-For", "198.51.100.9")
		if a.status != c.status {
			t.Errorf("%s %s: status %d, want %d: %s", c.kind, c.value, a.status, c.status, a.text)
		} else if c.status == 400 {
			wantField(t, a, "value")
		}
	}
	wantField(t, s.call(root, "POST", "/api/admin/bans", map[string]any{"kind": "user", "value": "u1", "reason": client.ReasonLift}), "reason")
}

// Taking a ban back is news to every edge even where none stands at the counter, so that it ends what
// edges banned by themselves; and it bans nobody meanwhile.
func TestUnbanReachesEdges(t *testing.T) {
	s := newShop(t)
	before, err := s.counter.Rules(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.call(root, "POST", "/api/admin/bans", map[string]any{"kind": "user", "value": "other"}).want(201, "")
	s.call(root, "DELETE", "/api/admin/bans/user/u1", nil).want(204, "")
	news, err := s.counter.Rules(t.Context(), before.Index+1)
	if err != nil || len(news.Changes) != 1 || !news.Changes[0].Lifts() || news.Changes[0].Value != "u1" || !news.Changes[0].Removed {
		t.Fatalf("%+v, %v", news, err)
	}
}

func TestAuditRoute(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	ticket, _ := s.hold("1", "a1")
	s.consume(ticket)
	var report struct {
		Verdict string
		Sales   []struct{ Compared int64 }
	}
	s.call(root, "GET", "/api/admin/sales/1/audit", nil).want(200, "").into(&report)
	if report.Verdict != "holds" || report.Sales[0].Compared != 1 {
		t.Fatalf("%+v", report)
	}
	s.call(root, "GET", "/api/admin/sales/2/audit", nil).want(404, "not_found")
	s.call(alice, "GET", "/api/admin/sales/1/audit", nil).want(403, "forbidden")
	if _, err := s.counter.Release(t.Context(), ticket.Order, "mistake"); err != nil {
		t.Fatal(err)
	}
	s.call(root, "GET", "/api/admin/sales/1/audit", nil).want(200, "").into(&report)
	if report.Verdict != "violated" {
		t.Fatalf("%+v", report)
	}
}

func TestNoSuchRoute(t *testing.T) {
	s := newShop(t)
	s.call(nobody, "GET", "/api/none", nil).want(404, "not_found")
	s.call(nobody, "GET", "/docs", nil).want(404, "not_found")
	s.call(nobody, "GET", "/assets/none.js", nil).want(404, "not_found")
	a := s.call(nobody, "DELETE", "/api/sales", nil).want(405, "method_not_allowed")
	if a.header.Get("Allow") != "GET" {
		t.Fatalf("Allow: %q", a.header.Get("Allow"))
	}
	a = s.call(nobody, "GET", "/api/none", nil, "Headgate-Request-Id", "r-77")
	if !strings.Contains(string(a.text), `"instance":"r-77"`) {
		t.Fatalf("the problem does not name the request: %s", a.text)
	}
}

// Every route is in the document, and every one that the document has answers.
func TestOpenAPI(t *testing.T) {
	s := newShop(t, withSandbox)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Responses   map[string]any
			Security    []any
		}
	}
	s.call(nobody, "GET", "/openapi.json", nil).want(200, "").into(&doc)
	var got []string
	for path, methods := range doc.Paths {
		for method, op := range methods {
			got = append(got, strings.ToUpper(method)+" "+path)
			if op.Responses["default"] == nil {
				t.Errorf("%s %s describes no refusal", method, path)
			}
			if strings.HasPrefix(path, "/api/admin/") && len(op.Security) == 0 {
				t.Errorf("%s %s needs nobody", method, path)
			}
			concrete := strings.NewReplacer("{sale}", "none", "{order}", "77", "{kind}", "user", "{value}", "u", "{user}", "u", "{letter}", "7").Replace(path)
			if a := s.call(nobody, strings.ToUpper(method), concrete, nil); a.status == http.StatusMethodNotAllowed || strings.Contains(string(a.text), "no such route") {
				t.Errorf("%s %s is in the document only: %s", method, path, a.text)
			}
		}
	}
	want := []string{
		"POST /api/register", "POST /api/login", "POST /api/logout", "POST /api/logout/everywhere", "POST /api/password", "GET /api/sales", "GET /api/sales/{sale}",
		"POST /api/sales/{sale}/orders", "GET /api/orders", "GET /api/orders/{order}", "POST /api/orders/{order}/cancel",
		"GET /api/admin/sales", "POST /api/admin/sales", "GET /api/admin/sales/{sale}", "POST /api/admin/sales/{sale}/open",
		"POST /api/admin/sales/{sale}/pause", "POST /api/admin/sales/{sale}/resume", "POST /api/admin/sales/{sale}/close",
		"PUT /api/admin/sales/{sale}/stock", "GET /api/admin/sales/{sale}/audit", "POST /api/admin/sales/{sale}/repair", "GET /api/admin/bans", "POST /api/admin/bans",
		"DELETE /api/admin/bans", "DELETE /api/admin/bans/{kind}/{value}", "POST /api/admin/users/{user}/revoke", "POST /api/admin/revocations", "GET /api/admin/dead-letters",
		"GET /api/admin/dead-letters/{letter}", "POST /api/admin/dead-letters/{letter}/replay", "POST /api/admin/dead-letters/{letter}/discard",
		"POST /api/orders/{order}/pay", "POST /api/payments/{provider}/notify", "GET /api/admin/refunds", "POST /api/admin/refunds/{refund}/retry",
		"POST /api/admin/refunds/{refund}/settle", "GET /api/admin/orders/{order}/payments",
		"GET /sandbox/payment", "POST /sandbox/pay", "GET /api/admin/payments/sandbox", "PUT /api/admin/payments/sandbox",
	}
	for _, route := range want {
		found := false
		for _, g := range got {
			found = found || g == route
		}
		if !found {
			t.Errorf("%s is not in the document", route)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the document has %d operations, want %d: %v", len(got), len(want), got)
	}
}

func TestHealth(t *testing.T) {
	s := newShop(t)
	s.runtime.Health.SetReady(true)
	report := s.runtime.Health.Check(t.Context())
	if !report.Ready() || report.Degraded() {
		t.Fatalf("%+v", report)
	}
	s.counter.Fail(client.ErrUnavailable)
	report = s.runtime.Health.Check(t.Context())
	if !report.Ready() || !report.Degraded() {
		t.Fatalf("with the counter away: %+v, want ready and degraded", report)
	}
}

// The backend audits by itself: what it finds is in the metrics, and in the log.
func TestAuditsByItself(t *testing.T) {
	s := newShop(t, func(c *backend.Config) { c.Sales.AuditEvery = time.Second })
	s.openSale("1", 10)
	ticket, _ := s.hold("1", "a1")
	s.consume(ticket)
	shows := func(line string) func() bool {
		return func() bool {
			var text strings.Builder
			s.runtime.Metrics.WritePrometheus(&text)
			return strings.Contains(text.String(), line)
		}
	}
	servicetest.Eventually(t, 30*time.Second, "an audit that holds", func() bool {
		return !shows(`headgate_backend_audits_total{verdict="holds"} 0`)() && shows("headgate_backend_audit_violated_sales 0")()
	})
	if _, err := s.counter.Release(t.Context(), ticket.Order, "mistake"); err != nil {
		t.Fatal(err)
	}
	servicetest.Eventually(t, 30*time.Second, "an audit that is violated", shows("headgate_backend_audit_violated_sales 1"))
}
