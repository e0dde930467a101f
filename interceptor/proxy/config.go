package proxy

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"headgate.example/lib/config"
)

// Bounds of a Config.
const (
	MaxUpstreams   = 32
	MaxAddresses   = 64
	MaxConnections = 16_384
	MaxWaiting     = 100_000
	MaxTimeout     = 5 * time.Minute
	// MaxIdleTimeout bounds IdleTimeout: our backend closes idle connections after 90 s, and one that
	// both ends close at the same moment costs a write its outcome.
	MaxIdleTimeout = 80 * time.Second
)

// Config says where an upstream is and how much it is asked at once.
type Config struct {
	Name string `yaml:"name"` // a-z, 0-9 and _
	// Addresses are host:port, plain HTTP. All are the same shop: an order that one has taken, the
	// others know. The one with the least requests under way is asked.
	Addresses []string `yaml:"addresses"`
	// Host is the Host header that the upstream is sent. Default: the address.
	Host string `yaml:"host"`
	// Timeout bounds one answer, connecting and waiting for a connection included. Default 5s.
	Timeout time.Duration `yaml:"timeout"`
	// ConnectTimeout bounds connecting. Default 1s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// MaxConnections bounds the connections to one address for orders, and as many again for other
	// calls. Default 256.
	MaxConnections int `yaml:"max_connections"`
	// MaxLongPolls bounds the connections to one address for long polls. Default 1024.
	MaxLongPolls int `yaml:"max_long_polls"`
	// MaxInFlight bounds the orders under way at all addresses together, and as many other calls.
	// Default 0: as many as there may be connections.
	MaxInFlight int `yaml:"max_in_flight"`
	// MaxWait is how long a request waits for its turn when all connections are busy. Default 1s.
	MaxWait time.Duration `yaml:"max_wait"`
	// MaxWaiting bounds the orders that wait for their turn, the other calls, and the long polls;
	// further ones are refused at once. Default 1024.
	MaxWaiting int `yaml:"max_waiting"`
	// IdleTimeout closes unused connections; shorter than the upstream's own (90s in our backend), at
	// most MaxIdleTimeout. Default 30s.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// MaxResponseBytes bounds the body of an answer; a longer one is taken for a failure. Default 4 MiB.
	MaxResponseBytes int `yaml:"max_response_bytes"`

	Health  Health  `yaml:"health"`
	Eject   Eject   `yaml:"eject"`
	Breaker Breaker `yaml:"breaker"`
}

// Health is how each address is asked whether it is well.
type Health struct {
	Off bool `yaml:"off"` // do not ask
	// Path is asked with GET: 2xx or 3xx is well; 503 with Headgate-Code `overloaded` or `unavailable` is
	// well, but takes no orders until it says otherwise. Default "": connecting is enough.
	Path string `yaml:"path"`
	// Interval is the time between two checks, a fifth more or less. Default 1s.
	Interval time.Duration `yaml:"interval"`
	// Timeout bounds one check. Default 1s.
	Timeout time.Duration `yaml:"timeout"`
	// DownAfter failed checks in a row take the address out. Default 3.
	DownAfter int `yaml:"down_after"`
	// UpAfter good checks in a row bring it back. Default 2.
	UpAfter int `yaml:"up_after"`
}

// Eject is how an address is spared that cannot be connected to.
type Eject struct {
	// After failed connects in a row the address is left alone for Pause. Default 3.
	After int `yaml:"after"`
	// Pause is doubled each time that the one request which then tries it fails. Default 1s.
	Pause time.Duration `yaml:"pause"`
	// MaxPause bounds the pause. Default 30s.
	MaxPause time.Duration `yaml:"max_pause"`
}

// Breaker is the circuit breaker that each address has for orders, for other calls, and for long polls.
type Breaker struct {
	Off bool `yaml:"off"`
	// Ratio of failures at which it opens: no connection, no answer, or one that says that the shop is
	// broken. Default 0.6.
	Ratio float64 `yaml:"ratio"`
	// Requests that must have ended within Window before it may open. Default 10.
	Requests int `yaml:"requests"`
	// Window is the time over which failures are counted. Default 10s.
	Window time.Duration `yaml:"window"`
	// Pause is how long it stays open before requests try again, one at a time. Default 5s.
	Pause time.Duration `yaml:"pause"`
	// Probes that must go well, one after the other, before it closes. Default 3.
	Probes int `yaml:"probes"`
}

// DefaultConfig is an upstream with the default bounds.
func DefaultConfig(name string, addresses ...string) Config {
	c := Config{Name: name, Addresses: addresses}
	c.fill()
	return c
}

// orDefault sets a value that was left out.
func orDefault[T comparable](value *T, standard T) {
	var zero T
	if *value == zero {
		*value = standard
	}
}

// fill sets what a config file left out of an upstream to the defaults.
func (c *Config) fill() {
	orDefault(&c.Timeout, 5*time.Second)
	orDefault(&c.ConnectTimeout, min(time.Second, c.Timeout))
	orDefault(&c.MaxConnections, 256)
	orDefault(&c.MaxLongPolls, 1024)
	orDefault(&c.MaxWait, min(time.Second, c.Timeout))
	orDefault(&c.MaxWaiting, 1024)
	orDefault(&c.IdleTimeout, 30*time.Second)
	orDefault(&c.MaxResponseBytes, 4<<20)
	orDefault(&c.Health.Interval, time.Second)
	orDefault(&c.Health.Timeout, time.Second)
	orDefault(&c.Health.DownAfter, 3)
	orDefault(&c.Health.UpAfter, 2)
	orDefault(&c.Eject.After, 3)
	orDefault(&c.Eject.Pause, time.Second)
	orDefault(&c.Eject.MaxPause, max(30*time.Second, c.Eject.Pause))
	orDefault(&c.Breaker.Ratio, 0.6)
	orDefault(&c.Breaker.Requests, 10)
	orDefault(&c.Breaker.Window, 10*time.Second)
	orDefault(&c.Breaker.Pause, 5*time.Second)
	orDefault(&c.Breaker.Probes, 3)
}

// Validate sets what was left out (zero) to the defaults, and checks each field.
func (c *Config) Validate(p *config.Problems) {
	c.fill()
	if len(c.Name) < 1 || len(c.Name) > 40 || strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		p.Addf("name", "must be 1 to 40 of a-z, 0-9 and _, is %q", c.Name)
	}
	c.validateAddresses(p)
	c.validateTimes(p)
	c.validateCounts(p)
	c.Health.validate(p.In("health"))
	c.Eject.validate(p.In("eject"))
	c.Breaker.validate(p.In("breaker"))
}

func (c *Config) validateAddresses(p *config.Problems) {
	if len(c.Addresses) < 1 || len(c.Addresses) > MaxAddresses {
		p.Addf("addresses", "must name 1 to %d addresses, names %d", MaxAddresses, len(c.Addresses))
	}
	for i, address := range c.Addresses {
		at := p.In("addresses")
		index := fmt.Sprintf("[%d]", i)
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" || port == "0" {
			at.Addf(index, "must be host:port such as 127.0.0.1:8090, is %q", address)
		}
		if slices.Index(c.Addresses, address) < i {
			at.Addf(index, "%q is named twice", address)
		}
	}
	if len(c.Host) > 255 || strings.ContainsFunc(c.Host, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' }) {
		p.Addf("host", "must be a host as in shop.example or shop.example:8080, or left out, is %q", c.Host)
	}
}

func (c *Config) validateTimes(p *config.Problems) {
	if c.Timeout < 10*time.Millisecond || c.Timeout > MaxTimeout {
		p.Addf("timeout", "must be 10ms to %s, is %s", MaxTimeout, c.Timeout)
	}
	if c.ConnectTimeout < time.Millisecond || c.ConnectTimeout > c.Timeout {
		p.Addf("connect_timeout", "must be 1ms to timeout (%s), is %s", c.Timeout, c.ConnectTimeout)
	}
	if c.MaxWait < 0 || c.MaxWait > c.Timeout {
		p.Addf("max_wait", "must be at most timeout (%s), is %s", c.Timeout, c.MaxWait)
	}
	if c.IdleTimeout < 100*time.Millisecond || c.IdleTimeout > MaxIdleTimeout {
		p.Addf("idle_timeout", "must be 100ms to %s, and below the time after which the upstream closes idle connections (our backend: 90s), is %s", MaxIdleTimeout, c.IdleTimeout)
	}
}

func (c *Config) validateCounts(p *config.Problems) {
	for _, f := range []struct {
		field             string
		value, least, max int
	}{
		{"max_connections", c.MaxConnections, 1, MaxConnections},
		{"max_long_polls", c.MaxLongPolls, 1, MaxConnections},
		{"max_in_flight", c.MaxInFlight, 0, MaxAddresses * MaxConnections},
		{"max_waiting", c.MaxWaiting, 1, MaxWaiting},
		{"max_response_bytes", c.MaxResponseBytes, 1024, 256 << 20},
	} {
		if f.value < f.least || f.value > f.max {
			p.Addf(f.field, "must be %d to %d, is %d", f.least, f.max, f.value)
		}
	}
}

func (h *Health) validate(p *config.Problems) {
	if h.Path != "" && !strings.HasPrefix(h.Path, "/") || strings.ContainsAny(h.Path, " \t\r\n#") {
		p.Addf("path", "must start with a slash, or be left out, is %q", h.Path)
	}
	if h.Interval < 10*time.Millisecond || h.Interval > time.Minute {
		p.Addf("interval", "must be 10ms to 1m, is %s", h.Interval)
	}
	if h.Timeout < time.Millisecond || h.Timeout > time.Minute {
		p.Addf("timeout", "must be 1ms to 1m, is %s", h.Timeout)
	}
	if h.DownAfter < 1 || h.DownAfter > 100 {
		p.Addf("down_after", "must be 1 to 100, is %d", h.DownAfter)
	}
	if h.UpAfter < 1 || h.UpAfter > 100 {
		p.Addf("up_after", "must be 1 to 100, is %d", h.UpAfter)
	}
}

func (e *Eject) validate(p *config.Problems) {
	if e.After < 1 || e.After > 1000 {
		p.Addf("after", "must be 1 to 1000, is %d", e.After)
	}
	if e.Pause < 10*time.Millisecond || e.Pause > time.Minute {
		p.Addf("pause", "must be 10ms to 1m, is %s", e.Pause)
	}
	if e.MaxPause < e.Pause || e.MaxPause > 10*time.Minute {
		p.Addf("max_pause", "must be pause (%s) to 10m, is %s", e.Pause, e.MaxPause)
	}
}

func (b *Breaker) validate(p *config.Problems) {
	if !(b.Ratio > 0 && b.Ratio <= 1) {
		p.Addf("ratio", "must be above 0 and at most 1, is %v", b.Ratio)
	}
	if b.Requests < 1 || b.Requests > 1_000_000 {
		p.Addf("requests", "must be 1 to 1000000, is %d", b.Requests)
	}
	if b.Window < time.Second || b.Window > 10*time.Minute {
		p.Addf("window", "must be 1s to 10m, is %s", b.Window)
	}
	if b.Pause < 10*time.Millisecond || b.Pause > 10*time.Minute {
		p.Addf("pause", "must be 10ms to 10m, is %s", b.Pause)
	}
	if b.Probes < 1 || b.Probes > 1000 {
		p.Addf("probes", "must be 1 to 1000, is %d", b.Probes)
	}
}
