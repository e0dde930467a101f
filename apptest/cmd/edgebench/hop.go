//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"headgate.example/apptest/signer"
)

// hop measures 429 to users whose budgets another edge keeps: what both edges use together for one request
// that reaches the wrong one.
func hop(ctx context.Context, b *bench) error {
	bare, s, stop, err := groundFor(ctx, b, 2)
	if err != nil {
		return err
	}
	defer stop()
	c := contest{load: press("POST", orders, `{"quantity":2}`), code: "too_soon", targets: []*target{bare, s.edge}}
	tokens, err := s.tokensOf(ctx, "edge-2", knownUsers)
	if err != nil {
		return err
	}
	c.load.tokens = func(int) []string { return tokens }
	if err := s.open(ctx, "bench", 1_000_000, 1, c.load.one(tokens[0]), c.code); err != nil {
		return err
	}
	hops, err := s.edge.metrics(ctx, "headgate_edge_hops_total", `outcome="served"`)
	if err != nil {
		return err
	}
	if err := c.hold(ctx, b); err != nil {
		return err
	}
	after, err := s.edge.metrics(ctx, "headgate_edge_hops_total", `outcome="served"`)
	if err != nil {
		return err
	}
	sent := 0.0
	for _, r := range c.results[1] {
		sent += r.requests
	}
	if after-hops < sent {
		return fmt.Errorf("of %.0f requests only %.0f hopped", sent, after-hops)
	}
	c.tellCPU(b, "hop.cpu_vs_fasthttp", 0)
	return nil
}

// tokensOf gives tokens of users whom a node owns, as soon as the first edge sees it in the ring.
func (s *site) tokensOf(ctx context.Context, node string, count int) (tokens []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	err = s.edge.processes[0].Await(ctx, func() error {
		owner, err := s.owner(ctx, "u0000000")
		if err == nil && owner == "" {
			err = fmt.Errorf("no owner yet")
		}
		var ring struct {
			Agreed  bool `json:"agreed"`
			Pending int  `json:"pending_partitions"`
			Members []struct {
				State string `json:"state"`
			} `json:"members"`
		}
		if err == nil {
			err = s.admin(ctx, "/edge/ring", &ring)
		}
		if err != nil {
			return err
		}
		for _, m := range ring.Members {
			if m.State != "serving" {
				return fmt.Errorf("an edge is %s", m.State)
			}
		}
		if ring.Pending > 0 {
			return fmt.Errorf("%d partitions are pending", ring.Pending)
		}
		return nil
	})
	sign := signer.New()
	for i := 0; err == nil && len(tokens) < count; i++ {
		user := fmt.Sprintf("u%07d", i)
		var owner string
		if owner, err = s.owner(ctx, user); owner == node {
			tokens = append(tokens, sign.Token(user))
		}
	}
	return tokens, err
}

func (s *site) owner(ctx context.Context, user string) (string, error) {
	var view struct {
		Owner string `json:"owner"`
	}
	err := s.admin(ctx, "/edge/user?id="+user, &view)
	return view.Owner, err
}

// admin asks the first edge's admin port.
func (s *site) admin(ctx context.Context, path string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.edge.admin[0]+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", path, response.StatusCode)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
