package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/config"
)

// Bounds of a Config.
const (
	MaxUpstreams   = 32
	MaxConnections = 16_384
	MaxTimeout     = 5 * time.Minute
	// MaxIdleTimeout bounds IdleTimeout: our backend closes idle connections after 90 s, and one that
	// both ends close at the same moment costs a write its outcome.
	MaxIdleTimeout = 80 * time.Second
)

// responseHeaderBytes bounds the header of an upstream's answer.
const responseHeaderBytes = 16 << 10

// Config says where an upstream is and how much it is asked at once.
type Config struct {
	Name    string `yaml:"name"`    // a-z, 0-9 and _
	Address string `yaml:"address"` // host:port, plain HTTP
	// Timeout bounds one answer, connecting and waiting for a connection included. Default 5s.
	Timeout time.Duration `yaml:"timeout"`
	// ConnectTimeout bounds connecting. Default 1s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// MaxConnections bounds the connections for orders, and as many again for other calls. Default 256.
	MaxConnections int `yaml:"max_connections"`
	// MaxLongPolls bounds the connections for long polls. Default 1024.
	MaxLongPolls int `yaml:"max_long_polls"`
	// MaxWait is how long a request waits for a connection when all are busy. Default 1s.
	MaxWait time.Duration `yaml:"max_wait"`
	// IdleTimeout closes unused connections; shorter than the upstream's own (90s in our backend), at
	// most MaxIdleTimeout. Default 30s.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// MaxResponseBytes bounds the body of an answer; a longer one is taken for a failure. Default 4 MiB.
	MaxResponseBytes int `yaml:"max_response_bytes"`
}

// DefaultConfig is an upstream with the default bounds.
func DefaultConfig(name, address string) Config {
	return Config{Name: name, Address: address, Timeout: 5 * time.Second, ConnectTimeout: time.Second,
		MaxConnections: 256, MaxLongPolls: 1024, MaxWait: time.Second, IdleTimeout: 30 * time.Second, MaxResponseBytes: 4 << 20}
}

// fill sets what a config file left out of an upstream to the defaults.
func (c *Config) fill() {
	d := DefaultConfig(c.Name, c.Address)
	for _, f := range []struct{ value, standard *time.Duration }{
		{&c.Timeout, &d.Timeout}, {&c.ConnectTimeout, &d.ConnectTimeout}, {&c.MaxWait, &d.MaxWait}, {&c.IdleTimeout, &d.IdleTimeout},
	} {
		if *f.value == 0 {
			*f.value = *f.standard
		}
	}
	for _, f := range []struct{ value, standard *int }{
		{&c.MaxConnections, &d.MaxConnections}, {&c.MaxLongPolls, &d.MaxLongPolls}, {&c.MaxResponseBytes, &d.MaxResponseBytes},
	} {
		if *f.value == 0 {
			*f.value = *f.standard
		}
	}
}

// Validate sets what was left out (zero) to the defaults, and checks each field.
func (c *Config) Validate(p *config.Problems) {
	c.fill()
	if len(c.Name) < 1 || len(c.Name) > 40 || strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		p.Addf("name", "must be 1 to 40 of a-z, 0-9 and _, is %q", c.Name)
	}
	if host, port, err := net.SplitHostPort(c.Address); err != nil || host == "" || port == "" || port == "0" {
		p.Addf("address", "must be host:port such as 127.0.0.1:8090, is %q", c.Address)
	}
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
	for _, f := range []struct {
		field string
		value int
	}{{"max_connections", c.MaxConnections}, {"max_long_polls", c.MaxLongPolls}} {
		if f.value < 1 || f.value > MaxConnections {
			p.Addf(f.field, "must be 1 to %d, is %d", MaxConnections, f.value)
		}
	}
	if c.MaxResponseBytes < 1024 || c.MaxResponseBytes > 256<<20 {
		p.Addf("max_response_bytes", "must be 1024 to %d, is %d", 256<<20, c.MaxResponseBytes)
	}
}

// ErrNotSent says that the upstream certainly has not seen the request: no connection was to be had.
var ErrNotSent = errors.New("upstream not reached")

// Lane keeps the connections of one sort of request apart, so that none starves another.
type Lane int

// The lanes of an upstream.
const (
	Orders Lane = iota
	Calls
	LongPolls
	laneCount
)

// Upstream is a bounded client of one address. It is safe for concurrent use.
type Upstream struct {
	cfg   Config
	lanes [laneCount]*fasthttp.HostClient
}

// New makes an upstream; it connects when first used. The config must be valid.
func New(cfg Config) *Upstream {
	cfg.fill()
	u := &Upstream{cfg: cfg}
	for lane := range u.lanes {
		limit := cfg.MaxConnections
		if Lane(lane) == LongPolls {
			limit = cfg.MaxLongPolls
		}
		u.lanes[lane] = &fasthttp.HostClient{
			Addr:                      cfg.Address,
			NoDefaultUserAgentHeader:  true,
			DialTimeout:               u.dial,
			MaxConns:                  limit,
			MaxConnWaitTimeout:        cfg.MaxWait,
			MaxIdleConnDuration:       cfg.IdleTimeout,
			MaxIdemponentCallAttempts: 1,
			RetryIfErr:                func(*fasthttp.Request, int, error) (bool, bool) { return false, false },
			ReadBufferSize:            responseHeaderBytes,
			MaxResponseBodySize:       cfg.MaxResponseBytes,
			DisablePathNormalizing:    true,
			SecureErrorLogMessage:     true,
			ConnPoolStrategy:          fasthttp.LIFO,
		}
	}
	return u
}

// Name is the upstream's name in the config.
func (u *Upstream) Name() string { return u.cfg.Name }

// Timeout is the upstream's own bound of an answer.
func (u *Upstream) Timeout() time.Duration { return u.cfg.Timeout }

func (u *Upstream) dial(address string, timeout time.Duration) (net.Conn, error) {
	if timeout <= 0 || timeout > u.cfg.ConnectTimeout {
		timeout = u.cfg.ConnectTimeout
	}
	conn, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return conn, nil
}

// Do sends the request once and waits at most timeout for the whole answer. Errors that are ErrNotSent
// say that the upstream has not seen it; with any other it may have.
func (u *Upstream) Do(lane Lane, req *fasthttp.Request, resp *fasthttp.Response, timeout time.Duration) error {
	req.SetHost(u.cfg.Address)
	err := u.lanes[lane].DoTimeout(req, resp, timeout)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fasthttp.ErrNoFreeConns):
		return fmt.Errorf("%w: all %d connections are busy", ErrNotSent, u.lanes[lane].MaxConns)
	case errors.Is(err, ErrNotSent), errors.Is(err, fasthttp.ErrTimeout):
		return err
	}
	// The upstream closed a connection: others that idle are most likely dead as well.
	u.lanes[lane].CloseIdleConnections()
	return err
}

// DoSafe is Do for a request that may be sent twice: one more try follows when the connection was
// closed before an answer began, as happens when the upstream was restarted.
func (u *Upstream) DoSafe(lane Lane, req *fasthttp.Request, resp *fasthttp.Response, timeout time.Duration) error {
	began := time.Now()
	err := u.Do(lane, req, resp, timeout)
	if err == nil || errors.Is(err, ErrNotSent) || errors.Is(err, fasthttp.ErrTimeout) || errors.Is(err, fasthttp.ErrBodyTooLarge) {
		return err
	}
	left := timeout - time.Since(began)
	if left <= 0 {
		return err
	}
	resp.Reset()
	return u.Do(lane, req, resp, left)
}

// Ping reports whether the upstream takes connections.
func (u *Upstream) Ping(ctx context.Context) error {
	d := net.Dialer{Timeout: u.cfg.ConnectTimeout}
	conn, err := d.DialContext(ctx, "tcp", u.cfg.Address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Close closes connections that idle.
func (u *Upstream) Close() {
	for _, lane := range u.lanes {
		lane.CloseIdleConnections()
	}
}
