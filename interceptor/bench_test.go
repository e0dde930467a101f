package interceptor

import (
	"net"
	"testing"

	"github.com/valyala/fasthttp"
)

// One press at a sale that is sold out, without the network.
func BenchmarkSoldOut(b *testing.B) {
	cfg := testConfig()
	clock := newFakeClock()
	counter := newFakeCounter(clock)
	counter.open("1", 10, 1)
	counter.change(func() { counter.sales["1"].Available = 0 })
	s := openForBenchmark(b, cfg, clock, counter)
	list, err := counter.SaleList(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	s.sales.Apply(list, 0)
	var ctx fasthttp.RequestCtx
	var req fasthttp.Request
	ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, nil)
	authorization := "Bearer " + signToken(b, cfg.Tokens, "a1", clock.Now())
	b.ReportAllocs()
	for b.Loop() {
		ctx.Request.Reset()
		ctx.Response.Reset()
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.SetRequestURI("/api/sales/1/orders")
		ctx.Request.Header.SetHost("shop")
		ctx.Request.Header.Set("Authorization", authorization)
		s.handle(&ctx)
		if ctx.Response.StatusCode() != 409 {
			b.Fatalf("status %d: %s", ctx.Response.StatusCode(), ctx.Response.Body())
		}
	}
}
