package interceptor

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/peers"
	"headgate.example/lib/config"
	"headgate.example/lib/service/servicetest"
)

// A hop that comes late, to an edge that has handed the buyer over with the marks of his orders, or early, to
// one that they have not reached yet, is not answered from what the sale looks like there: only who has the
// marks may say that it is sold out.
func TestALateHopIsNotToldSoldOut(t *testing.T) {
	edges := newEdges(t, 2, func(c *Config) { c.Limits.UserInterval.Mode = ModeOff })
	one, two := edges[0], edges[1]
	user := userOf(t, two)
	one.accepted(one.buy(user))
	key := one.server.hasher.User(user)
	late, _ := one.server.peers.Enter(key) // as a request does that is about to hop while the ring changes
	if err := two.server.peers.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	agree(t, one)
	one.counter.change(func() { one.counter.sales["1"].Available = 0 })
	for _, e := range edges {
		e.fresh()
	}

	there, section, reply, err := one.server.peers.Hop(late, key, pressFrame(one, user), time.Now().Add(5*time.Second))
	section.Leave()
	defer reply.Release()
	if err != nil || there.Kind != peers.Here {
		t.Errorf("%s served what it had handed over (%v): %q", there.OwnerName(), err, reply.Payload())
	}
}

// pressFrame is the hop of a user's press on sale 1 as an edge sends it.
func pressFrame(e *edge, user string) []byte {
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, nil)
	ctx.Request.Header.SetMethod("POST")
	ctx.Request.SetRequestURI("/api/sales/1/orders")
	ctx.Request.Header.SetHost("shop")
	ctx.Request.Header.SetContentType("application/json")
	ctx.Request.SetBodyString(`{"quantity":1}`)
	ctx.Request.Header.Set("Authorization", "Bearer "+e.token(user))
	s := e.server
	x := &exchange{ctx: &ctx}
	s.begin(x)
	if s.findRoute(x) || s.checkToken(x) {
		e.t.Fatalf("the press is refused: %s", x.problem.Code)
	}
	return appendHop(make([]byte, peers.HopHead), x)
}

// Nodes that hash users under different keys would each take another for the owner of a user, and keep his budgets
// twice, or his marks where nobody looks for them. They are no peers, and say so.
func TestEdgesWithOtherUserKeysAreNoPeers(t *testing.T) {
	n := 0
	edges := newEdgesUnchecked(t, 2, func(c *Config) {
		n++
		c.UserHashSecret = config.Secret(fmt.Sprintf("user-hash-secret-%d", n))
	})
	for i, other := range []string{"edge-2 is away", "edge-1 is away"} {
		servicetest.Eventually(t, 30*time.Second, "the difference shows", func() bool {
			report := fmt.Sprint(edges[i].rt.Health.Check(t.Context()))
			return strings.Contains(report, other) && strings.Contains(report, "user_hash_secret")
		})
		if live, _ := edges[i].server.peers.Live(); live != 1 {
			t.Errorf("%s has %d nodes in its ring", edges[i].cfg.Self, live)
		}
	}
}
