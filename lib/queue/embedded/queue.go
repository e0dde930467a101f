package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"headgate.example/lib/queue"
)

// Bounds of a handle.
const (
	maxWaiting    = 4096                   // publish calls that wait for the writer; more wait to get in
	maxCommit     = 2000                   // messages of one transaction, a larger single call apart
	commitGap     = 200 * time.Microsecond // pause after a commit when more is waiting: lets other handles write
	pollEvery     = 10 * time.Millisecond  // how often a waiting Receive looks for other handles' messages
	beatEvery     = 500 * time.Millisecond // how often a subscription says that it lives
	settleTimeout = 10 * time.Second       // longest wait for other writers when claiming or settling

	// Lease is how long after its last sign of life a subscription loses its claims. It bounds how late
	// the messages of a killed process come again.
	Lease = 4 * time.Second
)

// Option changes a handle, for tests.
type Option func(*Queue)

// WithClock replaces the wall clock.
func WithClock(now func() time.Time) Option { return func(q *Queue) { q.now = now } }

// Queue is a handle to the file. It implements queue.Queue.
type Queue struct {
	config queue.Config
	log    *slog.Logger
	now    func() time.Time

	db      *sql.DB
	publish *publisher

	claiming sync.Mutex // guards claim
	claim    *claimer

	mu            sync.Mutex
	subscriptions map[*subscription]bool
	closed        bool

	closing chan struct{}
	done    sync.WaitGroup
}

var _ queue.Queue = (*Queue)(nil)

// Open opens or creates the file cfg.Path, and its folder. ctx bounds the opening only.
func Open(ctx context.Context, cfg queue.Config, log *slog.Logger, options ...Option) (*Queue, error) {
	q := &Queue{
		config: cfg, log: log, now: time.Now,
		subscriptions: map[*subscription]bool{}, closing: make(chan struct{}),
	}
	for _, option := range options {
		option(q)
	}
	if err := q.open(ctx); err != nil {
		_ = q.closeFile() // the first error says more
		return nil, fmt.Errorf("opening the queue's file %s: %w", cfg.Path, err)
	}
	q.done.Go(q.publish.run)
	q.done.Go(q.beat)
	return q, nil
}

func (q *Queue) open(ctx context.Context) error {
	var err error
	if q.db, err = openFile(q.config.Path); err != nil {
		return err
	}
	if err := createSchema(ctx, q.db); err != nil {
		return err
	}
	if q.publish, err = newPublisher(ctx, q); err != nil {
		return err
	}
	q.claim, err = newClaimer(ctx, q.db)
	return err
}

// Depth implements queue.Queue. It reads the topic's whole index: some 100 ms for a million messages.
func (q *Queue) Depth(ctx context.Context, topic string) (queue.Depth, error) {
	if err := queue.CheckTopic(topic); err != nil {
		return queue.Depth{}, err
	}
	if q.isClosed() {
		return queue.Depth{}, queue.ErrClosed
	}
	var d queue.Depth
	now := q.now().UnixMilli()
	err := q.db.QueryRowContext(ctx, `SELECT
			ifnull(sum(visible_at BETWEEN 0 AND ?1), 0), ifnull(sum(visible_at = -1), 0), ifnull(sum(visible_at > ?1), 0),
			(SELECT count(*) FROM message WHERE topic = ?3)
		FROM message WHERE topic = ?2`, now, topic, queue.DeadTopic(topic)).Scan(&d.Ready, &d.Unacked, &d.Delayed, &d.Dead)
	if err != nil {
		return queue.Depth{}, fmt.Errorf("%w: counting messages: %w", queue.ErrStorage, err)
	}
	return d, nil
}

// Ping implements queue.Queue.
func (q *Queue) Ping(ctx context.Context) error {
	if q.isClosed() {
		return queue.ErrClosed
	}
	var n int
	if err := q.db.QueryRowContext(ctx, `SELECT count(*) FROM subscriber`).Scan(&n); err != nil {
		return fmt.Errorf("%w: %w", queue.ErrStorage, err)
	}
	return nil
}

// Close implements queue.Queue. Order: no new work, subscriptions return what they hold, the writer
// finishes its transaction and refuses what waits, then the file is closed.
func (q *Queue) Close() error {
	q.mu.Lock()
	first := !q.closed
	q.closed = true
	subscriptions := q.subscriptions
	q.subscriptions = nil
	q.mu.Unlock()
	if !first {
		q.done.Wait()
		return nil
	}
	close(q.closing)
	for s := range subscriptions {
		s.end()
	}
	q.done.Wait()
	if err := q.closeFile(); err != nil {
		return fmt.Errorf("%w: closing: %w", queue.ErrStorage, err)
	}
	return nil
}

// closeFile closes every connection. The pool by itself closes neither connections that are handed
// out, nor statements prepared on one of them, and SQLite keeps the file open for either.
func (q *Queue) closeFile() error {
	var errs []error
	if q.publish != nil {
		errs = append(errs, q.publish.insert.Close(), q.publish.count.Close(), q.publish.conn.Close())
	}
	if q.claim != nil {
		q.claiming.Lock() // whoever settles at this moment is waited for
		defer q.claiming.Unlock()
		for _, statement := range q.claim.statements {
			errs = append(errs, statement.Close())
		}
		errs = append(errs, q.claim.conn.Close())
	}
	if q.db != nil {
		errs = append(errs, q.db.Close())
	}
	return errors.Join(errs...)
}

func (q *Queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// wake lets waiting subscriptions to a topic look at once.
func (q *Queue) wake(topic string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for s := range q.subscriptions {
		if s.topic == topic {
			s.poke()
		}
	}
}

// beat keeps this handle's subscriptions alive and gives back what dead ones held.
func (q *Queue) beat() {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-q.closing:
			return
		case <-ticker.C:
		}
		q.mu.Lock()
		live := make([]*subscription, 0, len(q.subscriptions))
		for s := range q.subscriptions {
			live = append(live, s)
		}
		q.mu.Unlock()
		if len(live) == 0 {
			continue
		}
		if err := q.beatOnce(live); err != nil {
			q.log.Warn("queue: a sign of life could not be written; held messages may be delivered again", "error", err)
		}
	}
}
