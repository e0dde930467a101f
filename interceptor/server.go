package interceptor

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/counter/client"
	"headgate.example/interceptor/coordinator"
	"headgate.example/interceptor/peers"
	"headgate.example/interceptor/proxy"
	"headgate.example/interceptor/ratelimit"
	"headgate.example/interceptor/rules"
	"headgate.example/interceptor/salestate"
	"headgate.example/interceptor/tokens"
	"headgate.example/interceptor/userkey"
	"headgate.example/lib/problem"
	"headgate.example/lib/service"
)

// newSalesPerSecond bounds the orders for sales that this node has not heard of which are put to the
// counter, so that a sale can be bought from the moment it opens and unknown ids cost little.
const newSalesPerSecond = 20

// longestSoldOut bounds the part of a polling interval for which the fetched state is believed that
// nothing is left. Where state is fetched more seldom, the counter is asked in between.
const longestSoldOut = 250 * time.Millisecond

// Counter is everything that the interceptor asks of the counter. *client.Client is one.
type Counter interface {
	coordinator.Counter
	Watched
}

// Server is an open interceptor: its listener is bound. It holds what lives as long as the process;
// what the config says is in its plan.
type Server struct {
	plan atomic.Pointer[plan] // loaded once a request, by handle
	// reloading is held while a plan is made and installed.
	reloading sync.Mutex
	rt        *service.Runtime
	trouble   atomic.Pointer[error] // of the last question to the counter; nil: none
	clock     func() time.Time
	injected  bool // the clock is not the system's
	opened    time.Time
	listener  *limitedListener
	http      *fasthttp.Server
	close     func() // of what Open made; nil for an injected counter

	refusals map[problem.Code]*refusal // read only
	rules    *rules.Book
	sales    *salestate.State
	counter  Counter
	// upstreams keep what is known of the addresses that a new config names, too.
	upstreams *proxy.Set

	limiters *limiters
	conduct  *conduct
	newSales *ratelimit.Bucket
	hasher   userkey.Hasher
	pressing ratelimit.InFlight
	polling  ratelimit.InFlight // long polls by user
	seen     *ratelimit.Seen
	asked    *ratelimit.Seen // users whom the counter has refused in a sale that is older than this node

	peers      *peers.Set
	vouchedFor [vouchedEntries]atomic.Pointer[tokens.Identity] // identities that came with hops
	hopCalls   sync.Pool
	hopWork    sync.WaitGroup // hops that wait for something

	malformed malformed // headers, between boundBody and the answer
	figures   *figures
	log       *accessLog
	exchanges sync.Pool
	process   [4]byte
	requests  atomic.Uint64 // numbers given out, in blocks
	cells     atomic.Uint32 // of counters, given out
	draining  atomic.Bool

	work       context.Context // of purchases; ends when draining is over
	cancelWork context.CancelFunc
	peering    context.Context // of links to peers; ends last
	stopPeers  context.CancelFunc
}

var _ service.Program = (*Server)(nil)

// Option changes a Server for tests.
type Option func(*Server)

// WithClock replaces the clock. It must not go back.
func WithClock(now func() time.Time) Option {
	return func(s *Server) { s.clock, s.injected = now, true }
}

// WithCounter replaces the counter's client. The caller closes it.
func WithCounter(c Counter) Option {
	return func(s *Server) { s.counter = c }
}

// Open binds the listener and prepares everything; Run serves. It does not wait for counter or upstream.
func Open(_ context.Context, cfg Config, rt *service.Runtime, opts ...Option) (*Server, error) {
	s := &Server{rt: rt, clock: time.Now}
	s.exchanges.New = func() any { return &exchange{cell: s.cells.Add(1)} }
	s.hopCalls.New = newHopCall
	_, _ = rand.Read(s.process[:]) // never fails
	for _, option := range opts {
		option(s)
	}
	s.opened = s.now()
	s.figures = newFigures(rt.Metrics)
	s.upstreams = proxy.NewSet(proxy.Options{Metrics: rt.Metrics, Log: rt.Log, Now: s.now})
	s.log = newAccessLog(rt.Log, cfg.LogRefusalsPerSecond, s.figures.suppressed)
	if err := s.prepareState(&cfg); err != nil {
		return nil, err
	}
	if err := s.connectCounter(cfg.Counter); err != nil {
		return nil, err
	}
	first, err := s.newPlan(cfg)
	if err != nil {
		s.release()
		return nil, err
	}
	s.install(first)
	s.preparePeers(&cfg)
	s.prepareServer(cfg.Server)
	listener, err := service.Listen("listen", cfg.Listen)
	if err != nil {
		s.release()
		return nil, err
	}
	s.listener = newLimitedListener(newPatientListener(listener, rt.Log), cfg.Server, s.fullAnswer)
	s.registerHealth()
	s.registerGauges()
	s.registerPages()
	s.registerRing()
	s.work, s.cancelWork = context.WithCancel(context.Background())
	s.peering, s.stopPeers = context.WithCancel(context.Background())
	return s, nil
}

// prepareState makes what no config replaces.
func (s *Server) prepareState(cfg *Config) (err error) {
	l := &cfg.Limits
	s.refusals = newRefusals(s.figures)
	s.rules = rules.NewBook(rules.DefaultMaxRules)
	s.sales = salestate.New(cfg.saleLimits())
	s.hasher = cfg.UserKeys()
	s.seen = ratelimit.NewSeen(l.MaxTrackedUsers)
	s.asked = ratelimit.NewSeen(l.MaxTrackedUsers)
	s.newSales = ratelimit.NewBucket(newSalesPerSecond, newSalesPerSecond)
	s.conduct = newConduct(s.figures)
	s.limiters, err = newLimiters(l)
	return err
}

// prepareServer makes the HTTP server. Times are bounded by clientConn.
func (s *Server) prepareServer(c Listener) {
	s.http = &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.parseError,
		HeaderReceived:               s.boundBody,
		ExpectHandler:                s.expect,
		ReadBufferSize:               c.HeaderBytes,
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
func (s *Server) connectCounter(cfg client.Config) error {
	if s.counter != nil {
		return nil
	}
	c, err := client.Open(cfg)
	if err != nil {
		return fmt.Errorf("counter: %w", err)
	}
	s.counter, s.close = c, c.Close
	return nil
}

// Addr is the address that the listener is bound to.
func (s *Server) Addr() string { return s.listener.Addr().String() }

func (s *Server) now() time.Time { return s.clock() }

func (s *Server) mono(t time.Time) int64 { return int64(t.Sub(s.opened)) }

// release closes what Open made, after nothing uses it any more.
func (s *Server) release() {
	s.upstreams.Close()
	if s.close != nil {
		s.close()
	}
}
