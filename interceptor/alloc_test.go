//go:build !race

package interceptor

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/strikes"
	"headgate.example/lib/problem"
)

// The refusals that a crowd meets most must not make garbage.
func TestCheapRefusalsAllocateNothing(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Strikes.TooSoon.Mode = ModeShadow
		quiet(c)
	})
	e.counter.open("dry", 10, 1)
	e.counter.change(func() { e.counter.sales["dry"].Available = 0 })
	list, err := e.counter.SaleList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.server.sales.Apply(list, e.server.mono(e.clock.Now()))
	rules := &strikes.Rules{TooSoon: strikes.Rule{Mode: ModeEnforce, Count: 1, Window: time.Minute, BanFor: time.Hour}}
	e.server.conduct.strikes.StrikeUser(rules, strikes.TooSoon, e.server.hasher.User("a3"), "a3", e.server.mono(e.clock.Now()))
	for name, c := range map[string]struct {
		target, token, code string
	}{
		"sold out":      {"/api/sales/dry/orders", e.token("a1"), "sold_out"},
		"too soon":      {"/api/sales/1/orders", e.token("a2"), "too_soon"}, // a strike each time
		"struck out":    {"/api/sales/1/orders", e.token("a3"), "blacklisted"},
		"no token":      {"/api/sales/1/orders", "", "unauthenticated"},
		"malformed":     {"/api/sales/1%2f2/orders", "", "invalid_request"},
		"no such route": {"/nothing", "", "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			authorization := "Bearer " + c.token
			e.refusesWithoutGarbage(t, c.code, func(r *fasthttp.Request) {
				r.Header.SetMethod("POST")
				r.SetRequestURI(c.target)
				if c.token != "" {
					r.Header.Set("Authorization", authorization)
				}
				r.SetBodyString(`{"quantity":1}`)
			})
		})
	}
}

// The refusals of limits, each in an edge of its own.
func TestRefusalsOfLimitsAllocateNothing(t *testing.T) {
	get := func(r *fasthttp.Request) {
		r.Header.SetMethod("GET")
		r.SetRequestURI("/api/orders")
	}
	scarce := BucketRule{Mode: ModeEnforce, Rate: 0.001, Burst: 1}
	for name, c := range map[string]struct {
		change func(*Config)
		code   string
	}{
		"node":          {func(c *Config) { c.Limits.NodeBucket = scarce }, "overloaded"},
		"address":       {func(c *Config) { c.Limits.AddressBucket = scarce }, "rate_limited"},
		"user":          {func(c *Config) { c.Limits.UserBucket = scarce }, "rate_limited"},
		"route":         {func(c *Config) { changeRoute(c, "orders", func(r *Route) { r.Bucket = &scarce }) }, "overloaded"},
		"route address": {func(c *Config) { changeRoute(c, "orders", func(r *Route) { r.AddressBucket = &scarce }) }, "rate_limited"},
		"queue": {func(c *Config) {
			changeRoute(c, "orders", func(r *Route) { r.Queue = &QueueRule{Rate: 0.001, Length: 1, MaxWait: time.Second} })
		}, "overloaded"},
		"behind shadows": {func(c *Config) { // everything that only counts allocates nothing either
			c.Limits.NodeBucket, c.Limits.AddressBucket = BucketRule{Mode: ModeShadow, Rate: 0.001, Burst: 1}, BucketRule{Mode: ModeShadow, Rate: 0.001, Burst: 1}
			c.Limits.UserBucket = scarce
		}, "rate_limited"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, func(c2 *Config) {
				quiet(c2)
				c2.Limits.UserBucket = BucketRule{Mode: ModeOff}
				c.change(c2)
			})
			token := "Bearer " + e.token("a1")
			e.refusesWithoutGarbage(t, c.code, func(r *fasthttp.Request) {
				get(r)
				r.Header.Set("Authorization", token)
			})
		})
	}
	t.Run("no room for another user", func(t *testing.T) {
		e := newEdge(t, quiet)
		e.server.limiters.users.SetMaxKeys(0)
		token := "Bearer " + e.token("a1")
		e.refusesWithoutGarbage(t, "overloaded", func(r *fasthttp.Request) {
			get(r)
			r.Header.Set("Authorization", token)
		})
	})
}

// quiet keeps an edge from doing anything by itself while allocations are counted.
func quiet(c *Config) {
	c.LogRefusalsPerSecond = 0
	c.PollInterval = 10 * time.Second
	c.StateMaxAge = time.Minute
}

// refusesWithoutGarbage sends a request until it is refused as the code says, and then many times.
func (e *edge) refusesWithoutGarbage(t *testing.T, code string, prepare func(*fasthttp.Request)) {
	t.Helper()
	var ctx fasthttp.RequestCtx
	var req fasthttp.Request
	ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, nil)
	serve := func() {
		ctx.Request.Reset()
		ctx.Response.Reset()
		ctx.Request.Header.SetHost("shop")
		prepare(&ctx.Request)
		e.server.handle(&ctx)
	}
	want := []byte("\r\n" + problem.HeaderCode + ": " + code + "\r\n")
	for range 3 { // verifies the token, takes the interval, and that of retries
		serve()
	}
	if n := testing.AllocsPerRun(200, func() {
		serve()
		if status := ctx.Response.StatusCode(); status < 400 || !bytes.Contains(ctx.Response.Header.Header(), want) {
			t.Fatalf("status %d %s", status, ctx.Response.Body())
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
