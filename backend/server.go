package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headgate.example/backend/agreement"
	"headgate.example/backend/repair"
	"headgate.example/backend/revocations"
	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/payment"
	paymentopen "headgate.example/lib/payment/open"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/open"
	"headgate.example/lib/service"
	"headgate.example/lib/store"
)

// pushEvery is how often ledger and counter are compared.
const pushEvery = time.Second

// How long a sign-out everywhere is remembered: as long as any token lives that is signed with the
// configured lifetime, and a week at least, for tokens that somebody else signs.
const (
	keepRevocations = 7 * 24 * time.Hour
	clockMargin     = time.Hour
)

// Counter is what the backend needs of the counter's client.
type Counter interface {
	agreement.Counter
	repair.Counter
	Ban(ctx context.Context, kind, value string, untilMillis int64, reason string) error
	Unban(ctx context.Context, kind, value string) error
	Revoke(ctx context.Context, user string, beforeMillis int64) error
	Rules(ctx context.Context, since int64) (client.Rules, error)
	Close()
}

// Option changes a Server for tests.
type Option func(*Server)

// WithClock replaces time.Now.
func WithClock(now func() time.Time) Option { return func(s *Server) { s.now = now } }

// WithCounter replaces the client that cfg.Counter describes. The server closes it.
func WithCounter(c Counter) Option { return func(s *Server) { s.counter = c } }

// WithQueue replaces the queue that cfg.Queue describes. The server closes it.
func WithQueue(q queue.Queue) Option { return func(s *Server) { s.queue = q } }

// Server is the backend: open, not yet serving. Run serves.
type Server struct {
	config   Config
	log      *slog.Logger
	now      func() time.Time
	health   *service.Health
	listener net.Listener
	http     *http.Server

	store   *store.Store
	queue   queue.Queue
	counter Counter
	tickets *auth.Keyring
	// provider moves the money; nil: nothing can be paid here.
	provider payment.Provider
	hops     *auth.Keyring

	accounts *accounts
	voided   *revocations.Keeper
	book     *saleBook
	waiters  *waiters
	pusher   *agreement.Pusher
	metrics  *figures
	intake   *intake
	auditing chan struct{} // held by the audit or repair that was asked for and runs
	audits   auditWatch

	hopComplaint atomic.Int64 // when bad hop signatures were last complained of, milliseconds; 0: never
}

// Open connects to the ledger (waiting for it as long as ctx allows), the queue and the counter (which
// may be away), migrates if told to, and binds the listener. On an error nothing stays open.
func Open(ctx context.Context, cfg Config, rt *service.Runtime, options ...Option) (*Server, error) {
	if err := config.Check(&cfg); err != nil {
		return nil, err
	}
	s := &Server{config: cfg, log: rt.Log, now: time.Now, health: rt.Health, auditing: make(chan struct{}, 1)}
	for _, option := range options {
		option(s)
	}
	if err := s.open(ctx, rt); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context, rt *service.Runtime) error {
	cfg := &s.config
	signer, err := auth.NewSigner(cfg.Tokens)
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	if s.tickets, err = auth.NewKeyring(cfg.TicketKeys); err != nil {
		return fmt.Errorf("ticket_keys: %w", err)
	}
	if s.hops, err = auth.NewKeyring(cfg.HopKeys); err != nil {
		return fmt.Errorf("hop_keys: %w", err)
	}
	if s.store, err = store.Open(ctx, cfg.Database, s.log, s.health.SetWaiting); err != nil {
		return err
	}
	if cfg.MigrateOnStart {
		if err := s.store.Migrate(ctx); err != nil {
			return err
		}
	}
	if s.queue == nil {
		if s.queue, err = open.Open(ctx, cfg.Queue, s.log); err != nil {
			return err
		}
	}
	if s.counter == nil {
		if s.counter, err = client.Open(cfg.Counter); err != nil {
			return fmt.Errorf("counter: %w", err)
		}
	}
	if s.provider, err = paymentopen.Open(cfg.Payment, s.store); err != nil {
		return err
	}
	s.metrics = newFigures(rt.Metrics)
	s.intake = &intake{queue: s.queue, now: s.now}
	s.voided = revocations.New(s.counter, max(keepRevocations, cfg.Tokens.Lifetime)+clockMargin, s.log)
	s.accounts = &accounts{store: s.store, counter: s.counter, voided: s.voided, log: s.log, passwords: auth.NewPasswords(cfg.Accounts.Hashes), signer: signer, config: cfg.Accounts, now: s.now}
	s.book = &saleBook{ledger: s.store, counter: s.counter, refresh: cfg.Sales.Refresh, now: s.now, log: s.log}
	s.waiters = newWaiters(s.store, s.counter, cfg.Limits.Waiters, s.log)
	s.pusher = agreement.New(s.store, s.counter, s.log)
	s.watchParts(rt.Metrics)
	s.watchMetrics(rt.Metrics)
	s.registerHealth()
	return s.listen()
}

func (s *Server) registerHealth() {
	s.health.Register("ledger", service.Required, s.store.Ping)
	s.health.Register("queue", service.Degraded, s.queue.Ping)
	s.health.Register("counter", service.Degraded, func(ctx context.Context) error {
		list, err := s.counter.SaleList(ctx)
		for i := range list {
			if !list[i].Complete() {
				return fmt.Errorf("no answer from shard %s", strings.Join(list[i].Silent, ", "))
			}
		}
		return err
	})
	s.health.Register("agreement", service.Degraded, func(context.Context) error {
		if n := s.pusher.Stats.Disagree.Load(); n > 0 {
			return fmt.Errorf("%d sales: ledger and counter disagree; see their alarms", n)
		}
		return nil
	})
}

func (s *Server) listen() error {
	mux, err := s.routes()
	if err != nil {
		return err
	}
	listener, err := service.Listen("listen", s.config.Listen)
	if err != nil {
		return err
	}
	s.listener = limitListener(listener, s.config.Limits.Connections)
	s.http = &http.Server{
		Handler:           s.handler(mux),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return nil
}

// Addr is the bound address, host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx is done, then drains and closes everything; nil on a clean stop. It is called
// once.
func (s *Server) Run(ctx context.Context) error {
	parts, stopParts := context.WithCancel(context.WithoutCancel(ctx))
	requests, stopRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRequests()
	s.http.BaseContext = func(net.Listener) context.Context { return requests }

	var running sync.WaitGroup
	running.Go(func() { s.pusher.Run(parts, pushEvery) })
	running.Go(func() { s.waiters.run(parts) })
	running.Go(func() { s.watchAudit(parts) })
	running.Go(func() { s.voided.Run(parts) })
	if s.config.Payment.Provider == payment.Sandbox {
		running.Go(func() { sandbox.NewCourier(s.store, s.notifyAddress(), s.log).Run(parts) })
	}
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	s.log.Info("backend serves", "addr", s.Addr())

	var failure error
	select {
	case <-ctx.Done():
	case err := <-served:
		failure = fmt.Errorf("serving: %w", err)
		served <- nil
	}
	// 1. Long polls end at once with what is known: they would hold up the drain.
	s.waiters.release()
	// 2. No new requests; those under way finish, so that an order whose message is on its way to the
	//    broker still gets its true answer.
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Service.DrainFor)
	defer cancel()
	if err := s.http.Shutdown(draining); err != nil {
		s.log.Warn("requests were still under way when drain_for was over", "drain_for", s.config.Service.DrainFor)
		stopRequests()
		failure = errors.Join(failure, s.http.Close())
	}
	<-served
	// 3. What runs beside the requests; then, with nobody left who uses them, queue, counter, ledger.
	stopParts()
	running.Wait()
	s.book.wait()
	return errors.Join(failure, s.close())
}

// close closes what was opened, users before what they use.
func (s *Server) close() error {
	var errs []error
	if s.listener != nil {
		if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.queue != nil {
		errs = append(errs, s.queue.Close())
	}
	if s.counter != nil {
		s.counter.Close()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// limitListener accepts at most n connections at once; further ones wait in the system's queue.
func limitListener(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}
