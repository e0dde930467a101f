package proxy

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever happens, an admission that is given without looking would have been given with it.
func TestCalmIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := &Upstream{name: "shop", options: Options{}.filled()}
		c := DefaultConfig("shop", "10.0.0.1:80", "10.0.0.2:80")
		c.MaxConnections, c.MaxInFlight, c.MaxWait = 2, rapid.IntRange(0, 3).Draw(t, "max_in_flight"), time.Nanosecond
		c.Breaker.Requests, c.Eject.After = 3, 2
		now := time.Unix(1_900_000_000, 0)
		u.options.Now = func() time.Time { return now }
		u.apply(c)
		var under []permit
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				if p, err := u.place(Orders); err == nil {
					under = append(under, p)
				}
			case 2:
				if len(under) > 0 {
					o := outcome(rapid.IntRange(0, int(outcomeCount)-1).Draw(t, "outcome"))
					u.finish(under[0], Orders, o, time.Second)
					under = under[1:]
				}
			case 3:
				r := checkResult{outcome: rapid.SampledFrom([]outcome{outcomeOK, outcomeFull, outcomeRefuses}).Draw(t, "check")}
				if rapid.Bool().Draw(t, "fails") {
					r.err = errors.New("no")
				}
				u.noteCheck(u.backends[rapid.IntRange(0, 1).Draw(t, "address")], r)
			case 4:
				now = now.Add(rapid.SampledFrom([]time.Duration{1, 500 * time.Millisecond, 5 * time.Second}).Draw(t, "passes"))
			}
			if !u.calm.Load() {
				continue
			}
			u.calm.Store(false) // look, this time
			a, verdict, _ := u.Admit()
			if verdict != Admitted || a.probe != nil {
				t.Fatalf("calm, and yet verdict %d, probe %v", verdict, a.probe != nil)
			}
			u.calm.Store(true)
		}
	})
}
