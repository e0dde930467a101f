package interceptor

import (
	"errors"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
)

// A node whose clock is behind the counter's remembers no more than another: a sale that opened before it started
// is older than its memory, by whichever clock.
func TestANodeWithASlowClockDoesNotRememberMore(t *testing.T) {
	for name, startsAway := range map[string]bool{"the counter answers at once": false, "the counter is away at first": true} {
		clock := newFakeClock()
		clock.advance(5 * time.Second)
		e := &edge{t: t, cfg: testConfig(), clock: newFakeClock(), counter: newFakeCounter(clock), shop: &shop{handler: take}}
		e.cfg.Upstreams[0].Addresses = []string{"127.0.0.1:1"} // nothing is to reach it
		e.counter.open("1", 1, 1)
		clock.advance(time.Second)
		e.clock.advance(time.Second)
		earlier, err := e.counter.Reserve(t.Context(), "1", "a1", 1, "") // through the node that died
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.counter.Confirm(t.Context(), earlier.Order); err != nil {
			t.Fatal(err)
		}
		if startsAway {
			e.counter.change(func() { e.counter.away = errors.New("a test's fault") })
			time.AfterFunc(50*time.Millisecond, func() { e.counter.change(func() { e.counter.away = nil }) })
		}
		e.open(servicetest.Log(t))
		e.fresh()
		a := e.buy("a1")
		if a.body.Code != "already_ordered" || a.body.OrderID != earlier.Order.String() {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
}
