//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The edges' words for a unit sold, and for nothing left.
const (
	accepted    = "accepted"
	soldOutCode = "sold_out"
)

const (
	known      = 1.5              // presses for each user, until each has been answered once: some threads are ahead of others
	firstSold  = 0.02             // of the users, until it is believed that a sale goes on
	knownTime  = 60 * time.Second // until then, at most
	lookEvery  = 50 * time.Millisecond
	asExpected = 0.97 // of the answers
)

// crowd is what presses.
type crowd struct {
	name    string
	code    string // of the answers, in the edges' metrics
	cookies bool
}

// measured is one measurement.
type measured struct {
	rate    float64            // answers a second
	hops    float64            // of all answers, share that took a hop
	cpu     map[string]float64 // seconds for one answer, by kind of program
	busiest float64            // processors that the busiest member of the contest's kind used
}

// press lets a crowd press at a new sale and measures a window of it. Afterwards the books have to agree.
func (s *site) press(ctx context.Context, c crowd, sale string) (m *measured, err error) {
	if err := s.createSale(ctx, c, sale); err != nil {
		return nil, err
	}
	load, err := s.startLoad(ctx, c, sale)
	if err != nil {
		return nil, err
	}
	m, err = s.window(ctx, c, sale)
	report, ended := load.end()
	if err != nil {
		err = fmt.Errorf("%w: wrk told: %s", err, report)
	}
	if err = errors.Join(err, ended); err == nil && c.code == accepted {
		_, err = s.headgate(ctx, "audit", "--sale", sale, "--wait", "60s")
	}
	return m, err
}

func (s *site) createSale(ctx context.Context, c crowd, sale string) error {
	stock := 2 * s.contest.users
	if c.code == soldOutCode {
		stock = 1
	}
	_, err := s.headgate(ctx, "sale", "create", sale, "--title", sale, "--stock", strconv.Itoa(stock), "--limit", "1", "--price", "9900", "--open")
	if err == nil && c.code == accepted {
		_, err = s.headgate(ctx, "sale", "pause", sale)
	}
	return err
}

// window waits until everybody was answered, has the sale go on if it sells, and measures.
func (s *site) window(ctx context.Context, c crowd, sale string) (*measured, error) {
	before, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	err = s.await(ctx, c, func(now *moment) bool { return now.answers()-before.answers() >= known*float64(s.contest.users) })
	if err != nil {
		return nil, err
	}
	if c.code == accepted {
		if _, err := s.headgate(ctx, "sale", "resume", sale); err != nil {
			return nil, err
		}
		err = s.await(ctx, c, func(now *moment) bool { return now.expected()-before.expected() >= firstSold*float64(s.contest.users) })
		if err != nil {
			return nil, err
		}
	}
	begin, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(s.options.window):
	}
	end, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	if all, right := end.answers()-begin.answers(), end.expected()-begin.expected(); all == 0 || right < asExpected*all {
		return nil, fmt.Errorf("of %.0f answers %.0f were %s", all, right, c.code)
	}
	return s.between(begin, end), nil
}

// await looks until something is true of the cluster.
func (s *site) await(ctx context.Context, c crowd, reached func(*moment) bool) error {
	ctx, cancel := context.WithTimeout(ctx, knownTime)
	defer cancel()
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		now, err := s.look(ctx, c)
		if err != nil || reached(now) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the crowd is not where it should be after %s: %.0f answers, %.0f of them %s", knownTime, now.answers(), now.expected(), c.code)
		case <-again.C:
		}
	}
}
