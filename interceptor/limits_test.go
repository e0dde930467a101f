package interceptor

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.example/interceptor/ratelimit"
	"headgate.example/lib/service/servicetest"
)

// from sends a request as if a trusted proxy had passed it on for an address.
func (e *edge) from(address, method, target string) answer {
	e.t.Helper()
	body := ""
	if method == "POST" {
		body = "{}"
	}
	return e.send(method, target, body, "X-Forwarded-For", address)
}

// behindProxy makes the test's own address that of a trusted proxy.
func behindProxy(c *Config) { c.TrustedProxies = []string{"127.0.0.1/32"} }

func (e *edge) counted(line string) {
	e.t.Helper()
	if metrics := e.metrics(); !strings.Contains(metrics, line+"\n") {
		e.t.Errorf("no %s in\n%s", line, metrics)
	}
}

func TestAddressBucketBoundsClientsNotNeighbours(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		behindProxy(c)
		c.Limits.AddressBucket = BucketRule{Mode: ModeEnforce, Rate: 1, Burst: 2}
	})
	for left := 1; left >= 0; left-- {
		a := e.from("2001:db8:1:2::1", "GET", "/")
		if want := fmt.Sprintf(`"address_bucket";r=%d;t=%d`, left, 2-left); a.status != 200 || a.header.Get("RateLimit") != want {
			t.Fatalf("%d RateLimit %q, want %q", a.status, a.header.Get("RateLimit"), want)
		}
	}
	a := e.from("2001:db8:1:2:ffff::2", "GET", "/") // of the same household
	e.refused(a, 429, "rate_limited")
	if a.header.Get("RateLimit") != `"address_bucket";r=0;t=2` || a.header.Get("RateLimit-Policy") != `"address_bucket";q=2;w=2` {
		t.Errorf("%q %q", a.header.Get("RateLimit"), a.header.Get("RateLimit-Policy"))
	}
	if a := e.from("2001:db8:1:3::1", "GET", "/"); a.status != 200 {
		t.Error("another /64 is refused")
	}
	for range 5 {
		if a := e.send("GET", "/", ""); a.status != 200 || a.header.Get("RateLimit") != "" {
			t.Error("the trusted proxy itself is bounded")
		}
	}
	e.counted(`headgate_interceptor_limit_refusals_total{limit="address_bucket",route="",mode="enforce"} 1`)
	e.clock.advance(time.Second)
	if a := e.from("2001:db8:1:2::1", "GET", "/"); a.status != 200 {
		t.Error("the bucket does not refill")
	}
}

func TestSigningInHasATighterRuleOfItsOwn(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		behindProxy(c)
		for i := range c.Routes {
			if c.Routes[i].Name == "login" {
				c.Routes[i].AddressBucket.Mode = ModeEnforce
				c.Routes[i].AddressBucket.Burst = 2
			}
		}
	})
	for range 2 {
		if a := e.from("192.0.2.1", "POST", "/api/login"); a.status != 200 {
			t.Fatal(a.text)
		}
	}
	a := e.from("192.0.2.1", "POST", "/api/login")
	e.refused(a, 429, "rate_limited")
	if a.header.Get("RateLimit-Policy") != `"address_bucket";q=2;w=4` {
		t.Errorf("policy %q: the general rule is in shadow", a.header.Get("RateLimit-Policy"))
	}
	for range 12 { // a budget of its own, in shadow by default
		if a := e.from("192.0.2.1", "POST", "/api/register"); a.status != 200 || a.header.Get("RateLimit") != "" {
			t.Fatal(a.text)
		}
	}
	e.counted(`headgate_interceptor_limit_refusals_total{limit="address_bucket",route="register",mode="shadow"} 2`)
	if a := e.from("192.0.2.2", "POST", "/api/login"); a.status != 200 {
		t.Error("another address is refused")
	}
}

// Who has very many addresses must not shut the others out.
func TestAddressesBeyondTheBoundPass(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		behindProxy(c)
		c.Limits.AddressBucket = BucketRule{Mode: ModeEnforce, Rate: 0.001, Burst: 1}
		c.Limits.MaxTrackedAddresses = 1000
	})
	e.server.limiters.addresses.SetMaxKeys(2)
	for i := range 5 {
		if a := e.from(fmt.Sprintf("192.0.2.%d", i), "GET", "/"); a.status != 200 {
			t.Fatal(a.text)
		}
	}
	e.counted(`headgate_interceptor_untracked_address_requests_total 3`)
	e.counted(`headgate_interceptor_tracked_addresses 2`)
	e.refused(e.from("192.0.2.0", "GET", "/"), 429, "rate_limited")
}

func changeRoute(c *Config, name string, change func(*Route)) {
	for i := range c.Routes {
		if c.Routes[i].Name == name {
			change(&c.Routes[i])
		}
	}
}

func TestRouteBucketShedsOfAllUsersTogether(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		changeRoute(c, "reserve", func(r *Route) { r.Bucket = &BucketRule{Rate: 0.5, Burst: 2} })
	})
	e.accepted(e.buy("a1"))
	e.accepted(e.buy("a2"))
	a := e.buy("a3")
	e.refused(a, 503, "overloaded")
	if after := a.header.Get("Retry-After"); after < "2" && len(after) == 1 {
		t.Errorf("Retry-After %s: the bucket gives one in 2 s", after)
	}
	if a.header.Get("RateLimit") != `"user_interval";r=0;t=1` {
		t.Errorf("RateLimit %q: what all share is nobody's quota", a.header.Get("RateLimit"))
	}
	if a := e.as(e.token("a3")); a.status != 200 {
		t.Error("another route is bounded")
	}
	e.clock.advance(2 * time.Second)
	e.fresh()
	e.accepted(e.buy("a3"))
	e.counted(`headgate_interceptor_limit_refusals_total{limit="route_bucket",route="reserve",mode="enforce"} 1`)
}

func TestPressesTellTheirInterval(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Limits.UserInterval.Every = 2500 * time.Millisecond })
	a := e.buy("a1")
	e.accepted(a)
	if a.header.Get("RateLimit") != `"user_interval";r=0;t=3` || a.header.Get("RateLimit-Policy") != `"user_interval";q=1;w=3` {
		t.Errorf("%q %q", a.header.Get("RateLimit"), a.header.Get("RateLimit-Policy"))
	}
}

func TestQueueLetsWaitInOrderAndRefusesTheRest(t *testing.T) {
	queue := func(rate float64) func(c *Config) {
		return func(c *Config) {
			c.Routes = DefaultRoutes()
			changeRoute(c, "sales", func(r *Route) { r.Queue = &QueueRule{Rate: rate, Length: 2, MaxWait: 30 * time.Second} })
		}
	}
	e := newEdge(t, queue(1.0/15)) // so slow that nobody's turn comes before all have come
	look := func() answer { return e.send("GET", "/api/sales", "") }
	if a := look(); a.status != 200 {
		t.Fatal(a.text)
	}
	answers := make(chan answer, 2)
	for i := range 2 {
		go func() {
			a, err := e.trySend("GET", "/api/sales", "")
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
		servicetest.Eventually(t, 30*time.Second, "he waits", func() bool { return e.server.limiters.waiting() == i+1 })
	}
	for range 2 {
		e.refused(look(), 503, "overloaded")
	}
	began := time.Now()
	e.reload(queue(10))
	for range 2 {
		if a := <-answers; a.status != 200 {
			t.Errorf("who waited: %d %s", a.status, a.text)
		}
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("two passed in %s, want one in 100ms", took)
	}
	e.counted(`headgate_interceptor_limit_refusals_total{limit="route_queue",route="sales",mode="enforce"} 2`)
	e.counted(`headgate_interceptor_queue_wait_seconds_count{route="sales"} 3`)
}

// A client who hangs up while he waits frees his place, and nothing is done for him.
func TestQueueForgetsClientsWhoHangUp(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		changeRoute(c, "sales", func(r *Route) { r.Queue = &QueueRule{Rate: 0.01, Length: 1, MaxWait: 30 * time.Second} })
	})
	if a := e.send("GET", "/api/sales", ""); a.status != 200 {
		t.Fatal(a.text)
	}
	// One in 100 s: the next would wait longer than the longest wait, until that is changed.
	e.refused(e.send("GET", "/api/sales", ""), 503, "overloaded")
	e.reload(func(c *Config) {
		c.Routes = DefaultRoutes()
		changeRoute(c, "sales", func(r *Route) { r.Queue = &QueueRule{Rate: 0.05, Length: 1, MaxWait: 30 * time.Second} })
	})
	before := e.shop.seen()
	conn := e.dial()
	if _, err := io.WriteString(conn, "GET /api/sales HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	waiting := func(n int) func() bool { return func() bool { return e.server.limiters.waiting() == n } }
	servicetest.Eventually(t, 30*time.Second, "he waits", waiting(1))
	e.refused(e.send("GET", "/api/sales", ""), 503, "overloaded")
	_ = conn.Close()
	servicetest.Eventually(t, 30*time.Second, "he is forgotten", waiting(0))
	servicetest.Eventually(t, 30*time.Second, "he is counted", func() bool {
		return strings.Contains(e.metrics(), `headgate_interceptor_queue_gave_up_total{route="sales"} 1`)
	})
	if e.shop.seen() != before {
		t.Error("his request was sent on")
	}
}

func TestQueueInShadowHoldsNobody(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		changeRoute(c, "sales", func(r *Route) {
			r.Queue = &QueueRule{Mode: ModeShadow, Rate: 1, Length: 10, MaxWait: 2 * time.Second}
		})
	})
	for range 5 {
		if a := e.send("GET", "/api/sales", ""); a.status != 200 {
			t.Fatal(a.text)
		}
	}
	e.counted(`headgate_interceptor_queue_wait_seconds_count{route="sales"} 0`)
	// One passes at once and two wait for 1 and 2 s: the others would be refused.
	e.counted(`headgate_interceptor_limit_refusals_total{limit="route_queue",route="sales",mode="shadow"} 2`)
}

// A rule's mode and rate change while the program runs, and what was spent stays spent.
func TestRulesChangeAtRuntimeAndBalancesStay(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Limits.UserBucket = BucketRule{Rate: 0.001, Burst: 3}
		c.Limits.NodeBucket = BucketRule{Rate: 0.001, Burst: 100}
	})
	token := e.token("a1")
	get := func() int { return e.as(token).status }
	set := func(user, node BucketRule) {
		t.Helper()
		next := e.cfg
		next.Limits.UserBucket, next.Limits.NodeBucket = user, node
		if err := e.server.Reload(next); err != nil {
			t.Fatal(err)
		}
	}
	rule := func(mode string, burst int) BucketRule { return BucketRule{Mode: mode, Rate: 0.001, Burst: burst} }
	want := func(what string, statuses ...int) {
		t.Helper()
		for i, status := range statuses {
			if got := get(); got != status {
				t.Errorf("%s: request %d: %d, want %d", what, i, got, status)
			}
		}
	}
	want("as it was", 200, 200, 200, 429)
	set(rule(ModeShadow, 3), rule(ModeEnforce, 100))
	want("in shadow", 200, 200)
	set(rule(ModeOff, 3), rule(ModeEnforce, 100))
	want("off", 200)
	set(rule(ModeEnforce, 3), rule(ModeEnforce, 100))
	want("enforced again", 429)
	set(rule(ModeEnforce, 5), rule(ModeEnforce, 100))
	want("with a larger burst", 200, 200, 429)
	// 10 of the node's 100 are spent: with a burst of 3 there are 3 left, and not 3 - 10.
	set(rule(ModeOff, 1), rule(ModeEnforce, 3))
	want("the node's bucket, smaller", 200, 200, 200, 503)
	set(rule(ModeOff, 1), rule(ModeEnforce, 100))
	want("the node's bucket, larger", 503)
}

// An upstream may have limits of its own: both are told, as two lines of one list.
func TestQuotasOfTheUpstreamAreKept(t *testing.T) {
	e := newEdge(t, nil)
	e.shop.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("RateLimit", `"shop";r=1;t=1`)
		w.Header().Set("RateLimit-Policy", `"shop";q=5;w=1`)
	})
	a := e.as(e.token("a1"))
	if got, want := a.header.Values("RateLimit"), []string{`"shop";r=1;t=1`, `"user_bucket";r=19;t=1`}; !slices.Equal(got, want) {
		t.Errorf("RateLimit %q, want %q", got, want)
	}
	if got, want := a.header.Values("RateLimit-Policy"), []string{`"shop";q=5;w=1`, `"user_bucket";q=20;w=2`}; !slices.Equal(got, want) {
		t.Errorf("RateLimit-Policy %q, want %q", got, want)
	}
}

func TestPoliciesAreOfWholeSeconds(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		burst    int64
		want     string
	}{
		{time.Second, 1, `"x";q=1;w=1`}, {100 * time.Millisecond, 20, `"x";q=20;w=2`}, {time.Hour, 3, `"x";q=3;w=10800`},
		{time.Millisecond, 1, `"x";q=1000;w=1`}, {time.Microsecond, 20, `"x";q=1000000;w=1`}, {2500 * time.Millisecond, 1, `"x";q=1;w=3`},
	} {
		r, err := ratelimit.NewRate(c.interval, c.burst)
		if err != nil {
			t.Fatal(err)
		}
		if got := policyOf("x", r); got != c.want {
			t.Errorf("%d, then one in %s: %s, want %s", c.burst, c.interval, got, c.want)
		}
	}
}
