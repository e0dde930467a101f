//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"headgate.example/apptest/cluster"
	"headgate.example/apptest/measure"
)

// suites are all there are, run with these options.
func suites(o *options, stdout io.Writer) []measure.Suite {
	var list []measure.Suite
	for _, s := range []struct {
		name    string
		measure func(context.Context, *bench) error
	}{{"soldout", soldOut}, {"buy", buy}, {"shards", shards}} {
		list = append(list, measure.Suite{Name: s.name, Measure: func(ctx context.Context, dir string) error {
			return s.measure(ctx, &bench{options: o, dir: dir, stdout: stdout})
		}})
	}
	return list
}

func soldOut(ctx context.Context, b *bench) error {
	return b.compare(ctx, b.edges(b.edgeShare), crowd{name: "soldout", code: soldOutCode, cookies: true}, crowd{name: "soldout_without_cookie", code: soldOutCode})
}

func buy(ctx context.Context, b *bench) error {
	return b.compare(ctx, b.edges(b.buyShare), crowd{name: "buy", code: accepted, cookies: true})
}

// shards has one of each other program, so that little of the machine goes to what is the same on both sides. Its
// crowd is large: a log entry costs a shard about the same however many buyers share it, so that a second shard is
// little help to a few of them, who only share smaller entries.
func shards(ctx context.Context, b *bench) error {
	return b.compare(ctx, contest{name: "shards2", few: "one", many: "two", kind: cluster.Counter, share: b.shardShare, users: 24_000, connections: 768,
		dropAlways: func(e *cluster.Entry) bool {
			return slices.Contains([]string{cluster.Interceptor, cluster.Backend, cluster.Consumer}, e.Kind) && !strings.HasSuffix(e.Name, "-1")
		},
		drop: func(e *cluster.Entry) bool { return e.Kind == cluster.Counter && e.Shard != "s1" },
	}, crowd{name: "buy", code: accepted, cookies: true})
}

// edges is the contest of one interceptor and three.
func (b *bench) edges(share float64) contest {
	return contest{name: "edges3", few: "one", many: "three", kind: cluster.Interceptor, share: share, users: 10_000, connections: 128,
		drop: func(e *cluster.Entry) bool { return e.Kind == cluster.Interceptor && e.Name != "interceptor-1" }}
}

// contest compares a cluster with a smaller one.
type contest struct {
	name      string
	few, many string // how many nodes each has, in words
	kind      string // of the nodes that are more, and that are held to a share of a processor
	share     float64

	users       int                       // of the crowd: more than buy in a measurement
	connections int                       // of the crowd
	dropAlways  func(*cluster.Entry) bool // who is in none of both; nil: nobody
	drop        func(*cluster.Entry) bool // who is not in the smaller one
}

// compare lets each crowd press at both clusters in turn, and prints the medians.
func (b *bench) compare(ctx context.Context, c contest, crowds ...crowd) (err error) {
	without := func(e *cluster.Entry) bool { return c.dropAlways != nil && c.dropAlways(e) }
	few, err := b.startSite(ctx, c, c.few, func(e *cluster.Entry) bool { return without(e) || c.drop(e) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, few.stop()) }()
	many, err := b.startSite(ctx, c, c.many, without)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, many.stop()) }()
	b.figure(c.name+".limit", "%g %% of a processor for each %s; %d users, %d connections", 100*c.share, c.kind, c.users, c.connections)
	sides := [2]*site{few, many}
	for _, crowd := range crowds {
		var runs [2][]*measured
		for pair := range b.pairs {
			for turn := range sides {
				side := (turn + pair) % 2 // each goes first in half of the pairs
				m, err := sides[side].press(ctx, crowd, fmt.Sprintf("%s-%d", crowd.name, pair))
				if err != nil {
					return fmt.Errorf("%s %s: %w", sides[side].name, c.kind, err)
				}
				runs[side] = append(runs[side], m)
			}
		}
		b.tell(c, crowd, runs)
	}
	return nil
}

// tell prints what two clusters made of a crowd, the smaller one first.
func (b *bench) tell(c contest, of crowd, runs [2][]*measured) {
	median := func(side int, get func(*measured) float64) float64 {
		var all []float64
		for _, m := range runs[side] {
			all = append(all, get(m))
		}
		return measure.Median(all)
	}
	ratios := func(get func(*measured) float64) []float64 {
		list := make([]float64, len(runs[0]))
		for i := range list {
			list[i] = get(runs[1][i]) / get(runs[0][i])
		}
		return list
	}
	rate := func(m *measured) float64 { return m.rate }
	busiest := func(m *measured) float64 { return 100 * m.busiest / c.share }
	hops := func(m *measured) float64 { return 100 * m.hops }
	cpu := func(m *measured) float64 { return m.cpu[c.kind] * 1e6 }
	name := c.name + "." + of.name
	rates, cpus := ratios(rate), ratios(cpu)
	b.figure(name+".rps_vs_one", "%.2f (%d pairs, %.2f to %.2f; %s %.0f/s with the busiest at %.0f %% of its share, %s %.0f/s at %.0f %%; %.1f %% hopped)",
		measure.Median(rates), len(rates), slices.Min(rates), slices.Max(rates), c.many, median(1, rate), median(1, busiest),
		c.few, median(0, rate), median(0, busiest), median(1, hops))
	b.figure(name+".cpu_per_answer_vs_one", "%.2f (%.2f to %.2f; of all of kind %s: %s %.1f us, %s %.1f us)",
		measure.Median(cpus), slices.Min(cpus), slices.Max(cpus), c.kind, c.many, median(1, cpu), c.few, median(0, cpu))
	for side, label := range []string{c.few, c.many} {
		var words []string
		for _, kind := range []string{cluster.Nginx, cluster.Interceptor, cluster.Counter, cluster.Backend, cluster.Consumer, cluster.RabbitMQ, cluster.MariaDB} {
			words = append(words, fmt.Sprintf("%s %.1f", kind, median(side, func(m *measured) float64 { return m.cpu[kind] * 1e6 })))
		}
		b.figure(name+".cpu_us_"+label, "%s (an answer)", strings.Join(words, ", "))
	}
}
