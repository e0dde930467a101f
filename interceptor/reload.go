package interceptor

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"headgate.example/interceptor/salestate"
	"headgate.example/interceptor/tokens"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/service"
)

var _ service.Reloadable[Config] = (*Server)(nil)

// The fields that cannot be changed while the program runs, with all that is in them, and those in them
// that can nevertheless. Read only.
var (
	fixedFields = []string{"service", "listen", "self", "peers", "sharding", "user_hash_secret", "counter", "server"}
	freeFields  = []string{"server.drain_grace"}
)

// Common gives the config without what is this node's own: its name, and its addresses. Nodes that are
// configured alike have the same hash of it.
func (c *Config) Common() any {
	common := *c
	common.Self, common.Listen, common.Service = "", "", service.Config{}
	return common
}

// CheckReload reports the fields that differ from what runs and cannot be changed.
func (s *Server) CheckReload(next *Config, p *config.Problems) {
	for _, path := range config.Changed(&s.plan.Load().cfg, next) {
		in := func(field string) bool { return within(path, field) }
		if slices.ContainsFunc(fixedFields, in) && !slices.ContainsFunc(freeFields, in) {
			p.Addf(path, service.NotWhileRunning)
		}
	}
}

// within reports whether a field is another one or lies in it.
func within(path, field string) bool {
	rest, ok := strings.CutPrefix(path, field)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// Reload takes a config over, which Validate and CheckReload have passed. Requests that are under way
// end by the one with which they began. Whatever keeps its name keeps its state: budgets and buckets,
// queues with those who wait in them, upstreams with their connections and breakers, verified tokens.
func (s *Server) Reload(next Config) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	p, err := s.newPlan(next)
	if err != nil {
		return fmt.Errorf("preparing the changed config: %w", err)
	}
	s.install(p)
	return nil
}

// install makes a plan the one that holds. Nothing in it can fail.
func (s *Server) install(p *plan) {
	s.limiters.apply(p, s.now())
	s.seen.SetLimit(p.cfg.Limits.MaxTrackedUsers)
	s.asked.SetLimit(p.cfg.Limits.MaxTrackedUsers)
	s.upstreams.Apply(p.cfg.Upstreams)
	s.sales.SetLimits(p.cfg.saleLimits())
	s.log.refusals.perSecond.Store(int64(p.cfg.LogRefusalsPerSecond))
	s.plan.Store(p)
}

// saleLimits says how old the local copy of sale state may be.
func (c *Config) saleLimits() salestate.Limits {
	return salestate.Limits{MaxAge: c.StateMaxAge, SoldOutFor: min(c.PollInterval, longestSoldOut) + salestate.VerdictFor}
}

// tokenCache gives the cache of the plan before where its keys and its size are the same, so that
// tokens need not be verified again.
func (s *Server) tokenCache(c *Config) (*tokens.Cache, error) {
	if before := s.plan.Load(); before != nil && before.cfg.TokenCacheEntries == c.TokenCacheEntries && reflect.DeepEqual(before.cfg.Tokens, c.Tokens) {
		return before.tokens, nil
	}
	verifier, err := auth.NewVerifier(c.Tokens)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	return tokens.NewCache(verifier, s.rules, c.TokenCacheEntries), nil
}
