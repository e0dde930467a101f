package interceptor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.example/counter/client"
	"headgate.example/interceptor/salestate"
	"headgate.example/lib/auth"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

func TestPurchaseIsForwardedWithTicketAndIdentity(t *testing.T) {
	e := newEdge(t, nil)
	a := e.send("POST", "/api/sales/1/orders", ` { "quantity" : 1 } `, "Authorization", "Bearer "+e.token("a1", "vip", "x"),
		"Idempotency-Key", "key-1", "Headgate-User", "root", "Headgate-Hop", "v1.forged", "Headgate-Hops", "9", "Cookie", "a=b", "X-Forwarded-For", "6.6.6.6")
	e.accepted(a)
	if a.header.Get("Location") != "/api/orders/"+a.body.OrderID {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	r, body := e.shop.last()
	if r.Method != "POST" || r.RequestURI != "/api/sales/1/orders" || body != `{"quantity":1}` {
		t.Errorf("forwarded %s %s %s", r.Method, r.RequestURI, body)
	}
	for name, want := range map[string]string{
		auth.HeaderUser: "a1", auth.HeaderName: "Name of a1", auth.HeaderRoles: "vip,x", auth.HeaderFrom: "edge-1", auth.HeaderHops: "0",
		"Cookie": "", "Authorization": "", "X-Forwarded-For": "127.0.0.1", "Content-Type": "application/json",
		auth.HeaderRequestID: a.header.Get("Headgate-Request-Id"),
	} {
		if got := strings.Join(r.Header.Values(name), "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	keys, _ := auth.NewKeyring(e.cfg.HopKeys)
	if err := keys.VerifyHop(r.Header.Get(auth.HeaderHop), auth.Hop{Method: "POST", Path: r.RequestURI, Body: []byte(body),
		User: "a1", Name: "Name of a1", Roles: "vip,x", From: "edge-1"}, e.clock.Now()); err != nil {
		t.Errorf("hop: %v", err)
	}
	keys, _ = auth.NewKeyring(e.cfg.TicketKeys)
	ticket, err := keys.VerifyTicket(r.Header.Get(auth.HeaderTicket))
	if err != nil || ticket.Order.String() != a.body.OrderID || ticket.User != "a1" || ticket.Sale != "1" || ticket.Key != "key-1" || ticket.Quantity != 1 {
		t.Errorf("ticket %+v: %v", ticket, err)
	}
	if e.counter.confirmed() != 1 {
		t.Error("the hold is not confirmed")
	}
}

func TestSecondOrderIsAlreadyOrdered(t *testing.T) {
	e := newEdge(t, nil)
	first := e.buy("a1")
	e.accepted(first)
	second := e.buy("a1") // at once: this node saw the user reserve
	e.refused(second, 409, "already_ordered")
	if second.body.OrderID != first.body.OrderID {
		t.Errorf("order %q, want %q", second.body.OrderID, first.body.OrderID)
	}
	e.refused(e.buy("a1"), 429, "too_soon") // the retries' own interval
	e.clock.advance(time.Second)
	e.refused(e.buy("a1"), 409, "already_ordered")
}

func TestSameKeyIsAcceptedAgain(t *testing.T) {
	e := newEdge(t, nil)
	first := e.buy("a1", "Idempotency-Key", "k")
	e.accepted(first)
	e.clock.advance(time.Second)
	again := e.buy("a1", "Idempotency-Key", "k")
	e.accepted(again)
	if again.body.OrderID != first.body.OrderID || e.counter.confirmed() != 1 {
		t.Errorf("orders %s and %s", first.body.OrderID, again.body.OrderID)
	}
	e.clock.advance(time.Second)
	e.refused(e.buy("a1", "Idempotency-Key", "other"), 409, "limit_reached")
}

func TestLocalRefusalsSpareTheCounter(t *testing.T) {
	e := newEdge(t, nil)
	now := e.clock.Now().UnixMilli()
	for id, change := range map[string]func(*sale.Info){
		"soon":   func(i *sale.Info) { i.OpensAt = now + 60_000 },
		"over":   func(i *sale.Info) { i.EndsAt = now },
		"paused": func(i *sale.Info) { i.Paused = true },
		"dry":    func(i *sale.Info) { i.Available, i.Held = 0, 3 },
	} {
		e.counter.open(id, 10, 1)
		e.counter.change(func() { change(e.counter.sales[id]) })
	}
	e.fresh()
	press := func(id string) answer {
		return e.send("POST", "/api/sales/"+id+"/orders", "", "Authorization", "Bearer "+e.token("a1"))
	}
	a := press("soon")
	e.refused(a, 409, "not_open")
	if a.body.OpensAt != now+60_000 {
		t.Errorf("opens at %d", a.body.OpensAt)
	}
	e.refused(press("over"), 410, "ended")
	e.refused(press("paused"), 503, "paused")
	a = press("dry")
	e.refused(a, 409, "sold_out")
	if a.body.Held == nil || *a.body.Held != 3 {
		t.Errorf("held: %s", a.text)
	}
	if e.counter.reserves != 0 || e.shop.seen() != 0 {
		t.Errorf("%d reserves, %d forwarded", e.counter.reserves, e.shop.seen())
	}
	e.refused(press("nothing"), 404, "not_found")
	e.counter.change(func() { e.counter.sales["dry"].Available = 1 })
	e.fresh()
	e.clock.advance(time.Second)
	e.fresh()
	e.accepted(press("dry"))
}

func TestUnknownSalesAreAskedForAFewTimesOnly(t *testing.T) {
	e := newEdge(t, nil)
	press := func(sale string, i int) answer {
		return e.send("POST", "/api/sales/"+sale+"/orders", "", "Authorization", "Bearer "+e.token(fmt.Sprintf("a%d", i+1)))
	}
	for i := range 100 {
		e.refused(press("none", i), 404, "not_found")
	}
	if e.counter.reserves != 1 {
		t.Errorf("the counter was asked %d times whether there is a sale", e.counter.reserves)
	}
	e.clock.advance(salestate.VerdictFor + time.Millisecond)
	e.fresh()
	e.refused(press("none", 100), 404, "not_found")
	if e.counter.reserves != 2 {
		t.Errorf("a sale that may have been opened since is not asked for")
	}
	e.clock.advance(time.Second)
	e.fresh()
	for i := range 3 * newSalesPerSecond {
		if a := press(fmt.Sprintf("none%d", i), i); i < newSalesPerSecond {
			e.refused(a, 404, "not_found")
		} else {
			e.refused(a, 503, "unavailable") // it may have been opened since the last fetch
		}
	}
	if e.counter.reserves != 2+newSalesPerSecond {
		t.Errorf("%d unknown sales were put to the counter", e.counter.reserves-2)
	}
	e.refused(e.send("POST", "/api/sales/b%20d/orders", "", "Authorization", "Bearer "+e.token("b")), 404, "not_found")
}

func TestSoldOutByTheCounterMarksTheSale(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.PollInterval, c.StateMaxAge = 10*time.Second, time.Minute })
	e.counter.change(func() { e.counter.sales["1"].Available = 1 })
	e.accepted(e.buy("a1"))
	e.refused(e.buy("a2"), 409, "sold_out")
	e.refused(e.buy("a3"), 409, "sold_out")
	if e.counter.reserves != 2 {
		t.Errorf("%d reserves: the verdict was not kept", e.counter.reserves)
	}
	e.refused(e.buy("a1"), 409, "already_ordered") // who reserved passes the mark
	e.counter.change(func() { e.counter.sales["1"].Available = 1 })
	e.clock.advance(300 * time.Millisecond)
	e.accepted(e.buy("a3x")) // the mark has cleared itself
}

// Two presses at the same instant: one takes the last unit, and the other, which finds the sale marked
// as sold out meanwhile, is not told so.
func TestThePressBesideTheLastUnitIsNotToldSoldOut(t *testing.T) {
	e := newEdge(t, nil)
	e.counter.change(func() { e.counter.sales["1"].Available = 1 })
	taking, taken := make(chan struct{}), make(chan struct{})
	e.shop.handle(func(w http.ResponseWriter, r *http.Request) {
		close(taking)
		<-taken
		take(w, r)
	})
	first := make(chan answer, 1)
	go func() { first <- e.buy("a1") }()
	<-taking
	e.fresh()
	e.refused(e.buy("a2"), 409, "sold_out")
	e.refused(e.buy("a1"), 429, "too_soon")
	close(taken)
	a := <-first
	e.accepted(a)
	again := e.buy("a1")
	e.refused(again, 409, "already_ordered")
	if again.body.OrderID != a.body.OrderID {
		t.Errorf("order %q, want %q", again.body.OrderID, a.body.OrderID)
	}
}

// After a restart the node has forgotten who ordered: whoever presses without key or ticket is put to
// the counter once before a local mark may refuse.
func TestASaleOlderThanTheNodeIsAskedOfTheCounterOnce(t *testing.T) {
	e := newEdge(t, nil)
	earlier, err := e.counter.Reserve(t.Context(), "1", "a1", 1, "") // through the node that died
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.counter.Confirm(t.Context(), earlier.Order); err != nil {
		t.Fatal(err)
	}
	e.counter.change(func() {
		e.counter.sales["1"].OpensAt -= 1000
		e.counter.sales["1"].Available = 0
		e.counter.reserves = 0
	})
	e.fresh()
	a := e.buy("a1")
	e.refused(a, 409, "already_ordered")
	if a.body.OrderID != earlier.Order.String() {
		t.Errorf("order %q, want %s", a.body.OrderID, earlier.Order)
	}
	for range 3 {
		e.refused(e.buy("a2"), 409, "sold_out")
		e.clock.advance(time.Second)
		e.fresh()
	}
	if e.counter.reserves != 2 {
		t.Errorf("the counter was asked %d times, want once for each user", e.counter.reserves)
	}
}

func TestUnknownOutcomeThenRetryWithTicketAfterSellOut(t *testing.T) {
	e := newEdge(t, nil)
	e.counter.change(func() { e.counter.sales["1"].Available = 1 })
	e.shop.handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusConflict) })
	a := e.buy("a1")
	e.refused(a, 503, "unknown_outcome")
	if a.body.Ticket == "" || a.body.OrderID == "" {
		t.Fatalf("no ticket or order: %s", a.text)
	}
	e.fresh()
	e.refused(e.buy("a2"), 409, "sold_out")
	e.shop.handle(take)
	again := e.buy("a1", auth.HeaderTicket, a.body.Ticket)
	e.accepted(again)
	if again.body.OrderID != a.body.OrderID {
		t.Errorf("another order: %s", again.text)
	}
	e.clock.advance(time.Second)
	e.accepted(e.buy("a1", auth.HeaderTicket, a.body.Ticket)) // its own ticket: 202 again
	if e.counter.confirmed() != 1 {
		t.Errorf("%d orders", e.counter.confirmed())
	}
}

func TestTicketsAreVerified(t *testing.T) {
	e := newEdge(t, nil)
	e.counter.open("2", 10, 1)
	e.fresh()
	keys, _ := auth.NewKeyring(e.cfg.TicketKeys)
	sign := func(user, saleID, key string) string {
		text, err := keys.SignTicket(auth.Ticket{Order: 4242, Sale: saleID, User: user, Quantity: 1, Slot: 1, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	good := sign("a1", "1", "")
	foreign, _ := auth.NewKeyring([]auth.SymmetricKey{{ID: "k1", Secret: "another-secret-012345"}})
	forged, _ := foreign.SignTicket(auth.Ticket{Order: 4242, Sale: "1", User: "a1", Quantity: 1, Slot: 1})
	for name, headers := range map[string][]string{
		"another user's":     {auth.HeaderTicket, sign("a2", "1", "")},
		"another sale's":     {auth.HeaderTicket, sign("a1", "2", "")},
		"forged":             {auth.HeaderTicket, forged},
		"cut":                {auth.HeaderTicket, good[:len(good)-1]},
		"nonsense":           {auth.HeaderTicket, "ticket"},
		"with another key":   {auth.HeaderTicket, sign("a1", "1", "k"), "Idempotency-Key", "other"},
		"a key with a space": {"Idempotency-Key", "a b"},
		"a long key":         {"Idempotency-Key", strings.Repeat("k", 65)},
	} {
		a := e.buy("a1", headers...)
		e.refused(a, 400, "invalid_request")
		if len(a.body.Errors) != 1 {
			t.Errorf("%s: the field is not named: %s", name, a.text)
		}
	}
	if e.counter.reserves != 0 {
		t.Error("a bad ticket reached the counter")
	}
	e.accepted(e.buy("a1", auth.HeaderTicket, good)) // long forgotten: a new order
}

func TestUpstreamRefusalIsPassedOnAndHoldsNewOrdersOff(t *testing.T) {
	e := newEdge(t, nil)
	e.shop.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(auth.HeaderOutcome, auth.OutcomeRefused)
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Headgate-Code", "overloaded")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"code":"overloaded"}`))
	})
	e.refused(e.buy("a1"), 503, "overloaded")
	if n := e.counter.sales["1"].Available; n != 1000 {
		t.Errorf("%d units available: the hold was not aborted", n)
	}
	e.refused(e.buy("a2"), 503, "overloaded")
	if e.shop.seen() != 1 {
		t.Error("a full upstream was asked again")
	}
	e.shop.handle(take)
	e.clock.advance(time.Second)
	e.accepted(e.buy("a3"))
}

func TestRefusalWithASuccessStatusIsNoSuccess(t *testing.T) {
	e := newEdge(t, nil)
	e.shop.handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(auth.HeaderOutcome, auth.OutcomeRefused) })
	e.refused(e.buy("a1"), 503, "unavailable")
	if e.counter.confirmed() != 0 {
		t.Error("confirmed")
	}
}

func TestUpstreamAwayAbortsFreshHolds(t *testing.T) {
	e := newEdge(t, nil)
	e.shop.Close()
	e.refused(e.buy("a1"), 503, "unavailable")
	e.counter.change(func() {
		if s := e.counter.sales["1"]; s.Available != 1000 || s.Held != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCounterTroubleIsNeverSoldOut(t *testing.T) {
	e := newEdge(t, nil)
	for err, want := range map[error]string{
		client.ErrBusy: "overloaded", client.ErrUnavailable: "unavailable", client.ErrUnknown: "unavailable",
		client.ErrForbidden: "internal", errors.New("strange"): "unavailable",
	} {
		e.counter.change(func() { e.counter.failOnce["RESERVE"] = err })
		status := 503
		if want == "internal" {
			status = 500
		}
		e.refused(e.buy("a1"), status, want)
		e.clock.advance(time.Second)
		e.fresh()
	}
	e.counter.change(func() { e.counter.away = client.ErrUnavailable })
	e.clock.advance(e.cfg.StateMaxAge + time.Second)
	reserves := e.counter.reserves
	e.refused(e.buy("a9"), 503, "unavailable")
	if e.counter.reserves != reserves {
		t.Error("the counter was asked though its state is unknown")
	}
	report := e.rt.Health.Check(t.Context())
	if !report.Ready() || !report.Degraded() {
		t.Errorf("ready %v, degraded %v: want a degraded, ready node", report.Ready(), report.Degraded())
	}
	e.counter.change(func() { e.counter.away = nil })
	e.fresh()
	e.accepted(e.buy("a9"))
}

// Buyers whose shard does not decide are told how long to wait; others buy on.
func TestAnAwayShardTellsHowLongToWait(t *testing.T) {
	e := newEdge(t, nil)
	e.counter.change(func() {
		e.counter.failOnce["RESERVE"] = &client.AwayError{Sale: "1", Shard: "s2", RetryAfter: 3500 * time.Millisecond}
	})
	r := e.buy("a1")
	e.refused(r, 503, "unavailable")
	if wait, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || wait < 4 || wait > 8 {
		t.Errorf("Retry-After %q, want 4 s and up to as much again", r.header.Get("Retry-After"))
	}
	e.accepted(e.buy("a2"))
}

// A buyer who hangs up in the middle must not leave the purchase cut in half.
func TestHangingUpDoesNotCutThePurchase(t *testing.T) {
	e := newEdge(t, nil)
	reached, goOn := make(chan struct{}), make(chan struct{})
	e.shop.handle(func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-goOn
		take(w, r)
	})
	var impatient http.Client
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+e.server.Addr()+"/api/sales/1/orders", nil)
	req.Header.Set("Authorization", "Bearer "+e.token("a1"))
	done := make(chan error, 1)
	go func() {
		resp, err := impatient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	<-reached
	cancel()
	if err := <-done; err == nil {
		t.Fatal("the request was not cut")
	}
	close(goOn)
	servicetest.Eventually(t, 30*time.Second, "the order is confirmed", func() bool { return e.counter.confirmed() == 1 })
	impatient.CloseIdleConnections()
}
