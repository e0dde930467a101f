package interceptor

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/interceptor/proxy"
	"headgate.example/lib/auth"
	"headgate.example/lib/service/servicetest"
)

// full is a shop that takes no orders for now, and says so.
func full(code, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(auth.HeaderOutcome, auth.OutcomeRefused)
		w.Header().Set("Headgate-Code", code)
		w.Header().Set("Retry-After", retryAfter)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"code":"`+code+`"}`)
	}
}

// untouched checks that the counter holds nothing, and was asked so many times.
func (e *edge) untouched(reserves int) {
	e.t.Helper()
	if n := e.counter.reserved(); n != reserves {
		e.t.Errorf("RESERVE was sent %d times, want %d", n, reserves)
	}
	e.counter.change(func() {
		if s := e.counter.sales["1"]; s.Held != 0 {
			e.t.Errorf("%d units are held", s.Held)
		}
	})
}

func TestAFullShopIsSparedBeforeReserving(t *testing.T) {
	for _, code := range []string{"overloaded", "unavailable"} {
		t.Run(code, func(t *testing.T) {
			e := newEdge(t, nil)
			e.shop.handle(full(code, "3"))
			e.refused(e.buy("a1"), 503, code)
			e.untouched(1)
			for _, user := range []string{"a2", "a3", "a1"} { // a1's hold was given back: no retry either
				e.clock.advance(900 * time.Millisecond)
				a := e.buy(user)
				if e.refused(a, 503, code); a.header.Get("Retry-After") == "" {
					t.Error("not told how long")
				}
			}
			e.untouched(1)
			e.clock.advance(time.Second)
			e.fresh()
			e.refused(e.buy("a4"), 503, code) // tried after three seconds, by one
			e.refused(e.buy("a5"), 503, code)
			e.untouched(2)
			if n := e.shop.seen(); n != 2 {
				t.Errorf("the shop was sent %d orders, want 2", n)
			}
			if a := e.send("GET", "/api/sales", ""); a.status != 503 || e.shop.seen() != 3 {
				t.Error("what is no order is held off, too")
			}
			e.shop.handle(take)
			e.clock.advance(3 * time.Second)
			e.fresh()
			e.accepted(e.buy("a6"))
			e.accepted(e.buy("a7"))
		})
	}
}

// One order at a time finds out whether a shop that was full takes orders again; who presses beside it
// reserves nothing.
func TestOnlyOneOrderTriesAFullShop(t *testing.T) {
	e := newEdge(t, nil)
	e.shop.handle(full("overloaded", "1"))
	e.refused(e.buy("a0"), 503, "overloaded")
	e.clock.advance(time.Second)
	reached, goOn := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(reached) })
	e.shop.handle(func(w http.ResponseWriter, r *http.Request) {
		once()
		<-goOn
		take(w, r)
	})
	first := make(chan answer, 1)
	token := "Bearer " + e.token("a1")
	go func() {
		a, _ := e.trySend("POST", "/api/sales/1/orders", "", "Authorization", token)
		first <- a
	}()
	<-reached
	for _, user := range []string{"a2", "a3", "a4"} {
		e.refused(e.buy(user), 503, "overloaded")
	}
	if n := e.counter.reserved(); n != 2 {
		t.Errorf("reserved %d times, want 2", n)
	}
	close(goOn)
	e.accepted(<-first)
	e.clock.advance(2 * time.Second)
	for _, user := range []string{"a2", "a3", "a4"} {
		e.accepted(e.buy(user))
	}
}

// An order that waits in its route's queue is asked for twice, and does not stand in its own way.
func TestAProbeMayWaitInAQueue(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Routes[0].Queue = &QueueRule{Rate: 1000, Length: 10, MaxWait: time.Second}
	})
	e.shop.handle(full("overloaded", "1"))
	e.refused(e.buy("a0"), 503, "overloaded")
	e.shop.handle(take)
	e.clock.advance(time.Second)
	e.accepted(e.buy("a1"))
	e.accepted(e.buy("a2"))
}

// Where backpressure is in shadow, it refuses nobody after a wait in the queue either.
func TestBackpressureInShadowRefusesNobodyBehindAQueue(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Stages = map[string]Stage{stageBackpressure: {Mode: ModeShadow}}
		c.Routes[0].Queue = &QueueRule{Rate: 0.05, Length: 10, MaxWait: 30 * time.Second}
	})
	fills, answers := make(chan struct{}), make(chan answer, 2)
	e.shop.handle(func(w http.ResponseWriter, r *http.Request) {
		<-fills
		full("overloaded", "3")(w, r)
	})
	go func() { answers <- e.buy("a1") }()
	servicetest.Eventually(t, 30*time.Second, "the first is at the shop", func() bool { return e.shop.seen() == 1 })
	go func() { answers <- e.buy("a2") }()
	servicetest.Eventually(t, 30*time.Second, "the second waits", func() bool { return e.server.limiters.waiting() == 1 })
	e.shop.handle(take)
	close(fills) // while the second waits, the shop says that it is full
	e.refused(<-answers, 503, "overloaded")
	e.reload(func(c *Config) {
		c.Routes = slices.Clone(c.Routes)
		c.Routes[0].Queue = &QueueRule{Rate: 1000, Length: 10, MaxWait: 30 * time.Second}
	})
	e.accepted(<-answers)
}

// A probe that the counter refuses has not found anything out: the next may try.
func TestAProbeThatIsNotSentMakesRoom(t *testing.T) {
	e := newEdge(t, nil)
	e.counter.open("2", 1, 1)
	e.fresh()
	e.shop.handle(full("overloaded", "1"))
	e.refused(e.buy("a0"), 503, "overloaded")
	e.shop.handle(take)
	e.clock.advance(time.Second)
	e.counter.change(func() { e.counter.sales["2"].Available = 0 })
	for _, user := range []string{"a1", "a2", "a3"} {
		a := e.send("POST", "/api/sales/2/orders", "", "Authorization", "Bearer "+e.token(user))
		e.refused(a, 409, "sold_out")
	}
	e.accepted(e.buy("a4"))
}

func TestAnOpenBreakerReservesNothing(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Upstreams[0].Breaker = proxy.Breaker{Requests: 4, Pause: 3 * time.Second, Probes: 1}
	})
	e.shop.handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for _, user := range []string{"a1", "a2", "a3", "a4"} {
		e.refused(e.buy(user), 503, "unknown_outcome")
	}
	before := e.counter.reserved()
	a := e.buy("b1")
	if e.refused(a, 503, "unavailable"); e.counter.reserved() != before || e.shop.seen() != 4 {
		t.Errorf("reserved %d times, sent %d", e.counter.reserved()-before, e.shop.seen()-4)
	}
	if a := e.send("GET", "/api/sales", ""); a.status == 503 && a.body.Code == "unavailable" && e.shop.seen() == 4 {
		t.Error("the orders' breaker holds reads off")
	}
	e.shop.handle(take)
	n := 0
	servicetest.Eventually(t, 30*time.Second, "it closes again", func() bool {
		n++
		return e.buy(fmt.Sprint("c", n)).status == 202
	})
	if !strings.Contains(e.metrics(), `breaker_opened_total{upstream="backend",address="`+e.cfg.Upstreams[0].Addresses[0]+`",lane="orders"} 1`) {
		t.Error("not counted")
	}
}

func TestHealthTellsThatTheShopIsFull(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Upstreams[0].Health = proxy.Health{Path: "/health", Interval: 10 * time.Millisecond}
	})
	health := take
	var mu sync.Mutex
	say := func(h http.HandlerFunc) {
		mu.Lock()
		defer mu.Unlock()
		health = h
	}
	orders := 0
	e.shop.handle(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := health
		if r.URL.Path != "/health" {
			h, orders = take, orders+1
		}
		mu.Unlock()
		h(w, r)
	})
	say(full("overloaded", "1"))
	servicetest.Eventually(t, 30*time.Second, "the edge hears of it", func() bool {
		return strings.Contains(e.metrics(), "upstream_serves{") && strings.Contains(e.metrics(), "} 0\n") && e.server.upstreams.Check(t.Context()) != nil
	})
	e.refused(e.buy("a1"), 503, "overloaded")
	e.untouched(0)
	if orders != 0 {
		t.Errorf("%d orders were sent", orders)
	}
	say(take)
	servicetest.Eventually(t, 30*time.Second, "it is tried again", func() bool { return e.buy("a2").status == 202 })
}

func TestOrdersGoToAnotherAddress(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Upstreams[0].Addresses = append(c.Upstreams[0].Addresses, servicetest.FreePort(t))
	})
	for _, user := range []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"} {
		e.accepted(e.buy(user))
	}
	if n := e.shop.seen(); n != 8 {
		t.Errorf("%d orders arrived, want 8", n)
	}
}
