package preflight

import (
	"context"
	"errors"
	"net/url"
	"sync"

	"headgate.example/cli"
	"headgate.example/interceptor"
)

// lookAtEdges asks each edge whether it knows the sale, and the bans and sign-outs.
func (p *preflight) lookAtEdges(ctx context.Context) []Line {
	var admins []string
	for i := range p.programs {
		if p.programs[i].Program == "interceptor" {
			admins = append(admins, p.programs[i].admin)
		}
	}
	lines := make([]Line, len(admins))
	var group sync.WaitGroup
	for i, admin := range admins {
		group.Go(func() { lines[i] = p.lookAtEdge(ctx, admin) })
	}
	group.Wait()
	return lines
}

func (p *preflight) lookAtEdge(ctx context.Context, admin string) Line {
	check := "edge " + admin
	var view interceptor.SaleView
	if err := p.ask(ctx, admin, "/edge/sale?id="+url.QueryEscape(p.Sale), &view); err != nil {
		return fail(check, "see its log", "%v", err)
	}
	check = "edge " + view.Node
	const reach = "see whether it reaches every shard of the counter: http://ADMIN/readyz?verbose of the edge"
	switch {
	case !view.Heard:
		return fail(check, reach, "it has not heard from the counter lately")
	case !view.RulesKnown:
		return fail(check, reach, "it does not know the bans and sign-outs: people who are signed in cannot buy")
	case !view.Known:
		return fail(check, "headgate sale show "+p.Sale+": it must be open at the counter; then the edges hear of it within 250 ms", "it does not know the sale")
	}
	state := "would take orders"
	if view.Code != "" {
		state = "would answer " + view.Code
	}
	return ok(check, "knows the sale (%s, as of %d ms ago) and the rules up to %d", state, view.Age, view.Rules)
}

// lookAtWay asks for the sale as an operator, through the edge: the keys of tokens and hops, which take no part in
// config hashes, fit, and so do addresses and routes.
func (p *preflight) lookAtWay(ctx context.Context) []Line {
	const check = "way in"
	api, err := cli.NewAPI(p.cfg.APIAddress(), p.cfg.Tokens())
	if err != nil {
		return []Line{fail(check, "mend backend.tokens in the operator's config", "%v", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	_, err = api.Sale(ctx, p.Sale)
	var refusal *cli.Refusal
	switch {
	case err == nil:
	case errors.As(err, &refusal) && refusal.Status == 404:
	case errors.As(err, &refusal) && refusal.Status == 401:
		return []Line{fail(check, "give edges, backends and this config the same keys of tokens", "the edge at %s refuses the operator's token: %v", p.cfg.APIAddress(), err)}
	default:
		return []Line{fail(check, "see the lines of edges and backends; keys of hops must be the same on both", "through the edge at %s: %v", p.cfg.APIAddress(), err)}
	}
	return []Line{ok(check, "the edge at %s brings an operator to a backend: tokens and hops fit", p.cfg.APIAddress())}
}
