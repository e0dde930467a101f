package interceptor

import (
	"testing"
	"time"

	"headgate.example/lib/sale"
)

// However seldom the state is fetched, nobody is told sold_out from what is older than half a second.
func TestSoldOutIsNotBelievedForLong(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.PollInterval, c.StateMaxAge = 10*time.Second, 20*time.Second })
	now := e.clock.Now()
	// Later than what the node asked for as it started, which may arrive only now.
	e.server.sales.Apply([]sale.Info{{ID: "1", Stock: 1, Confirmed: 1, OpensAt: now.UnixMilli()}}, e.server.mono(now)+1)
	e.refused(e.buy("a1"), 409, "sold_out")
	e.clock.advance(600 * time.Millisecond) // meanwhile units came back
	e.accepted(e.buy("a2"))
}

// A buyer whom this node has forgotten, because so many have ordered since, is not told sold_out: the
// counter may know of an order. Once it has spoken, the local word is good enough again.
func TestForgottenBuyersAskTheCounter(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Limits.MaxTrackedUsers = 1000 }) // one a generation and shard
	first := e.buy("a1")
	e.accepted(first)
	forget := func() {
		key := e.server.hasher.UserInSale("a1", []byte("1"))
		for i := uint64(1); e.server.seen.Has(key); i++ {
			e.server.seen.Add(key+i<<32, e.server.sales.Wall(e.clock.Now().UnixMilli()))
		}
	}
	e.clock.advance(2 * time.Second)
	forget()
	e.counter.change(func() { e.counter.sales["1"].Available = 0 })
	e.fresh()
	again := e.buy("a1")
	e.refused(again, 409, "already_ordered")
	if again.body.OrderID != first.body.OrderID {
		t.Errorf("order %q, was %q", again.body.OrderID, first.body.OrderID)
	}

	// A sale that began after what was forgotten is judged here, as ever.
	e.clock.advance(time.Second)
	e.counter.open("2", 1, 1)
	e.counter.change(func() { e.counter.sales["2"].Available = 0 })
	e.fresh()
	before := e.counter.reserved()
	e.refused(e.send("POST", "/api/sales/2/orders", "", "Authorization", "Bearer "+e.token("a5")), 409, "sold_out")
	if e.counter.reserved() != before {
		t.Error("the counter was asked")
	}
}
