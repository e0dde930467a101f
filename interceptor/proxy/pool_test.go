package proxy

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// pool is an upstream whose requests are made up.
func pool(t *testing.T, addresses int, change func(*Config)) *Upstream {
	t.Helper()
	c := DefaultConfig("shop")
	for i := range addresses {
		c.Addresses = append(c.Addresses, fmt.Sprintf("10.0.0.%d:80", i+1))
	}
	if change != nil {
		change(&c)
	}
	return New(c, Options{})
}

// place gets a request an address.
func (u *Upstream) place(lane Lane) (permit, error) {
	return u.acquire(&call{lane: lane}, time.Now().Add(time.Minute))
}

func (u *Upstream) mustPlace(t *testing.T, lane Lane) permit {
	t.Helper()
	p, err := u.place(lane)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run makes up so many requests with the same outcome, one after the other.
func (u *Upstream) run(t *testing.T, lane Lane, o outcome, count int) {
	t.Helper()
	for range count {
		u.finish(u.mustPlace(t, lane), lane, o, 0)
	}
}

// refused checks that an order is refused before anything is reserved for it.
func (u *Upstream) refused(t *testing.T, verdict Verdict, least, most time.Duration) {
	t.Helper()
	a, got, wait := u.Admit()
	a.End()
	if got != verdict || wait < least || wait > most {
		t.Errorf("verdict %d for %s, want %d for %s to %s", got, wait, verdict, least, most)
	}
}

func (u *Upstream) admitted(t *testing.T) Admission {
	t.Helper()
	a, verdict, wait := u.Admit()
	if verdict != Admitted {
		t.Errorf("not admitted: verdict %d for %s", verdict, wait)
	}
	return a
}

func TestTheLeastLoadedAddressIsAsked(t *testing.T) {
	u := pool(t, 3, nil)
	byAddress := map[*backend][]permit{}
	for range 30 {
		p := u.mustPlace(t, Orders)
		byAddress[p.backend] = append(byAddress[p.backend], p)
	}
	for b, permits := range byAddress {
		if len(permits) != 10 {
			t.Errorf("%s has %d of 30 requests", b.address, len(permits))
		}
	}
	idle := u.backends[1]
	for _, p := range byAddress[idle] {
		u.finish(p, Orders, outcomeOK, 0)
	}
	for range 10 { // other calls weigh as much as orders
		if p := u.mustPlace(t, Calls); p.backend != idle {
			t.Fatalf("%s was asked, %s has nothing to do", p.backend.address, idle.address)
		}
	}
	for range 30 { // long polls weigh nothing, and are spread all the same
		u.mustPlace(t, LongPolls)
	}
	for _, b := range u.backends {
		if n := b.lanes[LongPolls].inFlight; n < 5 {
			t.Errorf("%s has %d of 30 long polls", b.address, n)
		}
	}
}

func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := pool(t, 2, func(c *Config) { c.MaxConnections, c.MaxWaiting, c.MaxWait = 1, 2, 300*time.Millisecond })
		first, second := u.mustPlace(t, Orders), u.mustPlace(t, Orders)
		if first.backend == second.backend {
			t.Fatal("an address was given more than it may have")
		}
		got := make(chan permit, 2)
		failed := make(chan error, 2)
		for range 2 {
			go func() {
				p, err := u.place(Orders)
				if err != nil {
					failed <- err
					return
				}
				got <- p
			}()
		}
		synctest.Wait()
		var refused *RefusedError
		if _, err := u.place(Orders); !errors.As(err, &refused) || refused.Verdict != Busy || !errors.Is(err, ErrNotSent) {
			t.Errorf("the third waits too: %v", err)
		}
		u.refused(t, Busy, 0, 0)
		if _, err := u.place(Calls); err != nil {
			t.Errorf("orders starve other calls: %v", err)
		}
		u.finish(second, Orders, outcomeOK, 0) // whichever becomes free is taken
		if p := <-got; p.backend != second.backend {
			t.Error("the wrong address")
		}
		began := time.Now()
		err := <-failed
		if !errors.As(err, &refused) || refused.Verdict != Busy || time.Since(began) != 300*time.Millisecond {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if n := len(u.lanes[Orders].waiting); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

func TestMaxInFlightBoundsAllAddressesTogether(t *testing.T) {
	u := pool(t, 4, func(c *Config) { c.MaxInFlight, c.MaxWait = 3, time.Nanosecond })
	for range 3 {
		u.mustPlace(t, Orders)
	}
	if _, err := u.place(Orders); err == nil {
		t.Error("a fourth order was given an address")
	}
	u.mustPlace(t, Calls)
}

func TestAnAddressThatCannotBeConnectedToIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := pool(t, 1, nil)
		u.run(t, Orders, outcomeNotConnected, 2)
		u.run(t, Calls, outcomeOK, 1) // not in a row
		u.run(t, Orders, outcomeNotConnected, 2)
		u.admitted(t)
		u.run(t, Calls, outcomeNotConnected, 1) // any lane's count
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			pause *= time.Second
			u.refused(t, Away, pause, pause*6/5)
			if _, err := u.place(Calls); err == nil {
				t.Fatal("an ejected address was asked")
			}
			time.Sleep(pause * 6 / 5)
			a := u.admitted(t)
			u.refused(t, Away, 0, 0) // one at a time
			p, err := u.acquire(&call{lane: Orders, admission: &a}, time.Now().Add(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			u.finish(p, Orders, outcomeNotConnected, 0)
		}
		time.Sleep(36 * time.Second)
		u.run(t, Calls, outcomeOK, 1)
		u.admitted(t)
		u.admitted(t)
		u.run(t, Orders, outcomeNotConnected, 3)
		u.refused(t, Away, time.Second, 1200*time.Millisecond) // pauses begin again
	})
}

// Many connects fail at the same moment when a shop dies: that is one reason to leave it alone, not many.
func TestConnectsThatFailTogetherEjectOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := pool(t, 1, nil)
		var under []permit
		for range 20 {
			under = append(under, u.mustPlace(t, Orders))
		}
		for _, p := range under {
			u.finish(p, Orders, outcomeNotConnected, 0)
			time.Sleep(time.Millisecond)
		}
		u.refused(t, Away, 900*time.Millisecond, 1200*time.Millisecond)
		if n := u.backends[0].figures.ejections.Get(); n != 1 {
			t.Errorf("ejected %d times, want once", n)
		}
	})
}

// Requests that hang do not make those that failed look rare.
func TestTheBreakerCountsWhatHasEnded(t *testing.T) {
	u := pool(t, 1, nil)
	for range 100 {
		u.mustPlace(t, Orders)
	}
	u.run(t, Orders, outcomeFailed, 10)
	if _, verdict, _ := u.Admit(); verdict != Away {
		t.Error("ten of ten failed, and it is closed")
	}
}

func TestTheBreakerOpensAndIsProbedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := pool(t, 1, nil)
		u.run(t, Orders, outcomeOK, 4)
		u.run(t, Orders, outcomeTimeout, 5)
		u.admitted(t) // five of nine
		u.run(t, Orders, outcomeFailed, 1)
		u.refused(t, Away, 5*time.Second, 5*time.Second)
		if _, err := u.place(Calls); err != nil {
			t.Errorf("the orders' breaker holds other calls: %v", err)
		}
		time.Sleep(5*time.Second + 1)
		u.run(t, Orders, outcomeOK, 1)
		a := u.admitted(t)
		u.refused(t, Away, 0, 0)
		p, err := u.acquire(&call{lane: Orders, admission: &a}, time.Now().Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		u.refused(t, Away, 0, 0)
		u.finish(p, Orders, outcomeFailed, 0)
		u.refused(t, Away, 5*time.Second, 5*time.Second)
		time.Sleep(5*time.Second + 1)
		u.run(t, Orders, outcomeOK, 3)
		u.admitted(t)
		u.admitted(t) // not one by one any more
		u.run(t, Orders, outcomeFailed, 9)
		u.admitted(t) // fewer than ten
		time.Sleep(11 * time.Second)
		u.run(t, Orders, outcomeFailed, 9)
		u.admitted(t) // the others are forgotten
	})
}

func TestABreakerSparesItsAddressOnly(t *testing.T) {
	u := pool(t, 2, nil)
	bad := u.backends[0]
	for range 40 {
		p := u.mustPlace(t, Orders)
		if p.backend == bad {
			u.finish(p, Orders, outcomeFailed, 0)
		} else {
			u.finish(p, Orders, outcomeOK, 0)
		}
	}
	if n := bad.figures.attempts[Orders][outcomeFailed].Get(); n != 10 {
		t.Errorf("the broken address was asked %d times, want 10", n)
	}
	u.admitted(t)
}

func TestAFullAddressIsSparedAndThenTriedByOneOrder(t *testing.T) {
	for o, verdict := range map[outcome]Verdict{outcomeFull: Busy, outcomeRefuses: Away} {
		synctest.Test(t, func(t *testing.T) {
			u := pool(t, 1, nil)
			u.finish(u.mustPlace(t, Orders), Orders, o, 3*time.Second)
			u.refused(t, verdict, 3*time.Second, 3*time.Second)
			if _, err := u.place(Calls); err != nil {
				t.Errorf("other calls are held off, too: %v", err)
			}
			insisting, err := u.acquire(&call{lane: Orders, insist: true}, time.Now())
			if err != nil {
				t.Fatalf("a retry is held off: %v", err)
			}
			time.Sleep(3 * time.Second)
			a := u.admitted(t)
			u.refused(t, verdict, 0, 0)
			a.End() // nothing was left to sell
			a = u.admitted(t)
			p, err := u.acquire(&call{lane: Orders, admission: &a}, time.Now().Add(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			a.End()
			u.refused(t, verdict, 0, 0)
			u.finish(p, Orders, o, 0)
			u.refused(t, verdict, time.Second, time.Second)
			u.finish(insisting, Orders, outcomeOK, 0)
			u.admitted(t)
			u.admitted(t)
		})
	}
}

func TestFullFarTooLong(t *testing.T) {
	u := pool(t, 2, nil)
	u.finish(u.mustPlace(t, Orders), Orders, outcomeFull, time.Hour)
	u.admitted(t) // the other one
	u.finish(u.mustPlace(t, Orders), Orders, outcomeFull, time.Hour)
	u.refused(t, Busy, maxFull-time.Second, maxFull)
}

func TestHealthChecksTakeOutAndBringBack(t *testing.T) {
	u := pool(t, 1, nil)
	b := u.backends[0]
	failed := checkResult{err: errors.New("no")}
	u.noteCheck(b, failed)
	u.noteCheck(b, failed)
	u.noteCheck(b, checkResult{})
	u.noteCheck(b, failed)
	u.noteCheck(b, failed)
	u.admitted(t)
	if err := u.check(); err != nil {
		t.Error(err)
	}
	u.noteCheck(b, failed)
	u.refused(t, Away, 0, 0)
	if u.check() == nil {
		t.Error("nothing is said of it")
	}
	u.noteCheck(b, checkResult{})
	u.refused(t, Away, 0, 0)
	u.noteCheck(b, checkResult{})
	u.admitted(t)
}

func TestAHealthCheckTellsThatNoOrdersAreTaken(t *testing.T) {
	for o, verdict := range map[outcome]Verdict{outcomeFull: Busy, outcomeRefuses: Away} {
		synctest.Test(t, func(t *testing.T) {
			u := pool(t, 1, nil)
			b := u.backends[0]
			for range 5 {
				u.noteCheck(b, checkResult{outcome: o, retryAfter: time.Second})
				u.refused(t, verdict, 2*time.Second, 2*time.Second) // until after the next check at the earliest
				if _, err := u.place(Calls); err != nil {
					t.Fatalf("it still answers other calls: %v", err)
				}
				time.Sleep(time.Second)
			}
			u.noteCheck(b, checkResult{})
			a := u.admitted(t)
			u.refused(t, verdict, 0, 0) // its word alone does not let the crowd in
			a.End()
			u.run(t, Orders, outcomeOK, 1)
			u.admitted(t)
			u.admitted(t)
		})
	}
}

func TestAGoodCheckEndsAnEjection(t *testing.T) {
	u := pool(t, 1, nil)
	u.run(t, Orders, outcomeNotConnected, 3)
	u.refused(t, Away, time.Second, 1200*time.Millisecond)
	if ill := u.noteCheck(u.backends[0], checkResult{err: errors.New("no")}); !ill {
		t.Error("is to be checked soon")
	}
	u.refused(t, Away, 0, 1200*time.Millisecond)
	if ill := u.noteCheck(u.backends[0], checkResult{}); ill {
		t.Error("is still ill")
	}
	u.admitted(t)
	u.admitted(t) // and nobody had to try
}

func TestAnAddressThatStaysKeepsItsState(t *testing.T) {
	u := pool(t, 3, nil)
	stays, goes := u.backends[0], u.backends[1]
	stays.down, goes.down = true, true
	under := u.mustPlace(t, Orders)
	c := u.cfg
	c.Addresses = []string{"10.0.0.9:80", stays.address}
	c.MaxConnections = 7
	u.apply(c)
	if len(u.backends) != 2 || u.backends[1] != stays || !stays.down || !goes.removed {
		t.Errorf("%+v", u.backends)
	}
	if slices.ContainsFunc(u.backends, func(b *backend) bool { return b.lanes[Orders].client.MaxConns != 7 }) {
		t.Error("the new bound does not hold")
	}
	u.finish(under, Orders, outcomeOK, 0) // its address is gone meanwhile
	for range 20 {
		if p := u.mustPlace(t, Orders); p.backend.address != "10.0.0.9:80" {
			t.Fatalf("%s was asked", p.backend.address)
		} else {
			u.finish(p, Orders, outcomeOK, 0)
		}
	}
}
