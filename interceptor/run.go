package interceptor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"headgate.example/lib/service"
)

// Run serves until ctx is done, then drains and closes.
func (s *Server) Run(ctx context.Context) error {
	pollCtx, stopPolling := context.WithCancel(context.Background())
	var group sync.WaitGroup
	// Before the first request is served, so that revocations and bans hold for it and sales are known. Where
	// the counter is away, which takes its time-out at most, what they protect is refused until it answers:
	// see checkToken and checkSaleState.
	pollRules, pollSales := s.pollRules(), s.pollSales()
	pollRules(ctx)
	if s.rules.Known() {
		pollSales(ctx)
	}
	s.peers.Begin()
	group.Go(func() { s.poll(pollCtx, pollRules, pollSales) })
	group.Go(func() { s.upstreams.Run(pollCtx) })
	group.Go(func() { s.peers.Run(s.peering) })
	served := make(chan error, 1)
	group.Go(func() { served <- s.http.Serve(s.listener) })
	s.awaitPeers(ctx)
	s.rt.Health.SetReady(true)
	s.rt.Log.Info("serving", "address", s.Addr())

	var err error
	select {
	case <-ctx.Done():
		err = s.drain(served)
	case err = <-served:
		err = fmt.Errorf("serving: %w", err)
		s.rt.Health.SetReady(false)
	}
	// Sale state and rules are kept fresh to the end: requests are decided by them until then.
	stopPolling()
	s.cancelWork()
	s.stopPeers() // after the last request, which may have needed them
	group.Wait()
	s.hopWork.Wait()
	s.listener.wait()
	s.release()
	return err
}

// drain stops in this order: health turns red, so that no balancer sends new connections; the node leaves the
// ring and hands its users' budgets over; requests are still taken for the grace, each answered with
// Connection: close, and hop to their new owners; then the listener closes and what is under way finishes,
// for drain_for at most; the counter, upstreams and peers go last, since purchases use them.
func (s *Server) drain(served <-chan error) error {
	s.rt.Health.SetDraining()
	s.draining.Store(true)
	s.leaveRing()
	if grace := s.plan.Load().cfg.Server.DrainGrace; grace > 0 {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
		case err := <-served:
			return fmt.Errorf("serving: %w", err)
		}
	}
	drainFor := s.plan.Load().cfg.Service.DrainFor
	ctx, cancel := context.WithTimeout(context.Background(), drainFor)
	defer cancel()
	err := s.http.ShutdownWithContext(ctx)
	_ = s.listener.Close() // where Serve had not begun yet, Shutdown does not know the listener
	switch {
	case errors.Is(err, context.DeadlineExceeded): // purchases are over by then, see Config.Validate: long polls and slow readers
		s.rt.Log.Warn("requests were still under way when drain_for was over", "drain_for", drainFor)
	case err != nil && !errors.Is(err, net.ErrClosed):
		return fmt.Errorf("draining: %w", err)
	}
	return nil
}

// maxClockOffset between the counter and this machine, without a warning.
const maxClockOffset = 250 * time.Millisecond

// pollTrouble is why the counter was not heard when it was last asked, after a colon; "" when it was.
func (s *Server) pollTrouble() string {
	if err := s.trouble.Load(); err != nil {
		return ": " + (*err).Error()
	}
	return ""
}

func (s *Server) registerHealth() {
	s.rt.Health.Register("counter", service.Degraded, func(context.Context) error {
		age, known := s.sales.Age(s.mono(s.now()))
		switch {
		case !known:
			return fmt.Errorf("the counter has not answered yet%s", s.pollTrouble())
		case age > s.plan.Load().cfg.StateMaxAge:
			return fmt.Errorf("the counter last answered %s ago%s", age.Round(time.Millisecond), s.pollTrouble())
		}
		return nil
	})
	s.rt.Health.Register("clock", service.Degraded, func(context.Context) error {
		if ahead := time.Duration(s.sales.Wall(0)) * time.Millisecond; ahead.Abs() > maxClockOffset {
			return fmt.Errorf("the counter's clock is %s ahead of this machine's: let both follow the same time servers; tokens and hops are judged by this one's", ahead)
		}
		return nil
	})
	s.rt.Health.Register("rules", service.Degraded, func(context.Context) error {
		if !s.rules.Known() {
			return errors.New("the counter has not told its rules yet: routes with roles, and writes of people who are signed in, are refused")
		}
		return nil
	})
	s.rt.Health.Register("upstreams", service.Degraded, s.upstreams.Check)
}

func (s *Server) registerGauges() {
	s.figures.gauge("tracked_users", func() float64 { return float64(s.limiters.users.Len()) })
	s.figures.gauge("tracked_addresses", func() float64 { return float64(s.limiters.addresses.Len()) })
	s.figures.gauge("queued_requests", func() float64 { return float64(s.limiters.waiting()) })
	s.figures.gauge("cached_tokens", func() float64 { return float64(s.plan.Load().tokens.Len()) })
	s.figures.gauge("rules", func() float64 { return float64(s.rules.Len()) })
	s.figures.gauge("strike_bans", func() float64 { return float64(s.conduct.strikes.Len()) })
	s.figures.gauge("strike_subjects_forgotten_total", func() float64 { return float64(s.conduct.strikes.Forgotten()) })
	s.figures.gauge("open_connections", func() float64 { return float64(s.http.GetOpenConnectionsCount()) })
	s.figures.gauge("sale_state_age_seconds", func() float64 {
		age, known := s.sales.Age(s.mono(s.now()))
		if !known {
			return -1
		}
		return age.Seconds()
	})
}
