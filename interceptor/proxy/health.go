package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/problem"
)

// checkResult is what one health check said.
type checkResult struct {
	err        error   // not well
	outcome    outcome // outcomeFull and outcomeRefuses: well, but takes no orders
	retryAfter time.Duration
}

// recheck is the time between two checks of an address that is ejected or down, where the interval is
// longer: a restart takes less, and meanwhile the others carry its load.
const recheck = 100 * time.Millisecond

// watch asks an address again and again whether it is well, until ctx ends.
func (u *Upstream) watch(ctx context.Context, b *backend) {
	client := newClient(&Config{ConnectTimeout: MaxTimeout, IdleTimeout: MaxIdleTimeout, MaxResponseBytes: 64 << 10}, b.address)
	client.MaxConns = 1
	defer client.CloseIdleConnections()
	for {
		u.mu.Lock()
		health, host := u.cfg.Health, u.cfg.Host
		u.mu.Unlock()
		interval := health.Interval
		if !health.Off && u.noteCheck(b, ask(client, &health, host)) {
			interval = min(interval, recheck)
		}
		// A fifth more or less, so that the edges do not ask all at once.
		timer := time.NewTimer(interval*4/5 + rand.N(interval*2/5+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-b.ill:
			timer.Stop()
		}
	}
}

// ask makes one health check.
func ask(client *fasthttp.HostClient, h *Health, host string) checkResult {
	if h.Path == "" {
		c, err := dial(client.Addr, h.Timeout)
		if err != nil {
			return checkResult{err: err}
		}
		return checkResult{err: c.Close()}
	}
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(h.Path)
	req.Header.SetUserAgent("headgate-health")
	if host == "" {
		host = client.Addr
	}
	req.SetHost(host)
	err := client.DoTimeout(req, resp, h.Timeout)
	if errors.Is(err, errStale) { // it was restarted meanwhile
		err = client.DoTimeout(req, resp, h.Timeout)
	}
	switch status := resp.StatusCode(); {
	case err != nil:
		return checkResult{err: err}
	case status >= 200 && status < 400:
		return checkResult{}
	case status == fasthttp.StatusServiceUnavailable:
		switch problem.Code(resp.Header.Peek(problem.HeaderCode)) {
		case problem.Overloaded:
			return checkResult{outcome: outcomeFull, retryAfter: retryAfter(resp)}
		case problem.Unavailable:
			return checkResult{outcome: outcomeRefuses, retryAfter: retryAfter(resp)}
		}
	}
	return checkResult{err: fmt.Errorf("status %d", resp.StatusCode())}
}

// noteCheck takes in a health check. It reports whether the address is ill: ejected, or down.
func (u *Upstream) noteCheck(b *backend, r checkResult) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	down, full := b.down, b.full.marked
	if r.err != nil {
		b.figures.checks[1].Inc()
	} else {
		b.figures.checks[0].Inc()
	}
	if b.removed {
		return false
	}
	if b.checked(&u.cfg, r, u.options.Now()) {
		for l := range u.lanes {
			u.wake(Lane(l))
		}
	}
	u.settle()
	switch log := u.options.Log; {
	case b.down && !down:
		log.Warn("an address does not answer its health checks and is left alone", "upstream", u.name, "address", b.address, "error", r.err)
	case down && !b.down:
		log.Info("an address answers its health checks again", "upstream", u.name, "address", b.address)
	case b.full.marked && !full:
		log.Warn("an address says that it takes no orders for now", "upstream", u.name, "address", b.address)
	}
	return b.down || b.ejected
}
