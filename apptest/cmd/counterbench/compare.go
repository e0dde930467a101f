//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"headgate.example/apptest/measure"
)

const (
	connections = 50
	// userSpace is what redis-benchmark draws users from: so large that hardly one comes twice.
	userSpace = 2_000_000_000
	// probe is how long the run takes by which the number of requests is chosen, at least.
	probe = 150 * time.Millisecond
)

// errNoLeader: some requests met a voter that does not lead, or that lost the lead over them.
var errNoLeader = errors.New("the leader changed")

// load runs redis-benchmark and gives requests a second. It stops it when it takes far longer than it should.
func load(ctx context.Context, r rival, sale string, requests, pipeline int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	args := []string{"-h", "127.0.0.1", "-p", portOf(r.address()), "-c", strconv.Itoa(connections), "-r", strconv.Itoa(userSpace),
		"-n", strconv.Itoa(requests), "-P", strconv.Itoa(pipeline), "--csv", "-e"}
	cmd := exec.CommandContext(ctx, "redis-benchmark", append(args, r.request(sale)...)...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	if said := complaints.Bytes(); bytes.Contains(said, []byte("TRYAGAIN")) || bytes.Contains(said, []byte("MOVED ")) || bytes.Contains(said, []byte("UNKNOWN ")) {
		return 0, fmt.Errorf("%w: %s", errNoLeader, bytes.TrimSpace(said[:min(len(said), 256)]))
	}
	if err != nil {
		return 0, fmt.Errorf("redis-benchmark: %w: %s", err, bytes.TrimSpace(complaints.Bytes()))
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 2 || len(rows[1]) < 2 {
		return 0, fmt.Errorf("redis-benchmark printed something else than two rows: %q %w", out.String(), err)
	}
	return strconv.ParseFloat(rows[1][1], 64)
}

// scenario is one figure to be measured.
type scenario struct {
	name     string
	pipeline int
	soldOut  bool
}

// stock is more than any run can sell.
const stock = 900_000_000

// side is one of the two, with how many requests fill a run.
type side struct {
	rival
	against  rival
	requests int
	repeats  int
	rates    []float64
	cpu      []float64 // microseconds a request
}

// maxRepeats bounds how often runs of one scenario are done again because the leader changed meanwhile.
const maxRepeats = 3

// again is once, repeated when the voters changed their leader in the middle of it, which an overloaded
// machine may bring about. Nothing else is.
func (s *side) again(ctx context.Context, c scenario, sale string) (float64, error) {
	v, several := s.rival.(*voters)
	if !several {
		return s.once(ctx, c, sale)
	}
	for attempt := 0; ; attempt++ {
		before := v.counter
		rate, err := s.once(ctx, c, fmt.Sprintf("%s-%d", sale, attempt))
		if err == nil || s.repeats == maxRepeats || ctx.Err() != nil {
			return rate, err
		}
		if elected := v.elect(ctx); elected != nil {
			return 0, errors.Join(err, elected)
		}
		if v.counter == before && !errors.Is(err, errNoLeader) {
			return 0, err
		}
		s.repeats++
	}
}

// once opens a sale, runs the load, and makes sure that what was answered is what the scenario is about.
func (s *side) once(ctx context.Context, c scenario, sale string) (float64, error) {
	units := stock
	if c.soldOut {
		units = 0
	}
	if err := s.open(sale, units); err != nil {
		return 0, err
	}
	for _, r := range []rival{s.rival, s.against} {
		if err := r.settle(ctx); err != nil {
			return 0, err
		}
	}
	before, err := s.CPU()
	if err != nil {
		return 0, err
	}
	rate, err := load(ctx, s.rival, sale, s.requests, c.pipeline)
	if err != nil {
		return 0, err
	}
	after, err := s.CPU()
	if err != nil {
		return 0, err
	}
	s.cpu = append(s.cpu, float64((after-before).Microseconds())/float64(s.requests))
	sold, err := s.sold(sale)
	if err != nil {
		return 0, err
	}
	switch least := int64(s.requests) * 99 / 100; {
	case c.soldOut && sold != 0:
		return 0, fmt.Errorf("%d units of a sale without stock were sold", sold)
	case !c.soldOut && sold < least:
		return 0, fmt.Errorf("of %d requests only %d bought", s.requests, sold)
	}
	return rate, s.drop(sale)
}

// compare runs both in turn and prints the median of their ratio, and the medians of both. Before each run both
// are through with what they do beside their clients: Redis with freeing the last sale's memory, the counter with making
// the next one's ready.
func compare(ctx context.Context, b *bench, c scenario, ours, theirs rival) error {
	sides := [2]*side{{rival: theirs, against: ours}, {rival: ours, against: theirs}}
	for i, s := range sides {
		s.requests = 2000 * c.pipeline / min(c.pipeline, 4)
		for took := time.Duration(0); took < probe; {
			rate, err := s.again(ctx, c, fmt.Sprintf("%s-probe%d-%d", c.name, i, s.requests))
			if err != nil {
				return err
			}
			took = time.Duration(float64(s.requests) / rate * float64(time.Second))
			next := int(rate * b.run.Seconds())
			if took >= probe || next <= 2*s.requests {
				s.requests = max(next, 1000)
				break
			}
			s.requests = min(next, 4*s.requests)
		}
	}
	sides[0].cpu, sides[1].cpu = nil, nil
	var ratios []float64
	for pair := range b.pairs {
		for turn := range sides {
			s := sides[(turn+pair)%2] // each goes first in half of the pairs
			rate, err := s.again(ctx, c, fmt.Sprintf("%s-%d", c.name, pair))
			if err != nil {
				return err
			}
			s.rates = append(s.rates, rate)
		}
		ratios = append(ratios, sides[1].rates[pair]/sides[0].rates[pair])
	}
	note := ""
	if n := sides[1].repeats; n > 0 {
		note = fmt.Sprintf("; %d runs repeated since the leader changed", n)
	}
	b.figure(c.name, "%.2f (%d pairs, %.2f to %.2f; counter %.0f/s, redis %.0f/s; CPU a request %.2f us, redis %.2f us%s)", measure.Median(ratios), b.pairs,
		slices.Min(ratios), slices.Max(ratios), measure.Median(sides[1].rates), measure.Median(sides[0].rates),
		measure.Median(sides[1].cpu), measure.Median(sides[0].cpu), note)
	return nil
}

// refuse compares how fast both say that everything is gone. That Redis writes no log.
func refuse(ctx context.Context, b *bench) error {
	theirs, err := startRedis(ctx, b.dir, false)
	if err != nil {
		return err
	}
	defer theirs.stop()
	ours, err := startCounter(ctx, b.counter, b.dir)
	if err != nil {
		return err
	}
	defer ours.stop()
	return compare(ctx, b, scenario{name: "refuse.rps_vs_redis.p16", pipeline: 16, soldOut: true}, ours, theirs)
}

// durable compares a lone voter with a Redis that syncs before it answers. Each pipeline depth begins
// with empty ones.
func durable(ctx context.Context, b *bench) error {
	return perDepth(b, "durable", func(c scenario, dir string) error {
		ours, err := startCounter(ctx, b.counter, dir)
		if err != nil {
			return err
		}
		defer ours.stop()
		return againstAlways(ctx, b, c, dir, ours)
	})
}

// replicated compares three voters on this machine with one Redis that syncs before it answers.
func replicated(ctx context.Context, b *bench) error {
	return perDepth(b, "replicated", func(c scenario, dir string) error {
		ours, err := startVoters(ctx, b.counter, dir)
		if err != nil {
			return err
		}
		defer ours.stop()
		return againstAlways(ctx, b, c, dir, ours)
	})
}

func perDepth(b *bench, what string, each func(scenario, string) error) error {
	for _, depth := range []int{1, 16, 64} {
		dir, err := makeDir(b.dir, fmt.Sprintf("p%d", depth))
		if err != nil {
			return err
		}
		if err := each(scenario{name: fmt.Sprintf("%s.rps_vs_redis_always.p%d", what, depth), pipeline: depth}, dir); err != nil {
			return fmt.Errorf("at %d a pipeline: %w", depth, err)
		}
	}
	return nil
}

func againstAlways(ctx context.Context, b *bench, c scenario, dir string, ours rival) (err error) {
	theirs, err := startRedis(ctx, dir, true)
	if err != nil {
		return err
	}
	defer theirs.stop()
	if err := compare(ctx, b, c, ours, theirs); err != nil {
		return errors.Join(err, ctx.Err())
	}
	return nil
}
