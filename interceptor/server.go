package interceptor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"

	"headgate.example/counter/client"
	"headgate.example/hashring"
	"headgate.example/interceptor/coordinator"
	"headgate.example/interceptor/proxy"
	"headgate.example/interceptor/ratelimit"
	"headgate.example/interceptor/route"
	"headgate.example/interceptor/rules"
	"headgate.example/interceptor/salestate"
	"headgate.example/interceptor/tokens"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/service"
)

// newSalesPerSecond bounds the orders for sales that this node has not heard of which are put to the
// counter, so that a sale can be bought from the moment it opens and unknown ids cost little.
const newSalesPerSecond = 20

// longestSoldOut bounds the part of a polling interval for which the fetched state is believed that
// nothing is left. Where state is fetched more seldom, the counter is asked in between.
const longestSoldOut = 250 * time.Millisecond

// retryInterval is the least time between two retries of one user.
const retryInterval = time.Second

// Counter is everything that the interceptor asks of the counter. *client.Client is one.
type Counter interface {
	coordinator.Counter
	Watched
}

// Server is an open interceptor: its listener is bound.
type Server struct {
	cfg      Config
	rt       *service.Runtime
	clock    func() time.Time
	opened   time.Time
	listener *limitedListener
	http     *fasthttp.Server
	close    func() // of what Open made; nil for an injected counter

	table          *route.Table
	routes         []boundRoute
	upstreams      []*upstream
	chain          []stage
	refusals       map[problem.Code]problem.Problem // templates, read only
	trustedProxies []netip.Prefix
	budgetPolicy   string

	tokens      *tokens.Cache
	tickets     *auth.Keyring
	hops        *auth.Keyring
	rules       *rules.Book
	sales       *salestate.State
	ring        *hashring.Ring
	watched     Watched
	coordinator *coordinator.Coordinator

	node     *rate.Limiter // nil: no limit
	newSales *rate.Limiter
	hasher   ratelimit.Hasher
	interval *ratelimit.Limiter
	retries  *ratelimit.Limiter
	bucket   *ratelimit.Limiter
	pressing ratelimit.InFlight
	polling  ratelimit.InFlight // long polls by user
	seen     *ratelimit.Seen
	asked    *ratelimit.Seen // users whom the counter has refused in a sale that is older than this node

	figures   *figures
	log       *accessLog
	exchanges sync.Pool
	process   [4]byte
	requests  atomic.Uint64
	draining  atomic.Bool

	work       context.Context // of purchases; ends when draining is over
	cancelWork context.CancelFunc
}

var _ service.Program = (*Server)(nil)

// Option changes a Server for tests.
type Option func(*Server)

// WithClock replaces the clock. It must not go back.
func WithClock(now func() time.Time) Option { return func(s *Server) { s.clock = now } }

// WithCounter replaces the counter's client. The caller closes it.
func WithCounter(c Counter) Option {
	return func(s *Server) {
		s.watched, s.coordinator = c, coordinator.New(c, s.tickets)
	}
}

// Open binds the listener and prepares everything; Run serves. It does not wait for counter or upstream.
func Open(_ context.Context, cfg Config, rt *service.Runtime, opts ...Option) (*Server, error) {
	s := &Server{cfg: cfg, rt: rt, clock: time.Now}
	s.exchanges.New = func() any { return &exchange{} }
	_, _ = rand.Read(s.process[:]) // never fails
	if err := s.prepareIdentity(); err != nil {
		return nil, err
	}
	if err := s.prepareState(); err != nil {
		return nil, err
	}
	for _, option := range opts {
		option(s)
	}
	s.opened = s.now()
	s.figures = newFigures(rt.Metrics, cfg.Routes)
	s.log = newAccessLog(rt.Log, cfg.LogRefusalsPerSecond, s.figures.suppressed)
	if err := s.prepareRoutes(); err != nil {
		return nil, err
	}
	s.buildChain()
	s.prepareServer()
	if err := s.connectCounter(); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		s.release()
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.listener = newLimitedListener(newPatientListener(listener, rt.Log), cfg.Server.MaxConnections, s.fullAnswer)
	s.registerHealth()
	s.registerGauges()
	s.work, s.cancelWork = context.WithCancel(context.Background())
	return s, nil
}

func (s *Server) prepareIdentity() (err error) {
	verifier, err := auth.NewVerifier(s.cfg.Tokens)
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	if s.tickets, err = auth.NewKeyring(s.cfg.TicketKeys); err != nil {
		return fmt.Errorf("ticket_keys: %w", err)
	}
	if s.hops, err = auth.NewKeyring(s.cfg.HopKeys); err != nil {
		return fmt.Errorf("hop_keys: %w", err)
	}
	s.rules = rules.NewBook(rules.DefaultMaxRules)
	s.tokens = tokens.NewCache(verifier, s.rules, s.cfg.TokenCacheEntries)
	s.refusals = make(map[problem.Code]problem.Problem)
	for _, code := range problem.Codes() {
		s.refusals[code] = *problem.New(code, "")
	}
	return nil
}

func (s *Server) prepareState() (err error) {
	l := &s.cfg.Limits
	s.sales = salestate.New(salestate.Limits{MaxAge: s.cfg.StateMaxAge, SoldOutFor: min(s.cfg.PollInterval, longestSoldOut) + salestate.VerdictFor})
	s.hasher = ratelimit.NewHasher()
	s.seen = ratelimit.NewSeen(l.MaxTrackedUsers)
	s.asked = ratelimit.NewSeen(l.MaxTrackedUsers)
	s.newSales = rate.NewLimiter(newSalesPerSecond, newSalesPerSecond)
	if l.NodeRate > 0 {
		s.node = rate.NewLimiter(rate.Limit(l.NodeRate), l.NodeBurst)
	}
	if s.interval, err = ratelimit.NewLimiter(l.interval()); err != nil {
		return err
	}
	if s.retries, err = ratelimit.NewLimiter(ratelimit.Limits{Interval: retryInterval, Burst: 1, MaxKeys: l.MaxTrackedUsers}); err != nil {
		return err
	}
	if s.bucket, err = ratelimit.NewLimiter(l.bucket()); err != nil {
		return err
	}
	s.budgetPolicy = fmt.Sprintf(`"user";q=%d;w=%d`, l.UserBurst, max(1, int(float64(l.UserBurst)/l.UserRate+0.999)))
	s.ring, err = hashring.New(s.cfg.peerNames(), hashring.DefaultParams())
	return err
}

func (s *Server) prepareRoutes() error {
	var errs []error
	s.trustedProxies = s.cfg.trustedPrefixes(func(_ int, err error) { errs = append(errs, err) })
	byName := map[string]*upstream{}
	for i := range s.cfg.Upstreams {
		u := &upstream{Upstream: proxy.New(s.cfg.Upstreams[i])}
		u.seconds = s.figures.lanes(u.Name())
		s.upstreams = append(s.upstreams, u)
		byName[u.Name()] = u
	}
	entries := make([]route.Entry, 0, len(s.cfg.Routes))
	for i := range s.cfg.Routes {
		r := &s.cfg.Routes[i]
		pattern, err := route.ParsePattern(r.Path)
		if err != nil {
			errs = append(errs, fmt.Errorf("routes[%d].path: %w", i, err))
		}
		if byName[r.Upstream] == nil {
			errs = append(errs, fmt.Errorf("routes[%d].upstream: %q is not the name of one of the upstreams", i, r.Upstream))
		}
		entries = append(entries, route.Entry{Pattern: pattern, Methods: r.Methods})
		s.routes = append(s.routes, boundRoute{Route: *r, index: i, kind: r.kind(), auth: r.auth(), maxBody: r.maxBody(),
			timeout: s.cfg.routeTimeout(r), purchase: s.cfg.purchaseTimeout(r), upstream: byName[r.Upstream], lane: laneOf(r.kind())})
	}
	s.table = route.NewTable(entries)
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

func (s *Server) prepareServer() {
	c := &s.cfg.Server
	maxBody := 0
	for i := range s.routes {
		maxBody = max(maxBody, s.routes[i].maxBody)
	}
	s.http = &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.parseError,
		ReadTimeout:                  c.ReadTimeout,
		WriteTimeout:                 c.WriteTimeout,
		IdleTimeout:                  c.IdleTimeout,
		ReadBufferSize:               c.HeaderBytes,
		MaxRequestBodySize:           maxBody,
		Concurrency:                  2 * c.MaxConnections, // the listener bounds; a closed connection's worker may linger
		MaxRequestsPerConn:           c.RequestsPerConnection,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
		DisablePreParseMultipartForm: true,
		Logger:                       log.New(io.Discard, "", 0), // what it would say of clients' mistakes is counted
	}
}

// connectCounter opens the counter's client, unless one was injected.
func (s *Server) connectCounter() error {
	if s.watched != nil {
		return nil
	}
	c, err := client.Open(s.cfg.Counter)
	if err != nil {
		return fmt.Errorf("counter: %w", err)
	}
	s.watched, s.coordinator, s.close = c, coordinator.New(c, s.tickets), c.Close
	return nil
}

// Addr is the address that the listener is bound to.
func (s *Server) Addr() string { return s.listener.Addr().String() }

func (s *Server) now() time.Time { return s.clock() }

func (s *Server) mono(t time.Time) int64 { return int64(t.Sub(s.opened)) }

// release closes what Open made, after nothing uses it any more.
func (s *Server) release() {
	for _, u := range s.upstreams {
		u.Close()
	}
	if s.close != nil {
		s.close()
	}
}
