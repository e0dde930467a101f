package interceptor

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/salestate"
)

// benchUsers press in turn, each on one of at most benchConnections.
const (
	benchUsers       = 2000
	benchConnections = 4
)

// What a press costs whom the edge knows and refuses, and what the same bytes cost a bare fasthttp server that
// answers 200, without the system's calls: -cpu 2 shows what processors do to each other.
func BenchmarkPress(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		bare := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("ok") }}
		pressFor(b, bare, benchRequests(b, testConfig(), "1"), "200 OK")
	})
	cfg := testConfig()
	cfg.LogRefusalsPerSecond = 0
	cfg.Limits.UserInterval.Every = 10 * time.Minute
	cfg.Strikes.TooSoon.Mode = ModeShadow
	counter := newFakeCounter(newFakeClock())
	counter.open("1", 10, 1)
	counter.open("dry", 10, 1)
	counter.change(func() { counter.sales["dry"].Available = 0 })
	s := openForBenchmark(b, cfg, counter)
	list, err := counter.SaleList(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	s.sales.Correct(time.Now().UnixMilli(), time.Now().UnixMilli(), 0)
	s.peers.Begin() // by the counter's clock, which is known now
	for i := range list {
		list[i].OpensAt = s.peers.Since(0) // of an older one this node would not know who has ordered
	}
	s.sales.Apply(list, 0)
	s.sales.SetLimits(salestate.Limits{MaxAge: time.Hour, SoldOutFor: time.Hour})
	for i := range benchUsers {
		s.limiters.users.Take(s.hasher.User(fmt.Sprintf("u%07d", i)), budgetPress, s.plan.Load().limits.users[budgetPress].rate, s.mono(s.now()))
	}
	b.Run("too soon", func(b *testing.B) { pressFor(b, s.http, benchRequests(b, cfg, "1"), "429 Too Many Requests") })
	b.Run("sold out", func(b *testing.B) { pressFor(b, s.http, benchRequests(b, cfg, "dry"), "409 Conflict") })
}

// benchRequests are presses of all users on a sale, byte for byte.
func benchRequests(b *testing.B, cfg Config, sale string) (list [][]byte) {
	b.Helper()
	for i := range benchUsers {
		token := signToken(b, cfg.Tokens, fmt.Sprintf("u%07d", i), time.Now())
		list = append(list, fmt.Appendf(nil, "POST /api/sales/%s/orders HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) edgebench\r\n"+
			"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: 14\r\nAuthorization: Bearer %s\r\n\r\n{\"quantity\":1}", sale, token))
	}
	return list
}

// pressFor serves one connection on each processor.
func pressFor(b *testing.B, server *fasthttp.Server, requests [][]byte, status string) {
	b.ReportAllocs()
	want := "HTTP/1.1 " + status
	var started atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		bounds := testConfig().Server
		number := int(started.Add(1)) % benchConnections // two presses of one user at once are another matter
		own := requests[number*len(requests)/benchConnections : (number+1)*len(requests)/benchConnections]
		p := &presses{next: pb.Next, requests: own, want: want, b: b}
		for !p.over { // a connection takes requests_per_connection
			slots := make(chan struct{}, 1)
			slots <- struct{}{}
			if err := server.ServeConn(newClientConn(p, &bounds, slots)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// presses is a connection on which each request is there when the answer to the one before it is taken.
type presses struct {
	net.Conn
	b        *testing.B
	next     func() bool
	requests [][]byte
	at       int
	over     bool
	want     string
	wrong    sync.Once
}

func (c *presses) Read(p []byte) (int, error) {
	if c.over = !c.next(); c.over {
		return 0, io.EOF
	}
	c.at = (c.at + 1) % len(c.requests)
	return copy(p, c.requests[c.at]), nil
}

func (c *presses) Write(p []byte) (int, error) {
	if string(p[:min(len(p), len(c.want))]) != c.want {
		c.wrong.Do(func() { c.b.Errorf("%s", p) })
	}
	return len(p), nil
}

func (c *presses) Close() error                     { return nil }
func (c *presses) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
func (c *presses) LocalAddr() net.Addr              { return c.RemoteAddr() }
func (c *presses) SetDeadline(time.Time) error      { return nil }
func (c *presses) SetReadDeadline(time.Time) error  { return nil }
func (c *presses) SetWriteDeadline(time.Time) error { return nil }
