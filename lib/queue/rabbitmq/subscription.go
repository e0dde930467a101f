package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/queue"
)

// subscription implements queue.Subscription over one session after another.
type subscription struct {
	q       *Queue
	topic   string
	options queue.SubscribeOptions
	ctx     context.Context // ends with the subscription
	cancel  context.CancelFunc
	ended   chan struct{} // closed when end has finished

	receiving  sync.Mutex     // one Receive at a time; guards the next three
	connecting chan connected // an attempt under way
	wait       pauses
	began      time.Time // of the current session

	mu      sync.Mutex
	session *session // nil: none
	closed  bool
	work    sync.WaitGroup // attempts to connect; added to under mu while not closed
}

type connected struct {
	session *session
	err     error
}

// Subscribe implements queue.Queue. The first Receive connects.
func (q *Queue) Subscribe(_ context.Context, topic string, options queue.SubscribeOptions) (queue.Subscription, error) {
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
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, queue.ErrClosed
	}
	s := &subscription{q: q, topic: topic, options: options, ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	q.subscriptions[s] = true
	return s, nil
}

// Receive implements queue.Subscription.
func (s *subscription) Receive(ctx context.Context) ([]queue.Delivery, error) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	session, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	var batch []queue.Delivery
	var lingering <-chan time.Time
	for len(batch) < s.options.BatchSize {
		select {
		case d, ok := <-session.deliveries:
			if !ok {
				return nil, s.lost(session) // what the batch holds is void and comes again
			}
			batch = append(batch, session.take(&d))
			continue
		default: // only an empty channel makes a batch end or wait
		}
		if len(batch) > 0 && s.options.Linger == 0 {
			break
		}
		if len(batch) > 0 && lingering == nil {
			timer := time.NewTimer(s.options.Linger)
			defer timer.Stop()
			lingering = timer.C
		}
		select {
		case d, ok := <-session.deliveries:
			if !ok {
				return nil, s.lost(session)
			}
			batch = append(batch, session.take(&d))
		case <-lingering:
			return batch, nil
		case <-ctx.Done():
			if len(batch) > 0 {
				return batch, nil
			}
			return nil, ctx.Err()
		case <-s.ctx.Done():
			return nil, queue.ErrClosed
		}
	}
	return batch, nil
}

// lost says why a session has ended.
func (s *subscription) lost(session *session) error {
	if s.ctx.Err() != nil {
		return queue.ErrClosed
	}
	err := session.why()
	s.mu.Lock()
	if s.session == session {
		s.session = nil
	}
	s.mu.Unlock()
	s.work.Go(session.close)
	s.q.log.Warn("queue: a subscription lost its broker", "topic", s.topic, "error", err)
	return err
}

// connect gives the live session or makes one, waiting between attempts. An attempt goes on when ctx
// ends; the next call finds it.
func (s *subscription) connect(ctx context.Context) (*session, error) {
	s.mu.Lock()
	session, closed := s.session, s.closed
	s.mu.Unlock()
	if closed {
		return nil, queue.ErrClosed
	}
	if session != nil {
		return session, nil
	}
	if s.connecting == nil && !s.attempt() {
		return nil, queue.ErrClosed
	}
	select {
	case c := <-s.connecting:
		s.connecting = nil
		if c.err != nil {
			if s.ctx.Err() != nil {
				return nil, queue.ErrClosed
			}
			return nil, c.err
		}
		return s.adopt(c.session)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ctx.Done():
		return nil, queue.ErrClosed
	}
}

// attempt begins to connect, after a pause unless the last session lived long.
func (s *subscription) attempt() bool {
	pause := time.Duration(0)
	if !s.began.IsZero() {
		if time.Since(s.began) > livedLong {
			s.wait.reset()
		}
		pause = s.wait.pause()
	}
	s.began = time.Now()
	result := make(chan connected, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.connecting = result
	s.work.Go(func() {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			result <- connected{err: queue.ErrClosed}
			return
		}
		session, err := s.open()
		if s.ctx.Err() != nil && session != nil { // nobody will look
			session.close()
			session, err = nil, queue.ErrClosed
		}
		result <- connected{session, err}
	})
	return true
}

// adopt makes a session the current one.
func (s *subscription) adopt(session *session) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.work.Go(session.close) // end waits for it below its own lock
		return nil, queue.ErrClosed
	}
	s.session = session
	return session, nil
}

// Close implements queue.Subscription.
func (s *subscription) Close() error {
	s.q.mu.Lock()
	delete(s.q.subscriptions, s)
	s.q.mu.Unlock()
	s.end()
	return nil
}

// end closes the session, which returns what is held, and waits for every goroutine.
func (s *subscription) end() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	current := s.session
	s.session = nil
	s.mu.Unlock()
	if !first {
		<-s.ended
		return
	}
	defer close(s.ended)
	s.cancel()
	if current != nil {
		current.close()
	}
	s.receiving.Lock() // a Receive that was under way has seen the end
	pending := s.connecting
	s.connecting = nil
	s.receiving.Unlock()
	s.work.Wait()
	if pending != nil {
		if c := <-pending; c.session != nil {
			c.session.close()
		}
	}
}

// live gives the session that deliveries belong to.
func (s *subscription) live(deliveries []queue.Delivery) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("%w: %w", queue.ErrStale, queue.ErrClosed)
	}
	if s.session == nil {
		return nil, fmt.Errorf("%w: %d of %d: the connection was lost", queue.ErrStale, len(deliveries), len(deliveries))
	}
	return s.session, nil
}

// Ack implements queue.Subscription.
func (s *subscription) Ack(_ context.Context, deliveries ...queue.Delivery) error {
	if len(deliveries) == 0 {
		return nil
	}
	session, err := s.live(deliveries)
	if err != nil {
		return err
	}
	tags, _ := session.claim(deliveries)
	if err := session.ack(tags); err != nil {
		return err
	}
	return staleness(len(deliveries)-len(tags), len(deliveries))
}

// HoldBack implements queue.Subscription.
func (s *subscription) HoldBack(ctx context.Context, delay time.Duration, deliveries ...queue.Delivery) error {
	if delay < 0 || delay > queue.MaxDelay {
		return fmt.Errorf("%w: delay %s: want 0 to %s", queue.ErrInvalid, delay, queue.MaxDelay)
	}
	exchange, key := s.q.names.exchange(), s.topic
	if live, dead := queue.LiveTopic(s.topic); dead {
		exchange, key = s.q.names.deadExchange(), live
	}
	return s.move(ctx, s.topic, deliveries, func(copied *amqp.Publishing) letter {
		l := letter{exchange: exchange, key: key, content: *copied}
		if delay > 0 {
			l.exchange = s.q.names.exchange()
			l.postpone(s.topic, delay)
		}
		return l
	})
}

// DeadLetter implements queue.Subscription.
func (s *subscription) DeadLetter(ctx context.Context, reason string, deliveries ...queue.Delivery) error {
	if _, dead := queue.LiveTopic(s.topic); dead {
		return fmt.Errorf("%w: %s holds dead letters already: acknowledge or hold back", queue.ErrInvalid, s.topic)
	}
	reason = queue.CutReason(reason)
	return s.move(ctx, s.topic, deliveries, func(copied *amqp.Publishing) letter {
		copied.Headers[headerReason] = reason
		return letter{exchange: s.q.names.deadExchange(), key: s.topic, content: *copied}
	})
}

// move publishes a copy of each delivery and acknowledges the originals of those that were confirmed.
// The others stay the subscription's.
func (s *subscription) move(ctx context.Context, topic string, deliveries []queue.Delivery, address func(*amqp.Publishing) letter) error {
	if len(deliveries) == 0 {
		return nil
	}
	session, err := s.live(deliveries)
	if err != nil {
		return err
	}
	tags, originals := session.claim(deliveries)
	letters := make([]letter, len(tags))
	for i, d := range originals {
		letters[i] = address(copyOf(d))
	}
	moved := make([]uint64, 0, len(tags))
	var failed error
	for i, outcome := range s.q.publisher.send(ctx, topic, letters) {
		if outcome.Fate == queue.Confirmed {
			moved = append(moved, tags[i])
			continue
		}
		session.restore(tags[i])
		if failed == nil {
			failed = fmt.Errorf("moving delivery %q: %w", originals[i].MessageId, outcome.Err)
		}
	}
	if err := session.ack(moved); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	return staleness(len(deliveries)-len(tags), len(deliveries))
}

func staleness(stale, of int) error {
	if stale == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d", queue.ErrStale, stale, of)
}
