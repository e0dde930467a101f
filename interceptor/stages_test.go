package interceptor

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.example/interceptor/proxy"
	"headgate.example/lib/auth"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

func TestNodeBucketSheds(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Limits.NodeBucket = BucketRule{Rate: 1, Burst: 3} })
	for range 3 {
		if a := e.send("GET", "/", ""); a.status != 200 {
			t.Fatal(a.text)
		}
	}
	e.refused(e.send("GET", "/", ""), 503, "overloaded")
	e.clock.advance(time.Second)
	if a := e.send("GET", "/", ""); a.status != 200 {
		t.Error(a.text)
	}
}

func TestUserBucketTellsTheBudget(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Limits.UserBucket = BucketRule{Rate: 2, Burst: 4} })
	token := e.token("a1")
	for left := 3; left >= 0; left-- {
		a := e.as(token)
		want := fmt.Sprintf(`"user_bucket";r=%d;t=%d`, left, (4-left+1)/2)
		if a.status != 200 || a.header.Get("RateLimit") != want || a.header.Get("RateLimit-Policy") != `"user_bucket";q=4;w=2` {
			t.Fatalf("%d RateLimit %q, want %q; policy %q", a.status, a.header.Get("RateLimit"), want, a.header.Get("RateLimit-Policy"))
		}
	}
	e.refused(e.as(token), 429, "rate_limited")
	if a := e.as(e.token("a2")); a.status != 200 {
		t.Error("another user is refused")
	}
	e.accepted(e.buy("a1")) // buying has its own interval
	e.clock.advance(500 * time.Millisecond)
	if a := e.as(token); a.status != 200 {
		t.Error("the budget does not refill")
	}
}

func TestIntervalBetweenNewOrders(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Limits.UserInterval.Every = 5 * time.Second })
	e.counter.change(func() { e.counter.sales["1"].Available = 0 })
	e.fresh()
	e.refused(e.buy("a1"), 409, "sold_out") // a local refusal costs no budget
	e.counter.change(func() { e.counter.sales["1"].Available = 5 })
	e.fresh()
	two := func() answer {
		return e.send("POST", "/api/sales/1/orders", `{"quantity":2}`, "Authorization", "Bearer "+e.token("a1"))
	}
	e.refused(two(), 409, "limit_reached")
	a := two()
	e.refused(a, 429, "too_soon")
	if after := a.header.Get("Retry-After"); after < "5" && len(after) == 1 {
		t.Errorf("Retry-After %s, the interval is 5 s", after)
	}
	e.clock.advance(4999 * time.Millisecond)
	e.fresh()
	e.refused(two(), 429, "too_soon")
	e.clock.advance(time.Millisecond)
	e.refused(two(), 409, "limit_reached")
}

func TestShadowCountsAndLetsThrough(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Stages = map[string]Stage{stageSaleState: {Mode: ModeOff}, stageBlacklist: {Mode: ModeShadow}}
		c.Limits.UserBucket = BucketRule{Mode: ModeShadow, Rate: 0.001, Burst: 1}
	})
	token := e.token("a1")
	for range 3 {
		if a := e.as(token); a.status != 200 || a.header.Get("Headgate-Code") != "" || a.header.Get("Retry-After") != "" || a.header.Get("RateLimit") != "" {
			t.Fatalf("%d %v", a.status, a.header)
		}
	}
	e.counter.change(func() { e.counter.sales["1"].Paused = true })
	e.fresh()
	e.refused(e.buy("a1"), 503, "paused")
	if e.counter.reserves != 1 {
		t.Error("a stage that is off refused")
	}
	metrics := e.metrics()
	for _, want := range []string{
		`headgate_interceptor_limit_refusals_total{limit="user_bucket",route="",mode="shadow"} 2`,
		`headgate_interceptor_requests_total{route="orders",code="2xx"} 3`,
		`headgate_interceptor_requests_total{route="reserve",code="paused"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
	if strings.Contains(metrics, "a1") || strings.Contains(metrics, `"127.0.0.1"`) {
		t.Error("metrics name a user or his address")
	}
}

func (e *edge) metrics() string {
	var b strings.Builder
	e.rt.Metrics.WritePrometheus(&b)
	return b.String()
}

func TestOrderBodiesOverHTTP(t *testing.T) {
	e := newEdge(t, nil)
	for body, field := range map[string]string{
		`{"quantity":0}`: "quantity", `{"quantity":"1"}`: "quantity", `{"amount":1}`: "amount", `[1]`: "body", `{"quantity":1`: "body",
	} {
		a := e.send("POST", "/api/sales/1/orders", body, "Authorization", "Bearer "+e.token("a1"))
		e.refused(a, 400, "invalid_request")
		if len(a.body.Errors) != 1 || a.body.Errors[0].Field != field {
			t.Errorf("%s: named %v", body, a.body.Errors)
		}
	}
	e.refused(e.send("POST", "/api/sales/1/orders", strings.Repeat(" ", DefaultBody+1), "Authorization", "Bearer "+e.token("a1")), 413, "body_too_large")
	a := e.send("POST", "/api/sales/1/orders", `{"quantity":2}`, "Authorization", "Bearer "+e.token("a1"))
	e.refused(a, 409, "limit_reached")
	e.counter.change(func() { e.counter.sales["1"].Limit, e.counter.sales["1"].Available = 0, 1 })
	e.clock.advance(time.Second)
	e.fresh()
	a = e.send("POST", "/api/sales/1/orders", `{"quantity":2}`, "Authorization", "Bearer "+e.token("a1"))
	e.refused(a, 409, "insufficient")
	if a.body.Left == nil || *a.body.Left != 1 {
		t.Error(a.text)
	}
}

func TestRoutesAndMethods(t *testing.T) {
	e := newEdge(t, nil)
	e.refused(e.send("GET", "/nothing", ""), 404, "not_found")
	e.refused(e.send("GET", "/api/sales/1/orders/2", ""), 404, "not_found")
	a := e.send("DELETE", "/api/sales/1/orders", "")
	e.refused(a, 405, "method_not_allowed")
	if a.header.Get("Allow") != "POST" {
		t.Errorf("Allow %q", a.header.Get("Allow"))
	}
	if e.shop.seen() != 0 {
		t.Error("forwarded")
	}
}

func TestProxyingKeepsToTheAllowLists(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		for i := range c.Routes {
			if c.Routes[i].Name == "payment_notify" {
				c.Routes[i].ForwardHeaders = []string{"X-Pay-Signature"}
			}
		}
	})
	e.shop.handle(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/plain")
		h.Set("Cache-Control", "max-age=1")
		h.Set("Etag", `"x"`)
		h.Add("Link", "<a>")
		h.Add("Link", "<b>")
		h.Add("Set-Cookie", "a=1; Path=/; HttpOnly; SameSite=Strict")
		h.Add("Set-Cookie", "b=2; Max-Age=0")
		h.Set("Headgate-Outcome", "refused")
		h.Set("X-Powered-By", "secret")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "made")
	})
	a := e.send("POST", "/api/payments/sandbox/notify?x=1&y=%20", "paid", "X-Pay-Signature", "s", "X-Other", "o", "Connection", "User-Agent",
		"Content-Type", "text/x", "Headgate-Ticket", "t", "Headgate-Name", "n")
	if a.status != 201 || a.text != "made" || a.header.Get("Cache-Control") != "max-age=1" || a.header.Get("Etag") != `"x"` ||
		strings.Join(a.header.Values("Link"), " ") != "<a> <b>" || a.header.Get("X-Powered-By")+a.header.Get("Headgate-Outcome") != "" ||
		strings.Join(a.header.Values("Set-Cookie"), "|") != "a=1; Path=/; HttpOnly; SameSite=Strict|b=2; Max-Age=0" {
		t.Errorf("%d %q %v", a.status, a.text, a.header)
	}
	r, body := e.shop.last()
	if body != "paid" || r.RequestURI != "/api/payments/sandbox/notify?x=1&y=%20" || r.Header.Get("X-Pay-Signature") != "s" || r.Header.Get("Content-Type") != "text/x" {
		t.Errorf("%s %q %v", r.RequestURI, body, r.Header)
	}
	for _, name := range []string{"X-Other", "User-Agent", "Headgate-Ticket", "Headgate-Name", "Headgate-User"} {
		if v := r.Header.Get(name); v != "" {
			t.Errorf("%s was passed on: %q", name, v)
		}
	}
	keys, _ := auth.NewKeyring(e.cfg.HopKeys)
	if err := keys.VerifyHop(r.Header.Get(auth.HeaderHop), auth.Hop{Method: "POST", Path: r.RequestURI, Body: []byte(body), From: "edge-1"}, e.clock.Now()); err != nil {
		t.Error(err)
	}
}

func TestHeadAndNotModified(t *testing.T) {
	e := newEdge(t, nil)
	e.shop.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Length", "5")
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, "12345")
		}
	})
	if a := e.send("HEAD", "/assets/app.js", ""); a.status != 200 || a.text != "" || a.header.Get("Content-Length") != "5" {
		t.Errorf("HEAD: %d %q %v", a.status, a.text, a.header)
	}
	if a := e.send("GET", "/assets/app.js", ""); a.text != "12345" {
		t.Errorf("GET: %q", a.text)
	}
	if a := e.send("GET", "/assets/app.js", "", "If-None-Match", `"x"`); a.status != 304 || a.text != "" {
		t.Errorf("%d %q", a.status, a.text)
	}
}

func TestUpstreamFailures(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Upstreams[0].MaxResponseBytes = 2048
		c.Upstreams[0].Breaker.Off = true
	})
	token := "Bearer " + e.token("a1")
	e.shop.handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	if a := e.send("GET", "/", ""); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("503 without Retry-After was passed on as it is: %d %v", a.status, a.header)
	}
	for told, want := range map[string]string{"0": "", "-1": "", "soon": "", "7": "7", "Wed, 21 Oct 2065 07:28:00 GMT": "Wed, 21 Oct 2065 07:28:00 GMT"} {
		e.shop.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", told)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		got := e.send("GET", "/", "").header.Get("Retry-After")
		if want != "" && got != want || want == "" && got != "1" && got != "2" {
			t.Errorf("Retry-After: %s was passed on as %q", told, got)
		}
	}
	e.shop.handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 4096)) })
	e.refused(e.send("GET", "/", ""), 503, "unavailable")
	e.shop.handle(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	patience := func(timeout time.Duration) func(c *Config) {
		return func(c *Config) {
			c.Routes = DefaultRoutes()
			for i := range c.Routes {
				c.Routes[i].Timeout = timeout
			}
		}
	}
	e.reload(patience(time.Second))
	e.refused(e.send("GET", "/", ""), 503, "unavailable")
	e.refused(e.send("POST", "/api/orders/7/pay", "", "Authorization", token), 503, "unknown_outcome")
	e.reload(patience(20 * time.Second))
	e.shop.handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	before := e.shop.seen()
	e.refused(e.send("POST", "/api/orders/7/pay", "", "Authorization", token), 503, "unknown_outcome")
	if n := e.shop.seen() - before; n != 1 {
		t.Errorf("a write was sent %d times", n)
	}
	before = e.shop.seen()
	e.refused(e.send("GET", "/", ""), 503, "unavailable")
	if n := e.shop.seen() - before; n != 2 {
		t.Errorf("a read was sent %d times, want 2", n)
	}
	e.shop.Close()
	e.refused(e.send("POST", "/api/orders/7/pay", "", "Authorization", token), 503, "unavailable")
}

func TestLongPollsDoNotStarveOthers(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Upstreams[0].MaxLongPolls, c.Upstreams[0].MaxWait = 1, time.Millisecond })
	release := make(chan struct{})
	e.shop.handle(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.RequestURI, "/api/orders/") {
			<-release
		}
		take(w, r)
	})
	first := make(chan answer, 1)
	token := "Bearer " + e.token("a1")
	go func() {
		a, _ := e.trySend("GET", "/api/orders/7?wait=10s", "", "Authorization", token)
		first <- a
	}()
	servicetest.Eventually(t, 30*time.Second, "the poll waits", func() bool { return e.shop.seen() == 1 })
	e.refused(e.send("GET", "/api/orders/8?wait=10s", "", "Authorization", token), 503, "overloaded")
	e.accepted(e.buy("a1"))
	close(release)
	if a := <-first; a.status != 200 {
		t.Errorf("%d %s", a.status, a.text)
	}
}

// Where the last step itself fails, the buyer gets an answer, and the program lives.
func TestPanicsOfTheLastStepAreContained(t *testing.T) {
	e := newEdge(t, nil)
	broken := *e.server.plan.Load()
	broken.routes = slices.Clone(broken.routes)
	for i := range broken.routes {
		broken.routes[i].figures = nil // which finish counts in
	}
	whole := e.server.plan.Swap(&broken)
	e.refused(e.send("GET", "/", ""), 500, "internal")
	e.server.plan.Store(whole)
	if !strings.Contains(e.metrics(), "headgate_interceptor_panics_total 1") {
		t.Error("not counted")
	}
	if a := e.send("GET", "/", ""); a.status != 200 {
		t.Error("does not serve on")
	}
}

func TestPanicsAreRecovered(t *testing.T) {
	e := newEdge(t, nil)
	e.counter.change(func() {
		e.counter.onCall = func(command string, _ sale.OrderID) {
			if command == "RESERVE" {
				panic("defect")
			}
		}
	})
	e.refused(e.buy("a1"), 500, "internal")
	if !strings.Contains(e.metrics(), "headgate_interceptor_panics_total 1") {
		t.Error("not counted")
	}
	if a := e.send("GET", "/", ""); a.status != 200 {
		t.Error("does not serve on")
	}
}

func TestDrainLetsWorkFinish(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Server.DrainGrace = 50 * time.Millisecond })
	reached, goOn := make(chan struct{}), make(chan struct{})
	e.shop.handle(func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-goOn
		take(w, r)
	})
	bought := make(chan answer, 1)
	token := e.token("a1")
	go func() {
		a, err := e.trySend("POST", "/api/sales/1/orders", "", "Authorization", "Bearer "+token)
		if err != nil {
			t.Error(err)
		}
		bought <- a
	}()
	<-reached
	stopped := make(chan error, 1)
	go func() { stopped <- e.stop() }()
	servicetest.Eventually(t, 30*time.Second, "health is red", func() bool {
		report := e.rt.Health.Check(t.Context())
		return !report.Ready()
	})
	close(goOn)
	a := <-bought
	e.accepted(a)
	if !a.closed {
		t.Error("the connection stays open while draining")
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := e.trySend("GET", "/", ""); err == nil {
		t.Error("serves after the drain")
	}
}

func TestLanes(t *testing.T) {
	for kind, want := range map[string]proxy.Lane{KindReserve: proxy.Orders, KindProxy: proxy.Calls, KindLongPoll: proxy.LongPolls} {
		if got := laneOf(kind); got != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
}
