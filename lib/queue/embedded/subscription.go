package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"headgate.example/lib/queue"
)

// subscription implements queue.Subscription. Its claims in the table belong to owner; held maps the
// numbers of deliveries to rows.
type subscription struct {
	q       *Queue
	topic   string
	options queue.SubscribeOptions
	woken   chan struct{} // room for one
	closing chan struct{}

	mu     sync.Mutex
	owner  int64 // 0: to be registered anew
	held   map[uint64]int64
	number uint64
	closed bool
	ended  chan struct{} // closed when end has finished
}

// Subscribe implements queue.Queue.
func (q *Queue) Subscribe(ctx context.Context, topic string, options queue.SubscribeOptions) (queue.Subscription, error) {
	live, dead := queue.LiveTopic(topic)
	if !dead {
		live = topic
	}
	if err := queue.CheckTopic(live); err != nil {
		return nil, err
	}
	options, err := options.WithDefaults()
	if err != nil {
		return nil, err
	}
	s := &subscription{
		q: q, topic: topic, options: options, held: map[uint64]int64{},
		woken: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	if q.isClosed() {
		return nil, queue.ErrClosed
	}
	if s.owner, err = q.register(ctx, topic); err != nil {
		return nil, fmt.Errorf("subscribing to %s: %w", topic, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed { // its row is reaped by whoever opens the file next
		return nil, queue.ErrClosed
	}
	q.subscriptions[s] = true
	return s, nil
}

// Receive implements queue.Subscription.
func (s *subscription) Receive(ctx context.Context) ([]queue.Delivery, error) {
	var batch []queue.Delivery
	var lingering <-chan time.Time
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		if err := s.claim(ctx, &batch); err != nil {
			if len(batch) > 0 {
				return batch, nil // the next call meets the error again
			}
			return nil, err
		}
		if len(batch) == s.options.BatchSize || len(batch) > 0 && s.options.Linger == 0 {
			return batch, nil
		}
		if len(batch) > 0 && lingering == nil {
			timer := time.NewTimer(s.options.Linger)
			defer timer.Stop()
			lingering = timer.C
		}
		if done, err := s.wait(ctx, poll.C, lingering); done || err != nil {
			if len(batch) > 0 {
				return batch, nil
			}
			return nil, err
		}
	}
}

// wait returns when there may be something to claim; done when the linger is over.
func (s *subscription) wait(ctx context.Context, poll, lingering <-chan time.Time) (done bool, err error) {
	for {
		select {
		case <-s.woken:
			return false, nil
		case <-poll:
			found, err := s.anyDue(ctx)
			if found || err != nil {
				return false, err
			}
		case <-lingering:
			return true, nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-s.closing:
			return false, queue.ErrClosed
		}
	}
}

// anyDue looks without writing.
func (s *subscription) anyDue(ctx context.Context) (bool, error) {
	var one int
	err := s.q.db.QueryRowContext(ctx, `SELECT 1 FROM message WHERE topic = ? AND visible_at BETWEEN 0 AND ? LIMIT 1`,
		s.topic, s.q.now().UnixMilli()).Scan(&one)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case s.isClosed():
		return false, queue.ErrClosed
	default:
		return false, fmt.Errorf("%w: %w", queue.ErrStorage, err)
	}
}

// claim adds to the batch what is due now and fits into the batch and the prefetch limit. It holds
// s.mu all along, so that end and lose see either none or all of it.
func (s *subscription) claim(ctx context.Context, batch *[]queue.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return queue.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.owner == 0 {
		*batch = nil // claimed under the lost number: they come again
		owner, err := s.q.register(ctx, s.topic)
		if err != nil {
			return err
		}
		s.owner = owner
	}
	room := min(s.options.BatchSize-len(*batch), s.options.Prefetch-len(s.held))
	if room <= 0 {
		return nil
	}
	rows, err := s.q.claimDue(ctx, s.owner, s.topic, room)
	if err != nil {
		return err
	}
	for _, r := range rows {
		s.number++
		s.held[s.number] = r.seq
		d := r.delivery
		d.PublishedAt = time.UnixMilli(r.publishedAt).UTC()
		d.Tag = queue.Tag{Session: s.owner, Number: s.number}
		*batch = append(*batch, d)
	}
	return nil
}

// Ack implements queue.Subscription.
func (s *subscription) Ack(ctx context.Context, deliveries ...queue.Delivery) error {
	return s.settle(ctx, deliveries, func(c *claimer, seq int64) (sql.Result, error) {
		return c.remove.ExecContext(context.Background(), seq, s.owner)
	})
}

// HoldBack implements queue.Subscription.
func (s *subscription) HoldBack(ctx context.Context, delay time.Duration, deliveries ...queue.Delivery) error {
	if delay < 0 || delay > queue.MaxDelay {
		return fmt.Errorf("%w: delay %s: want 0 to %s", queue.ErrInvalid, delay, queue.MaxDelay)
	}
	visibleAt := int64(0)
	if delay > 0 {
		visibleAt = s.q.now().UnixMilli() + (delay + time.Millisecond - 1).Milliseconds()
	}
	err := s.settle(ctx, deliveries, func(c *claimer, seq int64) (sql.Result, error) {
		return c.hold.ExecContext(context.Background(), seq, s.owner, visibleAt)
	})
	if delay == 0 {
		s.q.wake(s.topic)
	}
	return err
}

// DeadLetter implements queue.Subscription.
func (s *subscription) DeadLetter(ctx context.Context, reason string, deliveries ...queue.Delivery) error {
	if _, dead := queue.LiveTopic(s.topic); dead {
		return fmt.Errorf("%w: %s holds dead letters already: acknowledge or hold back", queue.ErrInvalid, s.topic)
	}
	to, reason := queue.DeadTopic(s.topic), queue.CutReason(reason)
	err := s.settle(ctx, deliveries, func(c *claimer, seq int64) (sql.Result, error) {
		return c.bury.ExecContext(context.Background(), seq, s.owner, to, reason)
	})
	s.q.wake(to)
	return err
}

// settle applies one statement to each delivery in one transaction.
func (s *subscription) settle(ctx context.Context, deliveries []queue.Delivery, apply func(*claimer, int64) (sql.Result, error)) error {
	if len(deliveries) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: %w", queue.ErrStale, queue.ErrClosed)
	}
	mine := make(map[uint64]int64, len(deliveries))
	stale := 0
	for _, d := range deliveries {
		seq, ok := s.held[d.Tag.Number]
		if _, twice := mine[d.Tag.Number]; !ok || twice || d.Tag.Session != s.owner {
			stale++
			continue
		}
		mine[d.Tag.Number] = seq
	}
	if len(mine) > 0 {
		lost := 0
		err := s.q.change(ctx, func(c *claimer) error {
			for _, seq := range mine {
				result, err := apply(c, seq)
				if err != nil {
					return err
				}
				n, err := result.RowsAffected()
				if err != nil {
					return err
				}
				lost += 1 - int(n)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("settling %d deliveries: %w", len(mine), err)
		}
		for number := range mine {
			delete(s.held, number)
		}
		stale += lost
		s.poke() // there is room under the prefetch limit
	}
	if stale > 0 {
		return fmt.Errorf("%w: %d of %d", queue.ErrStale, stale, len(deliveries))
	}
	return nil
}

// Close implements queue.Subscription.
func (s *subscription) Close() error {
	s.q.mu.Lock()
	delete(s.q.subscriptions, s)
	s.q.mu.Unlock()
	s.end()
	return nil
}

// end gives back what is held and waits until that is done, whoever does it. When it cannot be
// written, the claims come back after Lease.
func (s *subscription) end() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	owner := s.owner
	s.owner, s.held = 0, nil
	s.mu.Unlock()
	if !first {
		<-s.ended
		return
	}
	defer close(s.ended)
	close(s.closing)
	if owner == 0 {
		return
	}
	err := s.q.change(context.Background(), func(c *claimer) error { return c.leave(context.Background(), s.topic, owner) })
	if err != nil {
		s.q.log.Warn("queue: a subscription could not give back what it held; that comes again by itself", "topic", s.topic, "error", err)
		return
	}
	s.q.wake(s.topic)
}

func (s *subscription) poke() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

func (s *subscription) ownerNow() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

func (s *subscription) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// lose forgets what was held under an owner number that others have reaped.
func (s *subscription) lose(owner int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner == owner && !s.closed {
		s.owner, s.held = 0, map[uint64]int64{}
		s.poke()
	}
}
