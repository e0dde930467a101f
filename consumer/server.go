package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/payment"
	paymentopen "headgate.example/lib/payment/open"
	"headgate.example/lib/queue"
	queueopen "headgate.example/lib/queue/open"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/store"
)

const observeInterval = 5 * time.Second

// Server is one consumer. Make one with Open, then call Run once.
type Server struct {
	cfg     Config
	log     *slog.Logger
	rt      *service.Runtime
	keys    *auth.Keyring
	clock   Clock
	meter   *meter
	counter Counter
	queue   Queue
	ledger  Ledger
	// provider moves the money; nil: there is none.
	provider payment.Provider
	closers  []func() error // what Open opened, in the order of closing

	announcements chan queue.Message // deadline messages to be published

	counterAnswers atomic.Bool // whether the last CONFIRM was answered by any shard
	// awaySince has each shard that orders came from (at most 1024), and since when it does not
	// answer; zero while it does. The workers share it.
	away      sync.Mutex
	awaySince map[int]time.Time // guarded by away

	loss loss // of messages, on purpose: see loss.go
}

// Option replaces a part, for tests. What is replaced is not closed by the Server.
type Option func(*Server)

// WithCounter replaces the counter.
func WithCounter(c Counter) Option { return func(s *Server) { s.counter = c } }

// WithQueue replaces the queue.
func WithQueue(q Queue) Option { return func(s *Server) { s.queue = q } }

// WithLedger replaces the ledger; its tables must be there.
func WithLedger(l Ledger) Option { return func(s *Server) { s.ledger = l } }

// WithProvider replaces the payment provider.
func WithProvider(p payment.Provider) Option { return func(s *Server) { s.provider = p } }

// WithClock replaces the clock by which the consumer waits.
func WithClock(c Clock) Option { return func(s *Server) { s.clock = c } }

// Open connects to database, queue and counter. It waits for the database until ctx is done, and
// migrates it; the broker and the counter may be away. After an error nothing stays open.
func Open(ctx context.Context, cfg Config, rt *service.Runtime, opts ...Option) (*Server, error) {
	if err := config.Check(&cfg); err != nil {
		return nil, err
	}
	keys, err := auth.NewKeyring(cfg.TicketKeys)
	if err != nil {
		return nil, fmt.Errorf("ticket_keys: %w", err)
	}
	s := &Server{cfg: cfg, log: rt.Log, rt: rt, keys: keys, clock: wallClock{}, awaySince: map[int]time.Time{}, announcements: make(chan queue.Message, announceRoom)}
	s.counterAnswers.Store(true) // until it shows otherwise
	for _, o := range opts {
		o(s)
	}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.meter = newMeter(rt.Metrics, s.clock.Now)
	s.registerHealth()
	return s, nil
}

func (s *Server) connect(ctx context.Context) error {
	if s.ledger == nil {
		ledger, err := store.Open(ctx, s.cfg.Database, s.log, s.rt.Health.SetWaiting)
		if err != nil {
			return err
		}
		s.ledger, s.closers = ledger, append(s.closers, ledger.Close)
		if s.provider == nil {
			if s.provider, err = paymentopen.Open(s.cfg.Payment, ledger); err != nil {
				return err
			}
		}
		if err := ledger.Migrate(ctx); err != nil {
			return err
		}
	}
	if s.counter == nil {
		counter, err := client.Open(s.cfg.Counter)
		if err != nil {
			return fmt.Errorf("counter: %w", err)
		}
		s.counter = counter
		s.closers = append(s.closers, func() error { counter.Close(); return nil })
	}
	if s.queue == nil {
		opened, err := queueopen.Open(ctx, s.cfg.Queue, s.log)
		if err != nil {
			return err
		}
		s.queue, s.closers = opened, append(s.closers, opened.Close)
	}
	return nil
}

func (s *Server) registerHealth() {
	s.rt.Health.Register("database", service.Required, s.ledger.Ping)
	s.rt.Health.Register("queue", service.Required, s.queue.Ping)
	s.rt.Health.Register("counter", service.Degraded, func(ctx context.Context) error {
		if asked, ok := s.counter.(interface {
			SaleList(ctx context.Context) ([]sale.Info, error)
		}); ok {
			if _, err := asked.SaleList(ctx); err != nil {
				return err
			}
		}
		if !s.counterAnswers.Load() {
			return errors.New("no shard of the counter answered the last CONFIRM; consumption waits for it")
		}
		return nil
	})
}

// Addr is empty: a consumer listens nowhere but on its admin port.
func (s *Server) Addr() string { return "" }

// Close closes what Open opened, last opened first. For a server whose Run was not called.
func (s *Server) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// Run consumes until ctx is done, and stops in this order: no further batch is received, and the one
// in hand is finished, unless that has to wait for something that is away; the subscription closes,
// so that what is not settled returns to the queue at once; the loops finish their round; then queue,
// counter and ledger close. All of it takes at most drain_for.
func (s *Server) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stopTimer := context.AfterFunc(ctx, func() {
		select { // what was begun has this long
		case <-time.After(s.cfg.Service.DrainFor):
			cancel()
		case <-work.Done():
		}
	})
	defer stopTimer()
	loops, stopLoops := context.WithCancel(ctx)
	defer stopLoops()
	var wg sync.WaitGroup
	wg.Go(func() { s.loop(loops, work, "outbox", s.cfg.OutboxInterval, s.relayOutbox) })
	wg.Go(func() { s.loop(loops, work, "sweep", s.cfg.SweepInterval, s.sweep) })
	wg.Go(func() { s.loop(loops, work, "payments", s.cfg.PaymentInterval, s.askPayments) })
	wg.Go(func() { s.loop(loops, work, "refunds", s.cfg.PaymentInterval, s.refund) })
	wg.Go(func() { s.loop(loops, work, "parked", s.cfg.ParkedInterval, s.retryParked) })
	wg.Go(func() { s.loop(loops, work, "backlog", observeInterval, s.observe) })

	announcing, stopAnnouncing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAnnouncing()
	wg.Go(func() { s.publishDeadlines(announcing, work) }) // ends after the intake, which fills it
	wg.Go(func() {                                         // errors as below
		_ = s.intake(loops, work, DeadlineTopic, queue.SubscribeOptions{BatchSize: deadlineBatch, Prefetch: deadlineBatch}, s.endAnnounced)
	})
	wg.Go(func() { // its error is the closed queue's, which the other intake gets, too
		options := queue.SubscribeOptions{BatchSize: deadBatch, Prefetch: deadBatch}
		_ = s.intake(loops, work, queue.DeadTopic(Topic), options, s.keepDead)
	})

	s.rt.Health.SetReady(true)
	s.log.Info("the consumer runs", "topic", Topic, "batch_size", s.cfg.BatchSize, "workers", s.cfg.Workers)
	options := queue.SubscribeOptions{BatchSize: s.cfg.BatchSize, Linger: s.cfg.Linger, Prefetch: 2 * s.cfg.BatchSize}
	failed := make([]error, s.cfg.Workers)
	var workers sync.WaitGroup
	for i := range failed {
		workers.Go(func() { failed[i] = s.intake(ctx, work, Topic, options, s.batch) })
	}
	workers.Wait()
	err := errors.Join(failed...)
	stopLoops()
	stopAnnouncing()
	wg.Wait()
	return errors.Join(err, s.Close())
}

// loop runs rounds of a task at once and then after each interval, without a pause while a round says
// that more waits. A failing task waits longer, up to ten intervals or lastPause, whichever is more.
func (s *Server) loop(stop, work context.Context, name string, interval time.Duration, task func(context.Context) (more bool, err error)) {
	wait := interval
	for stop.Err() == nil {
		more, err := task(work)
		if more && err == nil {
			wait = interval
			continue
		}
		if err != nil && stop.Err() == nil {
			s.log.Warn("a background task failed; it runs again", "task", name, "pause", wait, "error", err)
			wait = min(2*wait, max(10*interval, lastPause))
		} else {
			wait = interval
		}
		select {
		case <-stop.Done():
		case <-s.clock.After(wait):
		}
	}
}
