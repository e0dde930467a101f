package interceptor

import (
	"errors"
	"net/netip"
	"time"

	"headgate.example/counter/client"
	"headgate.example/interceptor/peers"
	"headgate.example/interceptor/proxy"
	"headgate.example/interceptor/strikes"
	"headgate.example/interceptor/userkey"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
)

// Config is the interceptor's configuration. DefaultConfig documents the defaults.
type Config struct {
	Service service.Config `yaml:"service"`
	// Listen is host:port of the edge. Default 127.0.0.1:8080.
	Listen string `yaml:"listen"`
	// Self is this node's name among Peers. Default "edge-1".
	Self string `yaml:"self"`
	// Peers are all interceptors, this one included; the same list on each. More may be listed than are
	// running: users are spread over those that live. Default: this node only.
	Peers []peers.Peer `yaml:"peers"`
	// Sharding bounds what interceptors do among themselves.
	Sharding peers.Config `yaml:"sharding"`
	// UserHashSecret keys the hash that spreads users over interceptors; the same on each, at least 16
	// bytes. Nodes that differ in it are no peers: while it changes from node to node, users have two owners.
	// Default: derived from the first of hop_keys; set it before changing that one.
	UserHashSecret config.Secret `yaml:"user_hash_secret"`
	// Tokens are the keys of buyers' tokens. The interceptor signs none.
	Tokens auth.TokenConfig `yaml:"tokens"`
	// TicketKeys sign and verify tickets; shared with upstream and consumer.
	TicketKeys []auth.SymmetricKey `yaml:"ticket_keys"`
	// HopKeys sign forwarded requests; shared with the upstream.
	HopKeys []auth.SymmetricKey `yaml:"hop_keys"`
	Counter client.Config       `yaml:"counter"`
	// Upstreams are what requests are forwarded to. Default: "backend" at 127.0.0.1:8090.
	Upstreams []proxy.Config `yaml:"upstreams"`
	// Routes are tried in their order, the first that fits wins. Default: DefaultRoutes.
	Routes []Route `yaml:"routes"`
	// Stages sets the mode of stages by name; a stage that is not named enforces. Limits have modes of
	// their own.
	Stages map[string]Stage `yaml:"stages"`
	Limits Limits           `yaml:"limits"`
	// Strikes are the rules by which refused behaviour leads to timed bans. Default: strikes.DefaultRules.
	Strikes strikes.Rules `yaml:"strikes"`
	// TrustedProxies are addresses or CIDRs whose X-Forwarded-For, X-Forwarded-Proto and X-Request-Id are
	// believed. Default: none.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// PollInterval is the time between two fetches of sale state and rules. Default 200ms, so that a
	// change is seen within 250ms, the answer's way included. The rules are asked for once before
	// serving; until the counter has told them, routes with roles and the writes of people who are signed
	// in are answered with `unavailable`. Then the last known ones hold.
	PollInterval time.Duration `yaml:"poll_interval"`
	// StateMaxAge is the age of the fetched sale state at which new orders are answered with
	// `unavailable`. Default 3s.
	StateMaxAge time.Duration `yaml:"state_max_age"`
	// TokenCacheEntries bounds the cache of verified tokens. Default 200,000 (about 80 MB when full).
	TokenCacheEntries int      `yaml:"token_cache_entries"`
	Server            Listener `yaml:"server"`
	// LogRefusalsPerSecond bounds the refusals that are written to the access log. Default 10.
	LogRefusalsPerSecond int `yaml:"log_refusals_per_second"`
}

// The modes of a stage.
const (
	ModeOff     = "off"     // not run
	ModeShadow  = "shadow"  // run, and what it would have refused is counted
	ModeEnforce = "enforce" // run, and it refuses
)

// Stage is how a stage is run.
type Stage struct {
	Mode string `yaml:"mode"`
}

// Listener are the bounds of the HTTP listener.
type Listener struct {
	// ReadTimeout bounds reading one request, from its first byte. Default 5s.
	ReadTimeout time.Duration `yaml:"read_timeout"`
	// WriteTimeout bounds writing one response; it may take effect as much again later. Default 10s.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// IdleTimeout closes connections without a request, a quarter of it later at most; longer than that of
	// the proxy in front (nginx: 60s). Default 75s.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// HeaderBytes bounds the header of a request; more is answered 431. Default 8192.
	HeaderBytes int `yaml:"header_bytes"`
	// MaxConnections bounds the open connections, each of which costs about 20 KB; further ones are
	// answered with `overloaded` and closed. The process needs as many file descriptors, and a few
	// hundred more. Default 16384.
	MaxConnections int `yaml:"max_connections"`
	// RequestsPerConnection closes a connection after so many. Default 100,000.
	RequestsPerConnection int `yaml:"requests_per_connection"`
	// DrainGrace is how long requests are taken on after health turned red, so that the balancer in
	// front notices. Default 0s.
	DrainGrace time.Duration `yaml:"drain_grace"`
}

// DefaultConfig is complete but for the keys of tokens, tickets and hops.
func DefaultConfig() Config {
	svc := service.DefaultConfig()
	svc.Admin = "127.0.0.1:8181"
	return Config{
		Service:           svc,
		Listen:            "127.0.0.1:8080",
		Self:              "edge-1",
		Peers:             []peers.Peer{{Name: "edge-1", Address: "127.0.0.1:8080"}},
		Sharding:          peers.DefaultConfig(),
		Tokens:            auth.DefaultTokenConfig(),
		Counter:           client.DefaultConfig(),
		Upstreams:         []proxy.Config{ownBackend("127.0.0.1:8090")},
		Routes:            DefaultRoutes(),
		Stages:            map[string]Stage{},
		PollInterval:      200 * time.Millisecond,
		StateMaxAge:       3 * time.Second,
		TokenCacheEntries: 200_000,
		Limits:            defaultLimits(),
		Strikes:           strikes.DefaultRules(),
		Server: Listener{
			ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second,
			HeaderBytes: 8192, MaxConnections: 16_384, RequestsPerConnection: 100_000,
		},
		LogRefusalsPerSecond: 10,
	}
}

// ownBackend is the backend that comes with Headgate as an upstream.
func ownBackend(address string) proxy.Config {
	c := proxy.DefaultConfig("backend", address)
	c.Health.Path = "/healthz"
	return c
}

// UserKeys makes the keys by which users are spread over interceptors.
func (c *Config) UserKeys() userkey.Hasher {
	secret := c.UserHashSecret
	if secret == "" && len(c.HopKeys) > 0 {
		secret = c.HopKeys[0].Secret
	}
	return userkey.New([]byte(secret.Reveal()))
}

// PeerNames lists the names of Peers.
func (c *Config) PeerNames() []string {
	names := make([]string, len(c.Peers))
	for i := range c.Peers {
		names[i] = c.Peers[i].Name
	}
	return names
}

// trustedPrefixes parses TrustedProxies.
func (c *Config) trustedPrefixes(report func(i int, err error)) []netip.Prefix {
	var list []netip.Prefix
	for i, text := range c.TrustedProxies {
		prefix, err := sale.ParseNetwork(text)
		var wrong *sale.FieldError
		if errors.As(err, &wrong) {
			report(i, errors.New(wrong.Reason))
			continue
		}
		list = append(list, prefix)
	}
	return list
}

var _ config.Validator = (*Config)(nil)
