//go:build !race

package interceptor

import (
	"net"
	"testing"

	"github.com/valyala/fasthttp"
)

// A refusal that hops makes no garbage either, at neither edge: both run in this process.
func TestHopsOfRefusalsAllocateNothing(t *testing.T) {
	edges := newEdges(t, 2, func(c *Config) {
		c.LogRefusalsPerSecond = 0
		c.Limits.UserBucket = BucketRule{Mode: ModeEnforce, Rate: 0.001, Burst: 1}
		c.PollInterval, c.StateMaxAge = 10_000_000_000, 60_000_000_000
	})
	one := edges[0].server
	authorization := "Bearer " + edges[0].token(userOf(t, edges[1]))
	var ctx fasthttp.RequestCtx
	var req fasthttp.Request
	ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, nil)
	serve := func() int {
		ctx.Request.Reset()
		ctx.Response.Reset()
		ctx.Request.Header.SetMethod("GET")
		ctx.Request.SetRequestURI("/api/orders")
		ctx.Request.Header.SetHost("shop")
		ctx.Request.Header.Set("Authorization", authorization)
		ctx.Request.Header.Set("Cookie", "headgate_edge=edge-2")
		one.handle(&ctx)
		return ctx.Response.StatusCode()
	}
	serve()
	before := one.figures.hops.served.sum()
	if n := testing.AllocsPerRun(500, func() {
		if status := serve(); status != 429 {
			t.Fatalf("status %d: %s", status, ctx.Response.Body())
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if hops := one.figures.hops.served.sum() - before; hops < 500 {
		t.Errorf("%d hops", hops)
	}
}
