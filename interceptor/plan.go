package interceptor

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"headgate.example/interceptor/coordinator"
	"headgate.example/interceptor/proxy"
	"headgate.example/interceptor/route"
	"headgate.example/interceptor/tokens"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
)

// plan is what one loaded config says, ready for use. It does not change: a reload makes another and
// swaps the Server's pointer, and each request keeps the plan that it began with (exchange.plan). What
// a reload must not reset (limiters, upstream connections and their breakers, caches, copies of sale
// state and rules) lives in the Server; a plan refers to it.
type plan struct {
	cfg  Config
	hash string // of the config, equal on nodes that are configured alike

	table          *route.Table
	routes         []boundRoute
	upstreams      map[string]*proxy.Upstream // by name
	chain          []stage
	trustedProxies []netip.Prefix
	limits         planLimits
	maxBody        int  // the largest of the routes, bytes
	ordersAreRead  bool // there is a route to ordersPath and an id

	tokens      *tokens.Cache
	tickets     *auth.Keyring
	hops        *auth.Keyring
	coordinator *coordinator.Coordinator
}

// boundRoute is a route with what belongs to it.
type boundRoute struct {
	Route
	kind     string
	auth     string
	maxBody  int
	timeout  time.Duration // of the upstream's answer
	purchase time.Duration // of a whole purchase
	upstream *proxy.Upstream
	fallback *proxy.Upstream // nil: none
	lane     proxy.Lane
	figures  *routeFigures
	limits   routeLimits
	cors     *crossOrigin // nil: none
}

// newPlan builds the plan of a valid config. It changes nothing that requests see.
func (s *Server) newPlan(cfg Config) (*plan, error) {
	p := &plan{cfg: cfg, hash: config.Hash(&cfg)}
	if err := p.prepareIdentity(s); err != nil {
		return nil, err
	}
	if err := p.prepareRoutes(s); err != nil {
		return nil, err
	}
	if err := p.prepareLimits(s); err != nil {
		return nil, err
	}
	p.chain = s.newChain(cfg.Stages)
	return p, nil
}

func (p *plan) prepareIdentity(s *Server) (err error) {
	if p.tokens, err = s.tokenCache(&p.cfg); err != nil {
		return err
	}
	if p.tickets, err = auth.NewKeyring(p.cfg.TicketKeys); err != nil {
		return fmt.Errorf("ticket_keys: %w", err)
	}
	if p.hops, err = auth.NewKeyring(p.cfg.HopKeys); err != nil {
		return fmt.Errorf("hop_keys: %w", err)
	}
	p.coordinator = coordinator.New(s.counter, p.tickets)
	return nil
}

func (p *plan) prepareRoutes(s *Server) error {
	var errs []error
	cfg := &p.cfg
	p.trustedProxies = cfg.trustedPrefixes(func(_ int, err error) { errs = append(errs, err) })
	p.upstreams = make(map[string]*proxy.Upstream, len(cfg.Upstreams))
	for i := range cfg.Upstreams {
		p.upstreams[cfg.Upstreams[i].Name] = s.upstreams.Reserve(cfg.Upstreams[i])
	}
	entries := make([]route.Entry, 0, len(cfg.Routes))
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		pattern, err := route.ParsePattern(r.Path)
		if err != nil {
			errs = append(errs, fmt.Errorf("routes[%d].path: %w", i, err))
		}
		if p.upstreams[r.Upstream] == nil {
			errs = append(errs, fmt.Errorf("routes[%d].upstream: %q is not the name of one of the upstreams", i, r.Upstream))
		}
		entries = append(entries, route.Entry{Pattern: pattern, Methods: r.Methods})
		p.routes = append(p.routes, boundRoute{Route: *r, kind: r.kind(), auth: r.auth(), maxBody: r.maxBody(),
			timeout: cfg.routeTimeout(r), purchase: cfg.purchaseTimeout(r), upstream: p.upstreams[r.Upstream], lane: laneOf(r.kind()),
			figures: s.figures.route(r.Name), cors: newCrossOrigin(r)})
		p.maxBody = max(p.maxBody, r.maxBody())
		if r.Fallback != nil {
			p.routes[i].fallback = p.upstreams[r.Fallback.Upstream]
		}
	}
	p.table = route.NewTable(entries)
	found, _ := p.table.Find([]byte("GET"), []byte(ordersPath+"1"))
	p.ordersAreRead = found >= 0 && strings.HasPrefix(cfg.Routes[found].Path, ordersPath+"{") // not by a catch-all
	return errors.Join(errs...)
}

func laneOf(kind string) proxy.Lane {
	switch kind {
	case KindReserve:
		return proxy.Orders
	case KindLongPoll:
		return proxy.LongPolls
	default:
		return proxy.Calls
	}
}
