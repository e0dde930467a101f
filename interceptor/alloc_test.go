//go:build !race

package interceptor

import (
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
		c.LogRefusalsPerSecond = 0
		c.PollInterval = 10_000_000_000
		c.StateMaxAge = 60_000_000_000
	})
	e.counter.open("dry", 10, 1)
	e.counter.change(func() { e.counter.sales["dry"].Available = 0 })
	list, err := e.counter.SaleList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.server.sales.Apply(list, e.server.mono(e.clock.Now()))
	rules := &strikes.Rules{TooSoon: strikes.Rule{Mode: ModeEnforce, Count: 1, Window: time.Minute, BanFor: time.Hour}}
	e.server.conduct.strikes.StrikeUser(rules, strikes.TooSoon, "a3", e.server.mono(e.clock.Now()))
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
			var ctx fasthttp.RequestCtx
			var req fasthttp.Request
			ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, nil)
			authorization := "Bearer " + c.token
			serve := func() int {
				ctx.Request.Reset()
				ctx.Response.Reset()
				ctx.Request.Header.SetMethod("POST")
				ctx.Request.SetRequestURI(c.target)
				ctx.Request.Header.SetHost("shop")
				if c.token != "" {
					ctx.Request.Header.Set("Authorization", authorization)
				}
				ctx.Request.SetBodyString(`{"quantity":1}`)
				e.server.handle(&ctx)
				return ctx.Response.StatusCode()
			}
			for range 3 { // verifies the token, takes the interval, and that of retries
				serve()
			}
			if n := testing.AllocsPerRun(200, func() {
				if status := serve(); status < 400 || string(ctx.Response.Header.Peek(problem.HeaderCode)) != c.code {
					t.Fatalf("status %d %s", status, ctx.Response.Body())
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
