package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"headgate.example/lib/service/servicetest"
)

// shop is an address that counts what it is sent.
type shop struct {
	*httptest.Server
	address string
	seen    atomic.Int64
	answer  atomic.Pointer[http.HandlerFunc]
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{}
	s.say(func(http.ResponseWriter, *http.Request) {})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen.Add(1)
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	s.address = strings.TrimPrefix(s.URL, "http://")
	return s
}

func (s *shop) say(h http.HandlerFunc) { s.answer.Store(&h) }

// send sends one request and gives its status.
func send(t *testing.T, u *Upstream, lane Lane) (int, error) {
	t.Helper()
	var req fasthttp.Request
	var resp fasthttp.Response
	req.Header.SetMethod("POST")
	req.SetRequestURI("/buy")
	req.SetBodyString("x=1")
	var err error
	if lane == Orders {
		err = u.DoOrder(&Admission{}, &req, &resp, 5*time.Second)
	} else {
		err = u.Do(lane, &req, &resp, 5*time.Second)
	}
	return resp.StatusCode(), err
}

func TestNotSentIsToldFromUnknown(t *testing.T) {
	u := New(DefaultConfig("x", servicetest.FreePort(t)), Options{})
	defer u.Close()
	if _, err := send(t, u, Orders); !errors.Is(err, ErrNotSent) {
		t.Errorf("nobody listens: %v", err)
	}
	s := newShop(t)
	s.say(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	u = New(DefaultConfig("x", s.address), Options{})
	defer u.Close()
	if _, err := send(t, u, Orders); err == nil || errors.Is(err, ErrNotSent) {
		t.Errorf("somebody has read it: %v", err)
	}
}

func TestWhatNeverLeftGoesToAnotherAddress(t *testing.T) {
	s, set := newShop(t), metrics.NewSet()
	away := servicetest.FreePort(t)
	u := New(DefaultConfig("x", away, s.address), Options{Metrics: set})
	defer u.Close()
	for i := range 20 {
		if status, err := send(t, u, Orders); err != nil || status != 200 {
			t.Fatalf("order %d: %d, %v", i, status, err)
		}
	}
	if n := s.seen.Load(); n != 20 {
		t.Errorf("%d orders arrived, want 20", n)
	}
	var text strings.Builder
	set.WritePrometheus(&text)
	for _, want := range []string{
		`headgate_interceptor_upstream_attempts_total{upstream="x",address="` + away + `",lane="orders",outcome="not_connected"} 3`,
		`headgate_interceptor_upstream_attempts_total{upstream="x",address="` + s.address + `",lane="orders",outcome="ok"} 20`,
		`headgate_interceptor_upstream_ejections_total{upstream="x",address="` + away + `"} 1`,
		`headgate_interceptor_upstream_serves{upstream="x",address="` + away + `"} 0`,
		`headgate_interceptor_upstream_serves{upstream="x",address="` + s.address + `"} 1`,
		`headgate_interceptor_upstream_seconds_count{upstream="x",lane="orders"} 20`,
	} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, text.String())
		}
	}
}

func TestWhatWasSentIsNotSentAgain(t *testing.T) {
	a, b := newShop(t), newShop(t)
	for _, s := range []*shop{a, b} {
		s.say(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	}
	u := New(DefaultConfig("x", a.address, b.address), Options{})
	defer u.Close()
	for _, lane := range []Lane{Orders, Calls} {
		before := a.seen.Load() + b.seen.Load()
		if _, err := send(t, u, lane); err == nil {
			t.Error("no error")
		}
		if n := a.seen.Load() + b.seen.Load() - before; n != 1 {
			t.Errorf("lane %d: sent %d times", lane, n)
		}
	}
}

// A shop that is restarted closes the connections that idle. The next order must not be lost in one of
// them: nobody could say what became of it.
func TestAnIdleConnectionThatWasClosedLosesNoOrder(t *testing.T) {
	s, set := newShop(t), metrics.NewSet()
	u := New(DefaultConfig("x", s.address), Options{Metrics: set})
	defer u.Close()
	for i := range 50 {
		if status, err := send(t, u, Orders); err != nil || status != 200 {
			t.Fatalf("order %d: %d, %v", i, status, err)
		}
		s.CloseClientConnections() // returns when they are closed
	}
	if n := s.seen.Load(); n != 50 {
		t.Errorf("%d orders arrived, want 50", n)
	}
	if n := u.backends[0].figures.attempts[Orders][outcomeOK].Get(); n != 50 {
		t.Errorf("%d went well, want 50", n)
	}
}

func TestJudgement(t *testing.T) {
	for _, c := range []struct {
		lane               Lane
		status             int
		outcome, code, sec string
		want               outcome
		wait               time.Duration
	}{
		{Orders, 200, "", "", "", outcomeOK, 0},
		{Orders, 409, "", "", "", outcomeOK, 0}, // a buyer's doing
		{Orders, 404, "", "", "", outcomeOK, 0},
		{Orders, 500, "", "", "", outcomeFailed, 0},
		{Orders, 503, "", "unknown_outcome", "", outcomeFailed, 0},
		{Orders, 503, "", "overloaded", "", outcomeFailed, 0}, // whether it was taken is not said
		{Orders, 409, "refused", "sold_out", "", outcomeOK, 0},
		{Orders, 503, "refused", "overloaded", "4", outcomeFull, 4 * time.Second},
		{Orders, 503, "refused", "", "x", outcomeFull, 0},
		{Orders, 503, "refused", "unavailable", "2", outcomeRefuses, 2 * time.Second},
		{Orders, 500, "refused", "", "", outcomeOK, 0},
		{Calls, 200, "", "", "", outcomeOK, 0},
		{Calls, 404, "", "", "", outcomeOK, 0},
		{Calls, 500, "", "internal", "", outcomeFailed, 0},
		{Calls, 501, "", "", "", outcomeOK, 0},
		{Calls, 502, "", "", "", outcomeFailed, 0},
		{Calls, 503, "", "", "", outcomeFailed, 0},
		{Calls, 503, "", "unavailable", "", outcomeOK, 0}, // it knows what it does
		{LongPolls, 504, "", "", "", outcomeFailed, 0},
	} {
		var resp fasthttp.Response
		resp.SetStatusCode(c.status)
		for name, value := range map[string]string{"Headgate-Outcome": c.outcome, "Headgate-Code": c.code, "Retry-After": c.sec} {
			if value != "" {
				resp.Header.Set(name, value)
			}
		}
		if got, wait := judge(c.lane, &resp); got != c.want || wait != c.wait {
			t.Errorf("%+v: %s for %s", c, outcomeNames[got], wait)
		}
	}
}

func TestHealthIsAskedFor(t *testing.T) {
	ill, well := newShop(t), newShop(t)
	asked := make(chan string, 100)
	ill.say(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.Method + " " + r.Host + r.URL.Path:
		default:
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	c := DefaultConfig("x", ill.address, well.address)
	c.Health = Health{Path: "/health", Interval: 10 * time.Millisecond}
	c.Host = "shop.example"
	set := NewSet(Options{})
	set.Apply([]Config{c})
	u := set.Reserve(c)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); set.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended; set.Close() })

	servicetest.Eventually(t, 30*time.Second, "the ill one is taken out", func() bool { return set.Check(ctx) != nil })
	if got := <-asked; got != "GET shop.example/health" {
		t.Errorf("asked %s", got)
	}
	if err := set.Check(ctx); err == nil || !strings.Contains(err.Error(), "x: 1 of 2 addresses do not serve all they could; "+ill.address) {
		t.Errorf("health says %v", err)
	}
	for range 10 {
		if p := u.mustPlace(t, Calls); p.backend.address != well.address {
			t.Fatal("the ill one is asked")
		}
	}
	ill.say(func(http.ResponseWriter, *http.Request) {})
	servicetest.Eventually(t, 30*time.Second, "it is brought back", func() bool { return set.Check(ctx) == nil })

	// A config that names other addresses: the old ones are not asked any more.
	other := newShop(t)
	c.Addresses = []string{other.address}
	set.Apply([]Config{c})
	servicetest.Eventually(t, 30*time.Second, "the new one is asked", func() bool { return other.seen.Load() > 0 })
	servicetest.Eventually(t, 30*time.Second, "the old one is not asked any more", func() bool {
		before := ill.seen.Load()
		now := other.seen.Load()
		servicetest.Eventually(t, 30*time.Second, "the new one is asked on", func() bool { return other.seen.Load() > now+5 })
		return ill.seen.Load() == before
	})
	set.Apply(nil)
	if status, err := send(t, u, Calls); err != nil || status != 200 {
		t.Errorf("what began by the old config is not served to its end: %d, %v", status, err)
	}
}

func TestConnectingIsAHealthCheck(t *testing.T) {
	h := Health{Timeout: time.Second}
	c := DefaultConfig("x", servicetest.FreePort(t))
	if r := ask(newClient(&c, c.Addresses[0]), &h, ""); r.err == nil {
		t.Error("nobody is well")
	}
	s := newShop(t)
	if r := ask(newClient(&c, s.address), &h, ""); r.err != nil || s.seen.Load() != 0 {
		t.Errorf("%v", r.err)
	}
}

// A shop that is started again is asked again at once, however long the pause and the interval are.
func TestARestartIsNoticedSoon(t *testing.T) {
	address := servicetest.FreePort(t)
	c := DefaultConfig("x", address)
	c.Health.Interval, c.Eject.Pause, c.Eject.MaxPause = time.Minute, time.Minute, time.Minute
	set := NewSet(Options{})
	set.Apply([]Config{c})
	u := set.Reserve(c)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); set.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended; set.Close() })
	servicetest.Eventually(t, 30*time.Second, "it is ejected", func() bool {
		_, _ = send(t, u, Calls)
		_, verdict, _ := u.Admit()
		return verdict == Away
	})
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing is on its way
	servicetest.Eventually(t, 30*time.Second, "it is asked again, long before the minute is over", func() bool {
		a, verdict, _ := u.Admit()
		a.End()
		return verdict == Admitted
	})
}
