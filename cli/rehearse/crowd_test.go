package rehearse

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/lib/problem"
)

func TestMain(m *testing.M) {
	// fasthttp's cleaner of idle connections sleeps its time after the last of them is closed, and ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

func refuse(w http.ResponseWriter, code problem.Code) {
	w.Header().Set(problem.HeaderCode, string(code))
	if code.Waits() {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code.Status())
	fmt.Fprintf(w, `{"code":%q,"status":%d}`, code, code.Status())
}

// press lets so many buyers press at a shop, all as planned, and gives the crowd.
func pressAt(t *testing.T, shop http.Handler, connections int, buyers []Buyer) *crowd {
	t.Helper()
	server := httptest.NewServer(shop)
	defer server.Close()
	client, err := newHTTPClient(server.URL, connections, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer client.close()
	c := newCrowd(client, connections, time.Now(), 1, &Progress{})
	c.sales = []string{"s", "probes"}
	tokens := make([]string, len(buyers))
	for i := range tokens {
		tokens[i] = fmt.Sprintf("t%d", i)
	}
	c.come(c.add(buyers, tokens), func(i int) time.Duration { return buyers[i].At }, len(buyers))
	if err := c.run(t.Context(), 10*time.Second, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	return c
}

// A shop that stands still for a while is not spared: presses are meant to be sent all the same, and each
// counts from then.
func TestLatencyIsFreeOfCoordinatedOmission(t *testing.T) {
	var first atomic.Bool
	stall := make(chan struct{})
	timer := time.AfterFunc(400*time.Millisecond, func() { close(stall) })
	defer timer.Stop()
	shop := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if first.CompareAndSwap(false, true) {
			<-stall
		}
		refuse(w, problem.SoldOut)
	})
	buyers := make([]Buyer, 100)
	for i := range buyers {
		buyers[i] = Buyer{At: time.Duration(i) * 4 * time.Millisecond, Presses: 1}
	}
	c := pressAt(t, shop, 1, buyers)
	f := figuresOf(c.log, c.follows, 0, time.Second)
	// With one connection, everybody waits for the first: those who came in the middle for half of its time.
	if f.Decisions != 100 || f.No.P50 < 150*time.Millisecond || f.Waited < 80 {
		t.Errorf("%+v", f)
	}
	if f.Marked {
		t.Error("the wait for the shop's only connection is told as the generator's lateness")
	}
}

// A whole purchase through the crowd: bought, paid, cancelled, abandoned, twice at once, hammered.
func TestCrowdBuysAndPays(t *testing.T) {
	shop := newShop()
	c := pressAt(t, shop, 20, []Buyer{
		{Presses: 5, After: Pays}, {Presses: 5, After: Cancels}, {Presses: 5, After: Abandons}, {Presses: 5, Kind: Double, After: Pays},
		{Presses: 10, Kind: Bot, Every: 10 * time.Millisecond, After: Pays}, {Presses: 1, Kind: Probe},
	})
	if got := shop.states(); got != "t0 paid, t1 cancelled, t2 unpaid, t3 paid, t4 paid, t5 unpaid" {
		t.Error(got)
	}
	presses := map[int32]int{}
	for _, p := range c.log {
		presses[p.Buyer]++
	}
	if presses[0] != 2 || presses[3] != 2 || presses[4] != 10 || presses[5] != 1 {
		t.Errorf("presses %v", presses)
	}
	if len(c.pages) != 3 || len(c.asked) != 1 || len(c.looks) == 0 {
		t.Errorf("pages %v, cancellations %v, looks %v", c.pages, c.asked, c.looks)
	}
}

// shop sells to everybody, once, and is overloaded at each buyer's first press, but a probe's.
type shop struct {
	mu     sync.Mutex
	seen   map[string]bool
	orders map[string]string // of a token: the state
	ids    []string
}

func newShop() *shop { return &shop{seen: map[string]bool{}, orders: map[string]string{}} }

func (s *shop) states() string {
	var list []string
	for i := range s.orders {
		list = append(list, i)
	}
	out := make([]string, len(list))
	for i := range list {
		token := fmt.Sprintf("t%d", i)
		out[i] = token + " " + s.orders[token]
	}
	return strings.Join(out, ", ")
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	write := func(status int, body string) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
	id := fmt.Sprint(1000 + int(token[len(token)-1]-'0'))
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/api/sales/s/") && !s.seen[token]:
		s.seen[token] = true
		refuse(w, problem.Overloaded)
	case strings.HasPrefix(path, "/api/sales/") && s.orders[token] == "":
		s.orders[token] = "unpaid"
		write(202, `{"order_id":"`+id+`","status":"queued"}`)
	case strings.HasPrefix(path, "/api/sales/"):
		w.Header().Set(problem.HeaderCode, "already_ordered")
		write(409, `{"code":"already_ordered","order_id":"`+id+`","status":409}`)
	case strings.HasSuffix(path, "/pay") && path != "/sandbox/pay":
		write(200, `{"order_id":"`+id+`","status":"unpaid","payment":{"page":"/sandbox/pay?reference=`+token+`"}}`)
	case path == "/sandbox/pay":
		s.orders[r.URL.Query().Get("reference")] = "paid"
		write(200, `{"order_id":"`+id+`","state":"paid"}`)
	case strings.HasSuffix(path, "/cancel"):
		s.orders[token] = "cancelled"
		write(200, `{"order_id":"`+id+`","status":"cancelled"}`)
	default:
		write(200, `{"order_id":"`+id+`","status":"`+s.orders[token]+`"}`)
	}
}

// Who interrupts a crowd waits for what is under way, and no longer.
func TestAnInterruptedCrowdEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stop()
		refuse(w, problem.Unavailable)
	}))
	defer server.Close()
	client, err := newHTTPClient(server.URL, 2, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer client.close()
	c := newCrowd(client, 2, time.Now(), 1, &Progress{})
	c.sales = []string{"s", "p"}
	c.come(c.add([]Buyer{{Presses: 30}, {Presses: 30}}, []string{"a", "b"}), func(i int) time.Duration { return time.Duration(i) * time.Hour }, 2)
	if err := c.run(ctx, 2*time.Hour, 2*time.Hour); err == nil || len(c.log) != 1 {
		t.Errorf("%v, %d presses", err, len(c.log))
	}
}

func TestBrokenAnswersAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		what   string
	}{
		"202 without an order": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202); fmt.Fprint(w, `{}`) }, "broken: 202 without order id and status queued"},
		"200 to a press":       {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"order_id":"7","status":"queued"}`) }, "broken: 200 without"},
		"another header":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(409); fmt.Fprint(w, `{"code":"sold_out"}`) }, `broken: code "sold_out"`},
		"a balancer's page":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502); fmt.Fprint(w, `<html>`) }, "502 of somebody in between"},
		"nothing":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "no answer (connection lost)"},
		"503 without RetryAfter": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(problem.HeaderCode, "overloaded")
			w.WriteHeader(503)
			fmt.Fprint(w, `{"code":"overloaded"}`)
		}, "broken: 503 without Retry-After"},
		"as it should be": {func(w http.ResponseWriter, _ *http.Request) { refuse(w, problem.SoldOut) }, "409 sold_out"},
	} {
		log := pressAt(t, c.answer, 2, []Buyer{{Presses: 1}}).log
		if len(log) != 1 || !strings.HasPrefix(log[0].what(), c.what) {
			t.Errorf("%s: %+v", name, log)
		}
	}
}

func TestEdgeAddress(t *testing.T) {
	for _, edge := range []string{"", "127.0.0.1:8080", "ftp://h", "http://h/path"} {
		if _, err := newHTTPClient(edge, 2, time.Second); err == nil {
			t.Errorf("%q: no error", edge)
		}
	}
	for edge, want := range map[string]string{"http://h:8": "h:8", "http://h/": "h:80", "https://h": "h:443", "http://[::1]:8": "[::1]:8"} {
		c, err := newHTTPClient(edge, 2, time.Second)
		if err != nil || c.http.Addr != want {
			t.Errorf("%q: %v", edge, err)
		}
	}
}
