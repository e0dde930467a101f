//go:build !race

package interceptor

import (
	"net"
	"testing"

	"github.com/valyala/fasthttp"
)

// The refusals that a crowd meets most must not make garbage.
func TestCheapRefusalsAllocateNothing(t *testing.T) {
	e := newEdge(t, func(c *Config) {
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
	for name, c := range map[string]struct {
		target, token string
	}{
		"sold out":      {"/api/sales/dry/orders", e.token("a1")},
		"too soon":      {"/api/sales/1/orders", e.token("a2")},
		"no token":      {"/api/sales/1/orders", ""},
		"no such route": {"/nothing", ""},
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
			serve() // verifies the token, takes the interval
			if n := testing.AllocsPerRun(200, func() {
				if status := serve(); status < 400 {
					t.Fatalf("status %d", status)
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
