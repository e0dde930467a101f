package interceptor

import (
	"context"
	"sync"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
)

// Watched is what the pollers ask of the counter. *client.Client is one.
type Watched interface {
	SaleList(ctx context.Context) ([]sale.Info, error)
	Rules(ctx context.Context, since int64) (client.Rules, error)
}

// sweepInterval is the time between two clean-ups of the users' maps.
const sweepInterval = 10 * time.Second

// poll keeps the copies of sale state and rules fresh until ctx ends. The two do not wait for each
// other: rules come from the control shard only, sale state from all.
func (s *Server) poll(ctx context.Context, pollRules, pollSales func(context.Context)) {
	var group sync.WaitGroup
	polling := func() time.Duration { return s.plan.Load().cfg.PollInterval }
	sweeping := func() time.Duration { return sweepInterval }
	group.Go(func() { s.every(ctx, polling, pollSales) })
	group.Go(func() { s.every(ctx, polling, pollRules) })
	group.Go(func() { s.every(ctx, sweeping, func(context.Context) { s.sweep() }) })
	group.Wait()
}

// every calls do at once and then each interval, which a reload may change; a call that takes longer
// delays the next.
func (s *Server) every(ctx context.Context, interval func() time.Duration, do func(context.Context)) {
	current := interval()
	ticker := time.NewTicker(current)
	defer ticker.Stop()
	for {
		do(ctx)
		if next := interval(); next != current {
			current = next
			ticker.Reset(current)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Server) pollSales() func(context.Context) {
	report := s.newReporter("sale state")
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, s.plan.Load().cfg.Counter.Timeout)
		defer cancel()
		asked := s.now()
		list, err := s.counter.SaleList(ctx)
		report(ctx, err)
		if err != nil {
			return
		}
		if len(list) > 0 { // first, so that no sale is ever judged by our own clock
			s.sales.Correct(list[0].Now, asked.UnixMilli(), s.now().Sub(asked))
		}
		s.sales.Apply(list, s.mono(asked))
	}
}

func (s *Server) pollRules() func(context.Context) {
	report := s.newReporter("rules")
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, s.plan.Load().cfg.Counter.Timeout)
		defer cancel()
		asked := s.now()
		answer, err := s.counter.Rules(ctx, s.rules.Index())
		if err == nil {
			s.sales.Correct(answer.Now, asked.UnixMilli(), s.now().Sub(asked))
			s.lift(&answer)
			err = s.rules.Apply(answer)
		}
		report(ctx, err)
	}
}

// newReporter logs when fetching begins to fail and when it works again, not each failure.
func (s *Server) newReporter(what string) func(context.Context, error) {
	failing := false
	return func(ctx context.Context, err error) {
		switch {
		case err != nil && ctx.Err() != context.Canceled:
			s.figures.pollErrors.Inc()
			s.trouble.Store(&err)
			if !failing {
				s.rt.Log.Warn("cannot fetch from the counter; keeping what is known", "what", what, "error", err)
			}
			failing = true
		case err == nil && failing:
			s.rt.Log.Info("fetching from the counter again", "what", what)
			s.trouble.Store(nil)
			failing = false
		}
	}
}

func (s *Server) sweep() {
	now := s.mono(s.now())
	s.limiters.sweep(now)
	s.conduct.strikes.Sweep(now)
}
