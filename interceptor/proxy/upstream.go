package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"
)

// responseHeaderBytes bounds the header of an upstream's answer.
const responseHeaderBytes = 16 << 10

// Lane keeps the connections of one sort of request apart, so that none starves another.
type Lane int

// The lanes of an upstream.
const (
	Orders Lane = iota
	Calls
	LongPolls
	laneCount
)

// Options are what an upstream needs besides its config. The zero value will do.
type Options struct {
	Metrics *metrics.Set
	Log     *slog.Logger
	Now     func() time.Time // of pauses; breakers go by the system's clock
}

func (o Options) filled() Options {
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Upstream is a bounded client of a shop's addresses. It is safe for concurrent use.
type Upstream struct {
	name    string
	options Options
	seconds [laneCount]*metrics.PrometheusHistogram

	calm atomic.Bool // every address is well and has room for orders: see settle

	mu       sync.Mutex
	cfg      Config
	backends []*backend
	lanes    [laneCount]lane
	turn     int // where the search among equals begins
}

// lane is what the addresses share of one sort of request.
type lane struct {
	inFlight int
	waiting  []*waiter // in their order; at most MaxWaiting
}

// New makes an upstream; it connects when first used. The config must be valid.
func New(cfg Config, options Options) *Upstream {
	u := &Upstream{name: cfg.Name, options: options.filled()}
	for l, name := range laneNames {
		u.seconds[l] = u.options.Metrics.GetOrCreatePrometheusHistogram(fmt.Sprintf(metricPrefix+"seconds{upstream=%q,lane=%q}", u.name, name))
	}
	u.apply(cfg)
	return u
}

// apply takes a changed config over. Addresses that stay keep their connections, health and breakers.
func (u *Upstream) apply(cfg Config) {
	cfg.fill()
	u.mu.Lock()
	old := u.cfg
	u.cfg = cfg
	var gone, came []*backend
	next := make([]*backend, 0, len(cfg.Addresses))
	for _, address := range cfg.Addresses {
		i := slices.IndexFunc(u.backends, func(b *backend) bool { return b.address == address })
		if i >= 0 {
			u.adjust(u.backends[i], &old)
			next = append(next, u.backends[i])
			continue
		}
		b := &backend{address: address, ill: make(chan struct{}, 1), figures: newBackendFigures(u.options.Metrics, cfg.Name, address)}
		u.adjust(b, nil)
		next, came = append(next, b), append(came, b)
	}
	for _, b := range u.backends {
		if !slices.Contains(next, b) {
			b.removed = true
			gone = append(gone, b)
		}
	}
	u.backends = next
	for l := range u.lanes {
		u.wake(Lane(l))
	}
	u.settle()
	u.mu.Unlock()
	for _, b := range came {
		u.gauges(b)
	}
	for _, b := range gone {
		u.unshow(b)
		b.closeIdle()
	}
}

// adjust gives an address what its config asks for; old is the config before, nil for a new address.
func (u *Upstream) adjust(b *backend, old *Config) {
	c := &u.cfg
	sameClient := old != nil && old.ConnectTimeout == c.ConnectTimeout && old.IdleTimeout == c.IdleTimeout &&
		old.MaxResponseBytes == c.MaxResponseBytes
	for i := range b.lanes {
		l := &b.lanes[i]
		if !sameClient {
			if l.client != nil {
				l.client.CloseIdleConnections() // those under way end by themselves
			}
			l.client = newClient(c, b.address)
		}
		l.client.SetMaxConns(u.connections(Lane(i)))
		if old == nil || old.Breaker != c.Breaker {
			l.breaker = newBreaker(&c.Breaker, l, func() { u.opened(b, Lane(i)) })
		}
	}
}

// opened notes that a breaker opened. It runs under the mutex.
func (u *Upstream) opened(b *backend, lane Lane) {
	b.figures.opened[lane].Inc()
	u.options.Log.Warn("circuit breaker opened", "upstream", u.name, "address", b.address, "lane", laneNames[lane], "for", u.cfg.Breaker.Pause)
}

// connections bounds the requests of a lane at one address.
func (u *Upstream) connections(lane Lane) int {
	if lane == LongPolls {
		return u.cfg.MaxLongPolls
	}
	return u.cfg.MaxConnections
}

// newClient makes the client of one lane of an address. The upstream never gives it more requests than
// it may have connections.
func newClient(c *Config, address string) *fasthttp.HostClient {
	connect := c.ConnectTimeout
	return &fasthttp.HostClient{
		Addr:                     address,
		NoDefaultUserAgentHeader: true,
		DialTimeout: func(address string, timeout time.Duration) (net.Conn, error) {
			if timeout <= 0 || timeout > connect {
				timeout = connect
			}
			return dial(address, timeout)
		},
		MaxIdleConnDuration:       c.IdleTimeout,
		MaxIdemponentCallAttempts: 1,
		RetryIfErr:                func(*fasthttp.Request, int, error) (bool, bool) { return false, false },
		ReadBufferSize:            responseHeaderBytes,
		MaxResponseBodySize:       c.MaxResponseBytes,
		DisablePathNormalizing:    true,
		SecureErrorLogMessage:     true,
		ConnPoolStrategy:          fasthttp.LIFO,
	}
}

func dial(address string, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return newConn(c), nil
}

// Name is the upstream's name in the config.
func (u *Upstream) Name() string { return u.name }

// Timeout is the upstream's own bound of an answer.
func (u *Upstream) Timeout() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.cfg.Timeout
}

// Do sends a request that is no order once, and waits at most timeout for the whole answer. Where it
// certainly did not leave, another address of the upstream is tried, each once. Errors that are
// ErrNotSent say that no address has seen it; with any other one may have.
func (u *Upstream) Do(lane Lane, req *fasthttp.Request, resp *fasthttp.Response, timeout time.Duration) error {
	return u.do(&call{lane: lane}, req, resp, timeout)
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

// DoOrder is Do for an order. A new order comes with what Admit gave; one that an earlier press may
// have sent comes with the zero Admission, and no mark full applies to it.
func (u *Upstream) DoOrder(a *Admission, req *fasthttp.Request, resp *fasthttp.Response, timeout time.Duration) error {
	return u.do(&call{lane: Orders, admission: a, insist: !a.given}, req, resp, timeout)
}

// call is one request on its way through the addresses.
type call struct {
	lane      Lane
	admission *Admission // nil: none
	insist    bool
	tried     []*backend
}

func (u *Upstream) do(c *call, req *fasthttp.Request, resp *fasthttp.Response, timeout time.Duration) error {
	began := time.Now()
	deadline := began.Add(timeout)
	defer u.seconds[c.lane].UpdateDuration(began)
	var last error // why the address before did not get it
	for {
		p, err := u.acquire(c, deadline)
		if err != nil {
			return errors.Join(err, last)
		}
		err = u.try(p, c.lane, req, resp, deadline)
		if err == nil || !errors.Is(err, ErrNotSent) {
			return err
		}
		c.tried, last = append(c.tried, p.backend), err
		resp.Reset()
	}
}

// try sends the request to the address that it was given, and gives the place back, whatever happens: a
// panic counts as a failure.
func (u *Upstream) try(p permit, lane Lane, req *fasthttp.Request, resp *fasthttp.Response, deadline time.Time) (err error) {
	o, retryAfter := outcomeFailed, time.Duration(0)
	defer func() { u.finish(p, lane, o, retryAfter) }()
	o, retryAfter, err = p.send(lane, req, resp, deadline)
	return err
}

// errNoTime says that a request's time was over before it was sent.
var errNoTime = fmt.Errorf("%w: its time was over", ErrNotSent)

// staleTries bounds the connections that are found closed for one request; with each, all that idle
// are given up.
const staleTries = 3

// send sends the request to one address and judges the answer.
func (p *permit) send(lane Lane, req *fasthttp.Request, resp *fasthttp.Response, deadline time.Time) (outcome, time.Duration, error) {
	req.SetHost(p.host)
	for tries := 1; ; tries++ {
		left := time.Until(deadline)
		if left <= 0 {
			return outcomeStale, 0, errNoTime
		}
		err := p.client.DoTimeout(req, resp, left)
		switch {
		case err == nil:
			o, retryAfter := judge(lane, resp)
			return o, retryAfter, nil
		case errors.Is(err, errStale) && tries < staleTries:
			p.client.CloseIdleConnections()
			continue
		case errors.Is(err, errStale):
			return outcomeStale, 0, err
		case errors.Is(err, ErrNotSent):
			return outcomeNotConnected, 0, err
		case errors.Is(err, fasthttp.ErrNoFreeConns): // one that idles too long is being closed
			return outcomeStale, 0, fmt.Errorf("%w: %w", ErrNotSent, err)
		case errors.Is(err, fasthttp.ErrTimeout):
			return outcomeTimeout, 0, err
		default:
			return outcomeFailed, 0, err
		}
	}
}

// Close closes connections that idle.
func (u *Upstream) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, b := range u.backends {
		b.closeIdle()
	}
}

func (b *backend) closeIdle() {
	for i := range b.lanes {
		b.lanes[i].client.CloseIdleConnections()
	}
}
