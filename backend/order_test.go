package backend_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/backend"
	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

func TestIdentityNeedsTheHop(t *testing.T) {
	s := newShop(t)
	s.call(alice, "GET", "/api/orders", nil).want(200, "")
	s.call(nobody, "GET", "/api/orders", nil).want(401, "unauthenticated")
	s.call(nobody, "GET", "/api/orders", nil, auth.HeaderUser, "a1").want(401, "unauthenticated")
	s.call(nobody, "GET", "/api/admin/sales", nil).want(401, "unauthenticated")
	s.call(alice, "GET", "/api/admin/sales", nil).want(403, "forbidden")
	s.call(root, "GET", "/api/admin/sales", nil).want(200, "")

	good := auth.Hop{Method: "GET", Path: "/api/orders?limit=3", User: "a1"}
	other, err := auth.NewKeyring([]auth.SymmetricKey{{ID: "h1", Secret: "not-the-secret-0123456789"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signature, path, user, roles string
		status                       int
	}{
		"good":           {s.hops.SignHop(good, time.Now()), "/api/orders?limit=3", "a1", "", 200},
		"other path":     {s.hops.SignHop(good, time.Now()), "/api/orders?limit=4", "a1", "", 503},
		"other user":     {s.hops.SignHop(good, time.Now()), "/api/orders?limit=3", "a2", "", 503},
		"added role":     {s.hops.SignHop(good, time.Now()), "/api/orders?limit=3", "a1", "admin", 503},
		"other key":      {other.SignHop(good, time.Now()), "/api/orders?limit=3", "a1", "", 503},
		"too old":        {s.hops.SignHop(good, time.Now().Add(-time.Hour)), "/api/orders?limit=3", "a1", "", 503},
		"garbage":        {"v1.h1.1.x.y", "/api/orders?limit=3", "a1", "", 503},
		"without a user": {s.hops.SignHop(auth.Hop{Method: "GET", Path: "/api/orders?limit=3"}, time.Now()), "/api/orders?limit=3", "", "", 401},
	} {
		a := s.call(nobody, "GET", c.path, nil, auth.HeaderHop, c.signature, auth.HeaderUser, c.user, auth.HeaderRoles, c.roles)
		if a.status != c.status {
			t.Errorf("%s: %d, want %d: %s", name, a.status, c.status, a.text)
		}
	}
	body := `{"total":5}`
	signed := auth.Hop{Method: "PUT", Path: "/api/admin/sales/1/stock", Body: []byte(body), User: "a9", Roles: "admin"}
	s.call(nobody, "PUT", "/api/admin/sales/1/stock", `{"total":50}`, auth.HeaderUser, "a9", auth.HeaderRoles, "admin",
		auth.HeaderHop, s.hops.SignHop(signed, time.Now())).want(503, "unavailable")
}

// A signature that cannot be verified is the deployment's fault: the buyer is not sent to sign in
// again, and the operator is told what to put right, once a minute.
func TestBadHopsAreTheDeploymentsFault(t *testing.T) {
	var log lines
	s := newLoggedShop(t, slog.New(slog.NewTextHandler(&log, nil)))
	hop := auth.Hop{Method: "GET", Path: "/api/orders", User: "a1"}
	for range 5 {
		s.call(nobody, "GET", "/api/orders", nil, auth.HeaderUser, "a1",
			auth.HeaderHop, s.hops.SignHop(hop, time.Now().Add(-time.Hour))).want(503, "unavailable")
	}
	s.call(nobody, "GET", "/api/sales", nil, auth.HeaderHop, "nonsense").want(200, "") // needs no identity
	if got := log.text(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, auth.ErrHopTime.Error()) || !strings.Contains(got, "set the clocks") {
		t.Errorf("the log says %q", got)
	}
}

// lines is a log that tests read while it is written.
type lines struct {
	mu      sync.Mutex
	written []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = append(l.written, b...)
	return len(b), nil
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.written)
}

func TestTakeOrder(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	ticket, text := s.hold("1", "a1")
	take := func(as who, text string) *answer {
		return s.call(as, "POST", "/api/sales/1/orders", map[string]int{"quantity": 1}, auth.HeaderTicket, text)
	}
	a := take(alice, text).want(200, "")
	if a.OrderID != ticket.Order.String() || a.Status != "queued" {
		t.Fatalf("taken as %s", a.text)
	}
	if n := s.depth(); n != 1 {
		t.Fatalf("%d messages in the queue, want 1", n)
	}
	take(nobody, text).want(200, "") // the ticket is the proof; taking twice is harmless

	s.queue.script(queue.Outcome{Fate: queue.Refused, Err: queue.ErrFull})
	if a := take(alice, text).want(503, "overloaded"); a.header.Get(auth.HeaderOutcome) != "refused" {
		t.Fatal("a refused publish is not told as refused")
	}
	s.queue.script(queue.Outcome{Fate: queue.Refused, Err: queue.ErrDisconnected})
	if a := take(alice, text).want(503, "unavailable"); a.header.Get(auth.HeaderOutcome) != "refused" {
		t.Fatal("a refused publish is not told as refused")
	}
	s.queue.script(queue.Outcome{Fate: queue.Unknown, Err: queue.ErrTimeout})
	a = take(alice, text).want(503, "unknown_outcome")
	if a.header.Get(auth.HeaderOutcome) != "" || a.OrderID != ticket.Order.String() {
		t.Fatalf("an unknown outcome promises something: %v %s", a.header, a.text)
	}
}

func TestTicketCases(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	_, text := s.hold("1", "a1")
	otherKeys, err := auth.NewKeyring([]auth.SymmetricKey{{ID: "k1", Secret: "another-secret-0123456789"}})
	if err != nil {
		t.Fatal(err)
	}
	forged, err := otherKeys.SignTicket(auth.Ticket{Order: 1 << 30, Sale: "1", User: "a1", Quantity: 1, Slot: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		as           who
		path, ticket string
	}{
		"none":         {alice, "/api/sales/1/orders", ""},
		"garbage":      {alice, "/api/sales/1/orders", "v1.k1.xx.yy"},
		"forged":       {alice, "/api/sales/1/orders", forged},
		"cut":          {alice, "/api/sales/1/orders", text[:len(text)-1]},
		"long":         {alice, "/api/sales/1/orders", strings.Repeat("x", 5000)},
		"other sale":   {alice, "/api/sales/2/orders", text},
		"other buyer":  {bob, "/api/sales/1/orders", text},
		"token as one": {alice, "/api/sales/1/orders", "eyJhbGciOiJub25lIn0.e30."},
	} {
		headers := []string{auth.HeaderTicket, c.ticket}
		a := s.call(c.as, "POST", c.path, nil, headers...)
		if a.status != 400 || a.Code != "invalid_request" || a.header.Get(auth.HeaderOutcome) != "refused" {
			t.Errorf("%s: %d %s outcome %q", name, a.status, a.text, a.header.Get(auth.HeaderOutcome))
		}
	}
	if n := s.depth(); n != 0 {
		t.Fatalf("%d messages were published", n)
	}
}

func TestManyOrdersAtOnce(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 1000)
	texts := make([]string, 300)
	for i := range texts {
		_, texts[i] = s.hold("1", "u"+string(rune('a'+i%26))+string(rune('a'+i/26)))
	}
	var all sync.WaitGroup
	for _, text := range texts {
		all.Go(func() {
			s.call(nobody, "POST", "/api/sales/1/orders", nil, auth.HeaderTicket, text).want(200, "")
		})
	}
	all.Wait()
	if n := s.depth(); n != len(texts) {
		t.Fatalf("%d messages in the queue, want %d", n, len(texts))
	}
}

func TestOrderStates(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	ticket, _ := s.hold("1", "a1")
	path := "/api/orders/" + ticket.Order.String()
	state := func(want sale.OrderState) *answer {
		t.Helper()
		a := s.call(alice, "GET", path, nil).want(200, "")
		if a.Status != string(want) {
			t.Fatalf("state %v, want %s", a.Status, want)
		}
		return a
	}
	state(sale.Pending)
	s.call(bob, "GET", path, nil).want(404, "not_found")
	s.call(alice, "POST", path+"/cancel", nil).want(409, "not_cancellable")
	if _, err := s.counter.Confirm(t.Context(), ticket.Order); err != nil {
		t.Fatal(err)
	}
	state(sale.Queued)
	s.call(alice, "POST", path+"/cancel", nil).want(409, "not_cancellable")
	s.consume(ticket)
	state(sale.Unpaid)
	s.call(bob, "GET", path, nil).want(404, "not_found")
	s.call(bob, "POST", path+"/cancel", nil).want(404, "not_found")
	s.call(alice, "POST", path+"/cancel", nil).want(200, "")
	state(sale.Cancelled)
	s.call(alice, "POST", path+"/cancel", nil).want(409, "not_cancellable")

	expired, _ := s.hold("1", "a2")
	s.counter.Advance(time.Minute)
	if _, err := s.counter.Confirm(t.Context(), expired.Order); err != nil {
		t.Fatal(err)
	}
	a := s.call(bob, "GET", "/api/orders/"+expired.Order.String(), nil).want(200, "")
	if a.Status != "expired" {
		t.Fatalf("state %v, want expired", a.Status)
	}
	for _, id := range []string{"1", "9223372036854775807"} {
		s.call(alice, "GET", "/api/orders/"+id, nil).want(404, "not_found")
	}
	for _, id := range []string{"0", "abc", "-1", "99999999999999999999"} {
		wantField(t, s.call(alice, "GET", "/api/orders/"+id, nil), "order")
	}
	s.counter.Fail(client.ErrUnavailable)
	s.call(alice, "GET", "/api/orders/12345", nil).want(503, "unavailable")
	s.call(alice, "GET", path, nil).want(200, "") // the ledger knows it
}

func TestLongPoll(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	ticket, _ := s.hold("1", "a1")
	path := "/api/orders/" + ticket.Order.String()
	for _, wait := range []string{"31s", "-1s", "10", "x", "1h"} {
		wantField(t, s.call(alice, "GET", path+"?wait="+wait, nil), "wait")
	}
	started := time.Now()
	a := s.call(alice, "GET", path+"?wait=300ms", nil).want(200, "")
	if a.Status != "pending" || time.Since(started) < 300*time.Millisecond {
		t.Fatalf("state %v after %s: want the present one at the end of the wait", a.Status, time.Since(started))
	}
	answers := make(chan *answer, 3)
	for range cap(answers) {
		go func() { answers <- s.call(alice, "GET", path+"?wait=30s", nil) }()
	}
	s.waiting(3)
	s.consume(ticket)
	for range cap(answers) {
		if a := <-answers; a.status != 200 || a.Status != "unpaid" {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	s.waiting(0)
	if took := time.Since(started); took > 10*time.Second {
		t.Fatalf("the change was told after %s", took)
	}
	s.call(alice, "GET", path+"?wait=30s", nil).want(200, "") // nothing to wait for
}

// A hold that runs out ends the wait, though no row ever comes.
func TestLongPollEndsWithTheHold(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	ticket, _ := s.hold("1", "a1")
	answers := make(chan *answer, 1)
	go func() { answers <- s.call(alice, "GET", "/api/orders/"+ticket.Order.String()+"?wait=30s", nil) }()
	s.waiting(1)
	s.counter.Advance(time.Minute)
	if _, err := s.counter.Confirm(t.Context(), ticket.Order); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.Status != "expired" {
		t.Fatalf("state %v", a.Status)
	}
}

func TestLongPollsAreBounded(t *testing.T) {
	s := newShop(t, func(c *backend.Config) { c.Limits.Waiters = 1 })
	s.openSale("1", 10)
	ticket, _ := s.hold("1", "a1")
	path := "/api/orders/" + ticket.Order.String() + "?wait=30s"
	answers := make(chan *answer, 1)
	go func() { answers <- s.call(alice, "GET", path, nil) }()
	s.waiting(1)
	started := time.Now()
	s.call(alice, "GET", path, nil).want(200, "")
	if took := time.Since(started); took > 10*time.Second {
		t.Fatalf("one too many waited %s", took)
	}
	s.stop() // a stop ends the other
	if a := <-answers; a.status != 200 || a.Status != "pending" {
		t.Fatalf("at the stop: %d %s", a.status, a.text)
	}
}

// waiting waits until so many long polls wait.
func (s *shop) waiting(n int) {
	s.t.Helper()
	want := "headgate_backend_waiting_polls " + string(rune('0'+n)) + "\n"
	servicetest.Eventually(s.t, 30*time.Second, "long polls", func() bool {
		var text strings.Builder
		s.runtime.Metrics.WritePrometheus(&text)
		return strings.Contains(text.String(), want)
	})
}

func TestOwnOrdersByPage(t *testing.T) {
	s := newShop(t)
	var ids []string
	for i := range 7 {
		id := "s" + string(rune('0'+i))
		s.openSale(id, 10)
		ticket, _ := s.hold(id, "a1")
		s.consume(ticket)
		ids = append([]string{ticket.Order.String()}, ids...)
		other, _ := s.hold(id, "a2")
		s.consume(other)
	}
	var got []string
	after := ""
	for {
		var page struct {
			Orders []struct {
				OrderID string `json:"order_id"`
			}
			Next string
		}
		s.call(alice, "GET", "/api/orders?limit=3"+after, nil).want(200, "").into(&page)
		for _, o := range page.Orders {
			got = append(got, o.OrderID)
		}
		if page.Next == "" {
			break
		}
		after = "&after=" + page.Next
	}
	if strings.Join(got, " ") != strings.Join(ids, " ") {
		t.Fatalf("got %v, want %v", got, ids)
	}
	for _, query := range []string{"limit=0", "limit=101", "limit=x", "after=abc"} {
		s.call(alice, "GET", "/api/orders?"+query, nil).want(400, "invalid_request")
	}
}
