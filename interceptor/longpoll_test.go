package interceptor

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
)

// A buyer who opens long polls without end must not take the connections that all buyers share.
func TestOneUserCannotTakeAllLongPolls(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Upstreams[0].MaxLongPolls = 2 * maxUserPolls
		c.Upstreams[0].MaxWait = 50 * time.Millisecond
		c.Limits.UserBucket.Burst = 1000
	})
	release := make(chan struct{})
	e.shop.handle(func(http.ResponseWriter, *http.Request) { <-release })
	poll := func(user string) answer {
		a, err := e.trySend("GET", "/api/orders/1?wait=30s", "", "Authorization", "Bearer "+e.token(user))
		if err != nil {
			t.Error(err)
		}
		return a
	}
	var polls sync.WaitGroup
	for range maxUserPolls {
		polls.Go(func() {
			if a := poll("a1"); a.status != 200 {
				t.Errorf("one of %d polls: %d %s", maxUserPolls, a.status, a.text)
			}
		})
	}
	servicetest.Eventually(t, 30*time.Second, "all polls wait", func() bool { return e.shop.seen() == maxUserPolls })
	for range maxUserPolls {
		e.refused(poll("a1"), 429, "rate_limited")
	}
	for i := range maxUserPolls {
		polls.Go(func() {
			if a := poll("b" + strconv.Itoa(i)); a.status != 200 {
				t.Errorf("another user: %d %s", a.status, a.text)
			}
		})
	}
	servicetest.Eventually(t, 30*time.Second, "others are served", func() bool { return e.shop.seen() == 2*maxUserPolls })
	close(release)
	polls.Wait()
	if a := poll("a1"); a.status != 200 {
		t.Errorf("after the polls have ended: %d %s", a.status, a.text)
	}
}

// Purchases end before drain_for is over, see Config.Validate. A long poll may not: that is no failure.
func TestDrainDoesNotFailOverALongPoll(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Counter.Timeout = 20 * time.Millisecond
		c.Upstreams[0].Timeout, c.Upstreams[0].ConnectTimeout, c.Upstreams[0].MaxWait = 40*time.Millisecond, 40*time.Millisecond, 40*time.Millisecond
		c.Service.DrainFor = 150 * time.Millisecond
	})
	reached, release := make(chan struct{}), make(chan struct{})
	e.shop.handle(func(http.ResponseWriter, *http.Request) { close(reached); <-release })
	token := e.token("a1")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = e.trySend("GET", "/api/orders/1?wait=30s", "", "Authorization", "Bearer "+token)
	}()
	<-reached
	if err := e.stop(); err != nil {
		t.Error(err)
	}
	close(release)
	<-ended
}
