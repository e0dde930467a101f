package interceptor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"headgate.example/interceptor/peers"
	"headgate.example/interceptor/proxy"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/service"
)

// Validate checks each field and the relations between them.
func (c *Config) Validate(p *config.Problems) {
	c.Service.Validate(p.In("service"))
	if err := service.CheckAddress(c.Listen); err != nil {
		p.Addf("listen", "%v", err)
	}
	c.validatePeers(p)
	c.Tokens.Validate(p.In("tokens"))
	auth.ValidateKeys(p, "ticket_keys", c.TicketKeys)
	auth.ValidateKeys(p, "hop_keys", c.HopKeys)
	c.Counter.Validate(p.In("counter"))
	c.validateRoutes(p)
	c.validateStages(p)
	c.Limits.validate(p.In("limits"))
	c.Strikes.Validate(p.In("strikes"))
	c.trustedPrefixes(func(i int, err error) { p.In("trusted_proxies").Addf(index(i), "%v", err) })
	if c.PollInterval < 10*time.Millisecond || c.PollInterval > 10*time.Second {
		p.Addf("poll_interval", "must be 10ms to 10s, is %s", c.PollInterval)
	}
	if c.StateMaxAge < 2*c.PollInterval || c.StateMaxAge > time.Minute {
		p.Addf("state_max_age", "must be at least twice poll_interval (%s) and at most 1m, is %s", c.PollInterval, c.StateMaxAge)
	}
	if c.TokenCacheEntries < 1 || c.TokenCacheEntries > 10_000_000 {
		p.Addf("token_cache_entries", "must be 1 to 10000000, is %d", c.TokenCacheEntries)
	}
	c.Server.validate(p.In("server"))
	if c.LogRefusalsPerSecond < 0 || c.LogRefusalsPerSecond > 10_000 {
		p.Addf("log_refusals_per_second", "must be 0 to 10000, is %d", c.LogRefusalsPerSecond)
	}
	if longest := c.longestPurchase(); longest >= c.Service.DrainFor {
		p.Addf("service.drain_for", "must be longer than a purchase may take (its queue, three calls of the counter and one of the upstream: %s), is %s",
			longest, c.Service.DrainFor)
	}
}

func (c *Config) validatePeers(p *config.Problems) {
	peers.ValidatePeers(p, c.Self, c.Peers)
	c.Sharding.Validate(p.In("sharding"))
	if n := len(c.UserHashSecret.Reveal()); n != 0 && n < auth.MinSymmetricSecretBytes {
		p.Addf("user_hash_secret", "must be at least %d bytes, or left out, is %d", auth.MinSymmetricSecretBytes, n)
	}
}

func (c *Config) validateRoutes(p *config.Problems) {
	names := map[string]bool{}
	for i := range c.Upstreams {
		at := p.In("upstreams" + index(i))
		c.Upstreams[i].Validate(at)
		if names[c.Upstreams[i].Name] {
			at.Addf("name", "%q is used twice", c.Upstreams[i].Name)
		}
		names[c.Upstreams[i].Name] = true
	}
	if len(c.Upstreams) < 1 || len(c.Upstreams) > proxy.MaxUpstreams {
		p.Addf("upstreams", "must name 1 to %d upstreams, names %d", proxy.MaxUpstreams, len(c.Upstreams))
	}
	if len(c.Routes) < 1 || len(c.Routes) > MaxRoutes {
		p.Addf("routes", "must name 1 to %d routes, names %d", MaxRoutes, len(c.Routes))
	}
	seen := map[string]bool{}
	for i := range c.Routes {
		at := p.In("routes" + index(i))
		c.Routes[i].validate(at, names)
		if seen[c.Routes[i].Name] {
			at.Addf("name", "%q is used twice", c.Routes[i].Name)
		}
		seen[c.Routes[i].Name] = true
		if wait := c.Routes[i].Queue.longest(); wait >= c.Service.DrainFor {
			at.Addf("queue.max_wait", "must be shorter than service.drain_for (%s), is %s", c.Service.DrainFor, wait)
		}
	}
}

func (c *Config) validateStages(p *config.Problems) {
	for name, s := range c.Stages {
		at := p.In("stages." + name)
		switch {
		case !slices.Contains(stageNames, name):
			at.Addf("", "there is no such stage; they are %s", strings.Join(stageNames, ", "))
		case ruleStages[name] != "":
			at.Addf("", "has no mode of its own: set that of %s", ruleStages[name])
		case s.Mode != ModeOff && s.Mode != ModeShadow && s.Mode != ModeEnforce:
			at.Addf("mode", "must be %s, %s or %s, is %q", ModeOff, ModeShadow, ModeEnforce, s.Mode)
		case s.Mode != ModeEnforce && slices.Contains(fixedStages, name):
			at.Addf("mode", "this stage always enforces: nothing works, or anybody may do anything, without it")
		}
	}
}

func (s *Listener) validate(p *config.Problems) {
	for _, t := range []struct {
		field string
		value time.Duration
	}{{"read_timeout", s.ReadTimeout}, {"write_timeout", s.WriteTimeout}, {"idle_timeout", s.IdleTimeout}} {
		if t.value < 100*time.Millisecond || t.value > 10*time.Minute {
			p.Addf(t.field, "must be 100ms to 10m, is %s", t.value)
		}
	}
	if s.HeaderBytes < 4096 || s.HeaderBytes > 64<<10 {
		p.Addf("header_bytes", "must be 4096 to 65536, is %d", s.HeaderBytes)
	}
	if s.MaxConnections < 1 || s.MaxConnections > 1<<20 {
		p.Addf("max_connections", "must be 1 to %d, is %d", 1<<20, s.MaxConnections)
	}
	if s.RequestsPerConnection < 1 {
		p.Addf("requests_per_connection", "must be at least 1, is %d", s.RequestsPerConnection)
	}
	if s.DrainGrace < 0 || s.DrainGrace > time.Minute {
		p.Addf("drain_grace", "must be 0s to 1m, is %s", s.DrainGrace)
	}
}

// routeTimeout is what bounds the upstream's answer on a route.
func (c *Config) routeTimeout(r *Route) time.Duration {
	if r.Timeout != 0 {
		return r.Timeout
	}
	for i := range c.Upstreams {
		if c.Upstreams[i].Name == r.Upstream {
			return c.Upstreams[i].Timeout
		}
	}
	return 0
}

// purchaseTimeout bounds one purchase on a route: ORDER, RESERVE and CONFIRM or ABORT at the counter,
// and the upstream's answer.
func (c *Config) purchaseTimeout(r *Route) time.Duration {
	return 3*c.Counter.Timeout + c.routeTimeout(r)
}

func (c *Config) longestPurchase() time.Duration {
	var longest time.Duration
	for i := range c.Routes {
		if c.Routes[i].kind() == KindReserve {
			longest = max(longest, c.purchaseTimeout(&c.Routes[i])+c.Routes[i].Queue.longest())
		}
	}
	return longest
}

func index(i int) string { return fmt.Sprintf("[%d]", i) }

// plainName accepts what may be a metric's label without escaping.
func plainName(name string) bool {
	return len(name) >= 1 && len(name) <= 40 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// forwardable accepts the names of headers that a route may pass on besides the usual ones.
func forwardable(name string) bool { return proxy.Forwardable(name) }
