//go:build unix

package main

import (
	"context"
	"fmt"
	"io"

	"headgate.example/apptest/measure"
	"headgate.example/apptest/signer"
)

// suites are all there are, run with these options.
func suites(o *options, stdout, stderr io.Writer) []measure.Suite {
	var list []measure.Suite
	for _, s := range []struct {
		name    string
		measure func(context.Context, *bench) error
	}{{"refuse", refuse}, {"soldout", soldOut}, {"newtoken", newToken}, {"forward", forward}, {"hop", hop}} {
		list = append(list, measure.Suite{Name: s.name, Measure: func(ctx context.Context, dir string) error {
			return s.measure(ctx, &bench{options: o, dir: dir, stdout: stdout, stderr: stderr})
		}})
	}
	return list
}

// knownUsers press again and again where tokens are known.
const knownUsers = 2000

func knownTokens() func(int) []string {
	list := signer.New().Many("u", knownUsers)
	return func(int) []string { return list }
}

// ground is the yardstick and an edge before it.
func ground(ctx context.Context, b *bench) (bare *target, s *site, stop func(), err error) {
	return groundFor(ctx, b, 1)
}

// groundFor is ground with several edges.
func groundFor(ctx context.Context, b *bench, edges int) (bare *target, s *site, stop func(), err error) {
	if bare, err = startBare(ctx, b.dir); err != nil {
		return nil, nil, nil, err
	}
	if s, err = startSite(ctx, b, bare.address, edges); err != nil {
		bare.stop()
		return nil, nil, nil, err
	}
	return bare, s, func() { s.stop(); bare.stop() }, nil
}

const orders = "/api/sales/bench/orders"

// refuse measures 429 to users who have pressed before: each wants two units of a sale that gives one,
// so that no press makes an order.
func refuse(ctx context.Context, b *bench) error {
	bare, s, stop, err := ground(ctx, b)
	if err != nil {
		return err
	}
	defer stop()
	c := contest{load: press("POST", orders, `{"quantity":2}`), code: "too_soon", targets: []*target{bare, s.edge}}
	c.load.tokens = knownTokens()
	first := c.load.tokens(0)[0]
	if err := s.open(ctx, "bench", 1_000_000, 1, c.load.one(first), c.code); err != nil {
		return err
	}
	if program, err := findNginx(); err == nil {
		nginx, err := startNginx(ctx, b.dir, program, bare.address)
		if err != nil {
			return err
		}
		defer nginx.stop()
		c.targets = append(c.targets, nginx)
	}
	if err := c.hold(ctx, b); err != nil {
		return err
	}
	c.tellCPU(b, "refuse.cpu_vs_fasthttp", 0)
	c.tellRate(b, "refuse.rps_vs_fasthttp")
	if len(c.targets) > 2 {
		c.tellCPU(b, "refuse.cpu_vs_nginx_limit_req", 2)
	} else {
		fmt.Fprintln(b.stderr, "edgebench: nginx is not installed: edge.refuse.cpu_vs_nginx_limit_req is left out") //nolint:errcheck // nothing depends on it
	}
	b.figure("allocs_per_refusal", "%.3f (heap allocations of the whole process for each request, pollers and connections included)",
		c.median(1, func(r *result) float64 { return r.allocs }))
	return nil
}

// soldOut measures presses on a sale of which nothing is left, by users whose tokens are known.
func soldOut(ctx context.Context, b *bench) error {
	return againstBare(ctx, b, "soldout.cpu_vs_fasthttp", knownTokens(), false)
}

// tokensPerSecond is more than any edge here checks in a second.
const tokensPerSecond = 90_000

// newToken measures the same with a token in each request that the edge has never seen.
func newToken(ctx context.Context, b *bench) error {
	sign := signer.New()
	return againstBare(ctx, b, "newtoken.cpu_vs_fasthttp", func(run int) []string {
		return sign.Many(fmt.Sprintf("n%d-", run), int(b.run.Seconds()*tokensPerSecond))
	}, true)
}

func againstBare(ctx context.Context, b *bench, figure string, tokens func(int) []string, once bool) error {
	bare, s, stop, err := ground(ctx, b)
	if err != nil {
		return err
	}
	defer stop()
	c := contest{load: press("POST", orders, `{"quantity":1}`), code: "sold_out", targets: []*target{bare, s.edge}}
	c.load.tokens, c.load.once = tokens, once
	if err := s.open(ctx, "bench", 0, 1, c.load.one(signer.New().Token("nobody")), c.code); err != nil {
		return err
	}
	if err := c.hold(ctx, b); err != nil {
		return err
	}
	c.tellCPU(b, figure, 0)
	return nil
}

// forward measures what passing a call on and its answer back costs the edge, besides what it costs the
// upstream, which is the yardstick.
func forward(ctx context.Context, b *bench) error {
	bare, s, stop, err := ground(ctx, b)
	if err != nil {
		return err
	}
	defer stop()
	s.edge.refuses = false
	c := contest{load: press("GET", "/assets/shop.js", ""), code: "2xx", targets: []*target{bare, s.edge}}
	c.load.tokens = knownTokens()
	if err := c.hold(ctx, b); err != nil {
		return err
	}
	c.tellCPU(b, "forward.cpu_vs_fasthttp", 0)
	return nil
}
