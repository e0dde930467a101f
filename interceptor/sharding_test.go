package interceptor

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"headgate.example/interceptor/peers"
	"headgate.example/lib/auth"
	"headgate.example/lib/service/servicetest"
)

// newEdges starts edges that share a counter and a shop, and waits until they agree on their ring.
func newEdges(t *testing.T, n int, change func(*Config)) []*edge {
	t.Helper()
	edges := newEdgesUnchecked(t, n, change)
	agree(t, edges...)
	return edges
}

func newEdgesUnchecked(t *testing.T, n int, change func(*Config)) []*edge {
	t.Helper()
	clock := newFakeClock()
	counter, shop := newFakeCounter(clock), &shop{handler: take}
	counter.open("1", 1000, 1)
	shop.Server = httptest.NewServer(shop)
	t.Cleanup(shop.Close)
	var list []peers.Peer
	for i := range n {
		list = append(list, peers.Peer{Name: fmt.Sprintf("edge-%d", i+1), Address: servicetest.FreePort(t)})
	}
	edges := make([]*edge, n)
	for i := range edges {
		e := &edge{t: t, cfg: testConfig(), clock: clock, counter: counter, shop: shop}
		e.cfg.Self, e.cfg.Peers, e.cfg.Listen = list[i].Name, list, list[i].Address
		e.cfg.Sharding.PingInterval, e.cfg.Sharding.ConnectTimeout = 250*time.Millisecond, 10*time.Second
		e.cfg.Upstreams[0].Addresses = []string{strings.TrimPrefix(shop.URL, "http://")}
		if change != nil {
			change(&e.cfg)
		}
		edges[i] = e
		e.open(servicetest.Log(t))
	}
	return edges
}

func agree(t *testing.T, edges ...*edge) {
	t.Helper()
	servicetest.Eventually(t, 30*time.Second, "the edges agree", func() bool {
		for _, e := range edges {
			r := e.server.peers.Report()
			if live, _ := e.server.peers.Live(); !r.Agreed || r.Pending > 0 || r.Careful > 0 || live != len(edges) {
				return false
			}
		}
		return true
	})
}

// userOf finds a user whom an edge owns.
func userOf(t *testing.T, e *edge) string {
	t.Helper()
	for i := range 10_000 {
		user := fmt.Sprintf("u%04d", i)
		if e.server.peers.OwnerName(e.server.hasher.User(user)) == e.cfg.Self {
			return user
		}
	}
	t.Fatal("the edge owns nobody")
	return ""
}

func TestUsersHaveOneBudgetOnAllEdges(t *testing.T) {
	edges := newEdges(t, 3, func(c *Config) { c.Limits.UserBucket = BucketRule{Mode: ModeEnforce, Rate: 0.001, Burst: 5} })
	for i := range 30 {
		user, allowed := fmt.Sprintf("u%04d", i), 0
		for press := range 9 {
			e := edges[(i+press)%3]
			a := e.send("GET", "/api/orders", "", "Authorization", "Bearer "+e.token(user))
			switch a.status {
			case 200:
				allowed++
			case 429:
				e.refused(a, 429, "rate_limited")
				if !strings.Contains(a.header.Get("Ratelimit"), `"user_bucket";r=0`) {
					t.Errorf("RateLimit: %q", a.header.Get("Ratelimit"))
				}
			default:
				t.Fatalf("%d %s", a.status, a.text)
			}
		}
		if allowed != 5 {
			t.Errorf("%s: %d requests admitted, want 5", user, allowed)
		}
	}
}

// What the shop sees of a request that hopped is what it would see without the hop.
func TestAHopChangesNothingForTheShop(t *testing.T) {
	edges := newEdges(t, 2, func(c *Config) { c.TrustedProxies = []string{"127.0.0.1"} })
	one, two := edges[0], edges[1]
	user := userOf(t, two)
	seen := map[string]*http.Request{}
	for _, e := range edges {
		a := e.send("POST", "/api/orders/7/pay?via=card&x=%20", `{"a":1}`, "Authorization", "Bearer "+e.token(user, "buyer"), "X-Forwarded-For", "203.0.113.9",
			"X-Forwarded-Proto", "https", "Content-Type", "application/json", "Accept-Language", "de", "Headgate-User", "somebody", "Headgate-Hops", "7", "Cookie", "a=b")
		if a.status != 200 {
			t.Fatalf("through %s: %d %s", e.cfg.Self, a.status, a.text)
		}
		r, body := e.shop.last()
		if body != `{"a":1}` || r.RequestURI != "/api/orders/7/pay?via=card&x=%20" {
			t.Errorf("through %s: %q with %q", e.cfg.Self, r.RequestURI, body)
		}
		if got := a.header.Get("Headgate-Request-Id"); got != r.Header.Get("Headgate-Request-Id") {
			t.Errorf("through %s: the buyer is told the request id %q, the shop %q", e.cfg.Self, got, r.Header.Get("Headgate-Request-Id"))
		}
		seen[e.cfg.Self] = r
	}
	for _, name := range []string{auth.HeaderUser, auth.HeaderName, auth.HeaderRoles, auth.HeaderFrom, auth.HeaderHops, "X-Forwarded-For", "X-Forwarded-Proto", "Accept-Language", "Content-Type", "Cookie"} {
		if a, b := seen["edge-1"].Header.Get(name), seen["edge-2"].Header.Get(name); a != b {
			t.Errorf("%s: %q after a hop, %q without", name, a, b)
		}
	}
	if got := seen["edge-1"].Header.Get("X-Forwarded-For"); got != "203.0.113.9" {
		t.Errorf("client address %q", got)
	}
	two.shop.handle(vouched(t, two))
	if a := one.send("GET", "/api/orders?limit=5", "", "Authorization", "Bearer "+one.token(user)); a.status != 200 {
		t.Errorf("the shop does not believe what hopped: %d %s", a.status, a.text)
	}
	if n := one.server.figures.hops.served.sum(); n != 2 {
		t.Errorf("%d hops, want 2", n)
	}
}

func TestAnswersTravelWhole(t *testing.T) {
	edges := newEdges(t, 2, nil)
	one, two := edges[0], edges[1]
	token := one.token(userOf(t, two))
	long := strings.Repeat("0123456789", 200_000)
	for name, c := range map[string]struct {
		method string
		answer http.HandlerFunc
		status int
		text   string
		header [2]string
	}{
		"long":       {"GET", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long) }, 200, long, [2]string{}},
		"no content": {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204, "", [2]string{}},
		"redirect": {"GET", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 303) }, 303,
			`<a href="/elsewhere">See Other</a>.` + "\n\n", [2]string{"Location", "/elsewhere"}},
		"head": {"HEAD", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "12345") }, 200, "", [2]string{"Content-Length", "12345"}},
		"cookies": {"GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Set-Cookie", "a=1; Path=/")
			w.Header().Add("Set-Cookie", "b=2; Path=/x")
		}, 200, "", [2]string{"Set-Cookie", "a=1; Path=/,b=2; Path=/x,headgate_edge=edge-2; Path=/; HttpOnly; SameSite=Lax"}},
		"unwell": {"GET", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }, 500, "no\n", [2]string{}},
	} {
		two.shop.handle(c.answer)
		one.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		a := one.send(c.method, "/api/orders", "", "Authorization", "Bearer "+token)
		if a.status != c.status || a.text != c.text {
			t.Errorf("%s: %d with %d bytes %.50q, want %d with %d", name, a.status, len(a.text), a.text, c.status, len(c.text))
		}
		if got := strings.Join(a.header.Values(c.header[0]), ","); c.header[0] != "" && got != c.header[1] {
			t.Errorf("%s: %s: %q", name, c.header[0], got)
		}
	}
}

// A buyer with an order is never told that the sale is sold out, wherever he presses and whoever served
// him before: the edge where he lands, a new owner after a drain, one after a crash.
func TestABuyerWithAnOrderIsNotToldSoldOut(t *testing.T) {
	edges := newEdges(t, 3, func(c *Config) { c.Limits.UserInterval.Mode = ModeOff })
	user, stranger := userOf(t, edges[2]), ""
	for i := 0; stranger == ""; i++ {
		if name := fmt.Sprintf("v%04d", i); edges[0].server.peers.OwnerName(edges[0].server.hasher.User(name)) == "edge-3" {
			stranger = name
		}
	}
	first := edges[0].buy(user)
	edges[0].accepted(first)
	edges[0].counter.change(func() { edges[0].counter.sales["1"].Available = 0 })
	press := func(when string, edges ...*edge) {
		t.Helper()
		for _, e := range edges {
			e.fresh()
			a := e.buy(user)
			e.refused(a, 409, "already_ordered")
			if a.body.OrderID != first.body.OrderID {
				t.Errorf("%s, at %s: order %q, was %q", when, e.cfg.Self, a.body.OrderID, first.body.OrderID)
			}
			e.refused(e.buy(stranger), 409, "sold_out")
		}
	}
	press("at first", edges...)
	if err := edges[2].server.peers.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	agree(t, edges[:2]...)
	before := edges[0].counter.reserved()
	press("after a drain", edges...)
	if asked := edges[0].counter.reserved() - before; asked > 5 { // the buyer's own presses, and the stranger's first
		t.Errorf("the counter was asked %d times", asked)
	}
	// Now the one who took over dies.
	owner, other := edges[0], edges[1]
	if owner.server.peers.OwnerName(owner.server.hasher.User(user)) != owner.cfg.Self {
		owner, other = other, owner
	}
	owner.server.stopPeers() // as a crash does: without handing anything over
	servicetest.Eventually(t, 30*time.Second, "the survivor serves the user", func() bool { return other.buy(user).status != 503 })
	press("after a crash", other)
}

// The sum over all edges is what buyers were answered.
func TestARequestThatHopsIsCountedWhereItArrived(t *testing.T) {
	edges := newEdges(t, 2, nil)
	one, two := edges[0], edges[1]
	user := userOf(t, two)
	one.accepted(one.buy(user))
	one.refused(one.buy(user), 409, "already_ordered")
	for _, code := range []string{"accepted", "already_ordered"} {
		line := `headgate_interceptor_requests_total{route="reserve",code="` + code + `"} 1`
		one.counted(line)
		if strings.Contains(two.metrics(), `requests_total{route="reserve"`) {
			t.Errorf("%s: it is counted at its owner, too", code)
		}
	}
	one.counted("headgate_edge_hops_total{outcome=\"served\"} 2")
}

func TestTheAffinityCookieNamesTheOwner(t *testing.T) {
	edges := newEdges(t, 2, nil)
	one, two := edges[0], edges[1]
	bearer := "Bearer " + one.token(userOf(t, two))
	const right = "headgate_edge=edge-2; Path=/; HttpOnly; SameSite=Lax"
	for name, c := range map[string]struct {
		at     *edge
		cookie string
		want   string
	}{
		"hopped":                {one, "", right},
		"hopped by a wrong one": {one, "headgate_edge=edge-1", right},
		"hopped for all that":   {one, "headgate_edge=edge-2", ""}, // the balancer could not reach it
		"by luck":               {two, "", right},
		"sent there":            {two, "headgate_edge=edge-2", ""},
	} {
		headers := []string{"Authorization", bearer}
		if c.cookie != "" {
			headers = append(headers, "Cookie", c.cookie)
		}
		a := c.at.send("GET", "/api/orders", "", headers...)
		if got := strings.Join(a.header.Values("Set-Cookie"), ","); a.status != 200 || got != c.want {
			t.Errorf("%s: %d, Set-Cookie %q, want %q", name, a.status, got, c.want)
		}
	}
	one.counter.change(func() { one.counter.sales["1"].OpensAt += 60_000 })
	one.fresh()
	early := one.send("POST", "/api/sales/1/orders", `{"quantity":1}`, "Authorization", bearer, "Content-Type", "application/json")
	if got := early.header.Get("Set-Cookie"); got != right {
		t.Errorf("before the opening: %d %s, Set-Cookie %q, want %q", early.status, early.text, got, right)
	}
	one.counted(`headgate_interceptor_requests_total{route="reserve",code="not_open"} 1`)
	two.shop.handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "public, max-age=1") })
	if a := one.send("GET", "/api/sales", "", "Authorization", bearer); a.header.Get("Set-Cookie") != "" {
		t.Error("a cookie in an answer that caches may keep")
	}
	if a := one.send("GET", "/api/sales", ""); a.header.Get("Set-Cookie") != "" {
		t.Error("a cookie for nobody")
	}
}

func TestStrangersCannotHop(t *testing.T) {
	edges := newEdges(t, 2, nil)
	e := edges[0]
	for _, headers := range [][]string{
		{}, {"Upgrade", peers.Protocol, "Connection", "Upgrade"},
		{"Upgrade", peers.Protocol, "Connection", "Upgrade", auth.HeaderFrom, "edge-2", auth.HeaderHop, "v1.h1.1900000000000.AAAAAAAAAAAAAAAAAAAAAA.AAAA"},
	} {
		a := e.send("GET", peers.LinkPath+"?to=edge-1", "", headers...)
		e.refused(a, 404, "not_found")
	}
}

func TestDrainOnCommand(t *testing.T) {
	edges := newEdges(t, 2, func(c *Config) { c.Limits.UserBucket = BucketRule{Mode: ModeEnforce, Rate: 0.001, Burst: 3} })
	one, two := edges[0], edges[1]
	user := userOf(t, two)
	call := func(e *edge) answer {
		return e.send("GET", "/api/orders", "", "Authorization", "Bearer "+e.token(user))
	}
	for range 3 {
		if a := call(two); a.status != 200 {
			t.Fatal(a.status, a.text)
		}
	}
	answer := httptest.NewRecorder()
	two.rt.Pages.ServeHTTP(answer, httptest.NewRequest("POST", "/edge/drain", nil))
	if answer.Code != 200 || !strings.Contains(answer.Body.String(), `"state":"draining"`) {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if report := two.rt.Health.Check(t.Context()); report.Ready() {
		t.Error("a drained node is ready")
	}
	for _, e := range edges {
		e.refused(call(e), 429, "rate_limited") // the budget moved along
	}
	if a := call(two); !a.closed {
		t.Error("a drained node keeps its buyers' connections")
	}
	ring := httptest.NewRecorder()
	one.rt.Pages.ServeHTTP(ring, httptest.NewRequest("GET", "/edge/ring", nil))
	if !strings.Contains(ring.Body.String(), `"name":"edge-2"`) || !strings.Contains(ring.Body.String(), `"config_hash"`) {
		t.Errorf("ring: %s", ring.Body)
	}
}

func TestDifferentConfigsShow(t *testing.T) {
	n := 0
	edges := newEdgesUnchecked(t, 2, func(c *Config) { n++; c.LogRefusalsPerSecond = n })
	servicetest.Eventually(t, 30*time.Second, "the difference shows", func() bool {
		return strings.Contains(fmt.Sprint(edges[0].rt.Health.Check(t.Context())), "it runs another configuration")
	})
	if edges[0].server.peers.Report().Agreed {
		t.Error("nodes with different configs agree")
	}
}

// An edge that dies takes nobody with it: what was under way is answered truthfully, and then others serve.
func TestTheRingGoesOnWithoutAnEdge(t *testing.T) {
	edges := newEdges(t, 2, func(c *Config) { c.Sharding.CarefulFor = time.Millisecond })
	one, two := edges[0], edges[1]
	token := "Bearer " + one.token(userOf(t, two))
	two.server.stopPeers()
	servicetest.Eventually(t, 30*time.Second, "the user is served", func() bool {
		a := one.send("GET", "/api/orders", "", "Authorization", token)
		if a.status != 200 && (a.status != 503 || a.body.Code != "unavailable" || a.header.Get("Retry-After") == "") {
			t.Errorf("%d %s", a.status, a.text)
		}
		return a.status == 200 && one.server.peers.Deaths.Load() == 1
	})
	if report := one.rt.Health.Check(t.Context()); !report.Ready() || !report.Degraded() {
		t.Error("a dead peer degrades a node, and does not make it unready")
	}
}
