package rabbitmq

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"headgate.example/lib/config"
	"headgate.example/lib/queue"
)

// Queue is a handle to a broker. It implements queue.Queue.
type Queue struct {
	config    queue.Config
	log       *slog.Logger
	names     names
	publisher *publisher
	counting  chan struct{} // room for one: Depth
	sessions  atomic.Int64  // numbers of consuming sessions; starts at random, so that handles differ

	mu            sync.Mutex
	subscriptions map[*subscription]bool
	closed        bool
}

var _ queue.Queue = (*Queue)(nil)

// Open checks the config and begins to connect in the background; the broker need not be there yet.
func Open(_ context.Context, cfg queue.Config, log *slog.Logger) (*Queue, error) {
	if err := config.Check(&cfg); err != nil {
		return nil, fmt.Errorf("queue config: %w", err)
	}
	if cfg.Driver != queue.RabbitMQ {
		return nil, fmt.Errorf("queue config: driver: %q: want %s", cfg.Driver, queue.RabbitMQ)
	}
	q := &Queue{config: cfg, log: log, names: names{cfg.Prefix}, counting: make(chan struct{}, 1), subscriptions: map[*subscription]bool{}}
	q.sessions.Store(rand.Int64N(1 << 62)) //nolint:gosec // only to differ
	q.publisher = newPublisher(cfg, log)
	q.publisher.done.Go(q.publisher.run)
	return q, nil
}

// Publish implements queue.Queue.
func (q *Queue) Publish(ctx context.Context, topic string, messages []queue.Message) []queue.Outcome {
	if len(messages) == 0 {
		return nil
	}
	if err := queue.CheckTopic(topic); err != nil {
		return queue.RefuseAll(len(messages), err)
	}
	if len(messages) > queue.MaxMessages {
		return queue.RefuseAll(len(messages), fmt.Errorf("%w: %d messages at once: want at most %d", queue.ErrInvalid, len(messages), queue.MaxMessages))
	}
	if err := ctx.Err(); err != nil {
		return queue.RefuseAll(len(messages), err)
	}
	outcomes := make([]queue.Outcome, len(messages))
	letters := make([]letter, 0, len(messages))
	origin := make([]int, 0, len(messages))
	for i := range messages {
		m := &messages[i]
		if err := queue.CheckMessage(m); err != nil {
			outcomes[i] = queue.Outcome{Fate: queue.Refused, Err: err}
			continue
		}
		letters, origin = append(letters, q.newLetter(topic, m)), append(origin, i)
	}
	for j, outcome := range q.publisher.send(ctx, topic, letters) {
		outcomes[origin[j]] = outcome
	}
	return outcomes
}

// Depth implements queue.Queue. The broker does not tell what is delivered and not settled. The first
// call ever for a topic declares the queues of all delays, which takes about a second: asking for one
// that does not exist would put an error into the broker's log, time and again. The client's requests
// know no context, and a broker that blocks publishers answers none: one call at a time counts, and it
// is left to itself, until the connection ends at the latest, when its caller's context ends.
func (q *Queue) Depth(ctx context.Context, topic string) (queue.Depth, error) {
	if err := queue.CheckTopic(topic); err != nil {
		return queue.Depth{}, err
	}
	select {
	case q.counting <- struct{}{}:
	case <-ctx.Done():
		return queue.Depth{}, ctx.Err()
	case <-q.publisher.closing:
		return queue.Depth{}, queue.ErrClosed
	}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		<-q.counting
		return queue.Depth{}, queue.ErrClosed
	}
	var d queue.Depth
	var err error
	done := make(chan struct{})
	q.publisher.done.Go(func() { // before Close waits for it
		d, err = q.count(ctx, topic)
		<-q.counting
		close(done)
	})
	q.mu.Unlock()
	select {
	case <-done:
		return d, err
	case <-ctx.Done():
		return queue.Depth{}, ctx.Err()
	}
}

func (q *Queue) count(ctx context.Context, topic string) (queue.Depth, error) {
	top, err := q.publisher.connected(ctx)
	if err != nil {
		return queue.Depth{}, err
	}
	d := queue.Depth{Unacked: queue.UnknownCount}
	if d.Ready, err = top.count(topic, q.names.queue(topic), 0); err != nil {
		return queue.Depth{}, err
	}
	if d.Dead, err = top.count(topic, q.names.dead(topic), 0); err != nil {
		return queue.Depth{}, err
	}
	for _, delay := range delays() {
		if err := ctx.Err(); err != nil {
			return queue.Depth{}, err
		}
		n, err := top.count(topic, q.names.queue(delayKey(topic, delay)), delay)
		if err != nil {
			return queue.Depth{}, err
		}
		d.Delayed += n
	}
	return d, nil
}

// Ping implements queue.Queue.
func (q *Queue) Ping(ctx context.Context) error {
	if _, err := q.publisher.connected(ctx); err != nil {
		return err
	}
	return q.publisher.obstacle()
}

// Close implements queue.Queue. Order: publishing refuses what was not sent, subscriptions return what
// they hold, then what was sent is waited for a little.
func (q *Queue) Close() error {
	q.mu.Lock()
	first := !q.closed
	q.closed = true
	subscriptions := q.subscriptions
	q.subscriptions = nil
	q.mu.Unlock()
	if first {
		close(q.publisher.closing)
		for s := range subscriptions {
			s.end()
		}
	}
	q.publisher.done.Wait()
	return nil
}
