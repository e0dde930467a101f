package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"headgate.example/lib/queue"
	"headgate.example/lib/store"
)

// Pauses between attempts while something is away.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

var (
	// errStopping ends a wait because the consumer drains; what is not settled returns to the queue.
	errStopping = errors.New("the consumer is stopping")
	// errUnacknowledged: the subscription no longer takes acknowledgements. A new one is opened, so
	// that what the old one holds returns to the queue and does not fill its prefetch.
	errUnacknowledged = errors.New("the queue does not take acknowledgements")
)

// take works off the deliveries of one Receive. An error ends the subscription, which gives back what
// is not settled.
type take func(drain, work context.Context, sub queue.Subscription, deliveries []queue.Delivery) error

// intake keeps a subscription open and works off its batches until drain is done. work ends later: it
// bounds what has been begun.
func (s *Server) intake(drain, work context.Context, topic string, options queue.SubscribeOptions, do take) error {
	pause := s.newPause(drain)
	for {
		sub, err := s.queue.Subscribe(work, topic, options)
		if err == nil {
			err = s.consume(drain, work, sub, pause, do)
			if closeErr := sub.Close(); closeErr != nil {
				s.log.Warn("closing the subscription", "error", closeErr)
			}
		}
		switch {
		case errors.Is(err, errStopping) || drain.Err() != nil:
			return nil
		case errors.Is(err, queue.ErrClosed):
			return fmt.Errorf("consumer: the queue was closed under it: %w", err)
		}
		s.log.Warn("subscribing again", "topic", topic, "error", err)
		if pause.wait() != nil {
			return nil
		}
	}
}

// consume works off the batches of one subscription. It never returns nil.
func (s *Server) consume(drain, work context.Context, sub queue.Subscription, pause *pause, do take) error {
	for {
		deliveries, err := sub.Receive(drain)
		switch {
		case drain.Err() != nil:
			return errStopping // what came with it returns to the queue
		case errors.Is(err, queue.ErrClosed):
			return err
		case err != nil:
			s.log.Warn("the queue does not deliver; trying again", "error", err)
			if err := pause.wait(); err != nil {
				return err
			}
			continue
		}
		if err := do(drain, work, sub, deliveries); err != nil {
			s.log.Info("a batch was left unfinished; its messages return to the queue", "error", err)
			return err
		}
		pause.reset()
	}
}

// oldestOf is when the first of the deliveries was published, now where none says so.
func oldestOf(deliveries []queue.Delivery, now time.Time) time.Time {
	oldest := now
	for i := range deliveries {
		if at := deliveries[i].PublishedAt; at.Before(oldest) && !at.IsZero() && at.Unix() > 0 {
			oldest = at
		}
	}
	return oldest
}

// delivered is a message with the delivery that brought it.
type delivered struct {
	*message
	delivery queue.Delivery
}

// batch works off deliveries: what can be decided is settled and acknowledged at once; what waits for
// a shard of the counter keeps the batch until the shard answers or ParkAfter is over. It returns
// errStopping when the consumer stops first, or errUnacknowledged.
func (s *Server) batch(drain, work context.Context, sub queue.Subscription, deliveries []queue.Delivery) error {
	deliveries, lost := s.loss.of(deliveries)
	if err := s.acknowledge(work, sub, lost); err != nil {
		return err
	}
	s.meter.batch(len(deliveries))
	defer s.meter.hold(oldestOf(deliveries, s.clock.Now()))()
	todo := make([]delivered, len(deliveries))
	for i, d := range deliveries {
		todo[i] = delivered{s.parse(d.Body), d}
	}
	begun := s.clock.Now()
	pause := s.newPause(drain)
	for len(todo) > 0 {
		err := s.decide(work, live(todo))
		if err == nil {
			s.parkOverdue(todo, begun)
			todo, err = s.settle(work, sub, todo)
		}
		if errors.Is(err, errUnacknowledged) {
			return err
		}
		if err != nil {
			s.ledgerAway(err)
		}
		if len(todo) == 0 {
			return nil
		}
		if err := pause.wait(); err != nil {
			return err
		}
	}
	return nil
}

// live are the messages that still have to be asked about.
func live(todo []delivered) []*message {
	asked := make([]*message, 0, len(todo))
	for _, d := range todo {
		if d.verdict == undecided || d.verdict == waiting {
			asked = append(asked, d.message)
		}
	}
	return asked
}

// parkOverdue parks what has waited long enough for its shard. A shard that has been away for that
// long while others answer is not waited for again: the queue goes on without it. While none answers,
// every batch waits its time, so that the queue is not emptied into the ledger.
func (s *Server) parkOverdue(todo []delivered, begun time.Time) {
	now := s.clock.Now()
	s.away.Lock()
	defer s.away.Unlock()
	for _, d := range todo {
		if d.accepted.Order == 0 {
			continue // its ticket did not verify: nobody was asked
		}
		shard := d.accepted.Order.Shard()
		since, known := s.awaySince[shard]
		switch {
		case d.verdict != waiting:
			s.awaySince[shard] = time.Time{}
		case !known || since.IsZero():
			s.awaySince[shard] = now
		}
	}
	othersAnswer := false
	for _, since := range s.awaySince {
		othersAnswer = othersAnswer || since.IsZero()
	}
	for _, d := range todo {
		if d.verdict != waiting {
			continue
		}
		shard := d.accepted.Order.Shard()
		if now.Sub(begun) >= s.cfg.ParkAfter || othersAnswer && now.Sub(s.awaySince[shard]) >= s.cfg.ParkAfter {
			d.as(parked, fmt.Sprintf("shard %d of the counter did not answer for %s", shard, s.cfg.ParkAfter))
		}
	}
}

// settle stores dead letters and parked messages, acknowledges all that the ledger has, and returns
// what is left. An error is the ledger's; what failed is in the rest, too.
func (s *Server) settle(ctx context.Context, sub queue.Subscription, todo []delivered) ([]delivered, error) {
	var rest []delivered
	var done []queue.Delivery
	var park []store.ParkedMessage
	var parking []delivered
	var failed error
	for _, d := range todo {
		switch d.verdict {
		case settled:
			done = append(done, d.delivery)
		case dead:
			if len(d.body) > store.MaxBodyBytes {
				s.refuse(ctx, sub, d)
			} else if err := s.bury(ctx, d.message); err != nil {
				rest, failed = append(rest, d), err
			} else {
				done = append(done, d.delivery)
			}
		case parked:
			park = append(park, store.ParkedMessage{OrderID: d.accepted.Order, Topic: Topic, Body: d.body, Reason: d.why})
			parking = append(parking, d)
		default:
			rest = append(rest, d)
		}
	}
	if len(park) > 0 {
		if err := s.ledger.ParkMessages(ctx, s.cfg.ParkedInterval, park...); err != nil {
			rest, failed = append(rest, parking...), err
		} else {
			for _, d := range parking {
				done = append(done, d.delivery)
			}
			s.meter.parked.Add(len(park))
			s.alarm("parked", "order messages cannot be decided and are parked in the ledger", "messages", len(park), "first", park[0].OrderID, "why", park[0].Reason)
		}
	}
	return rest, errors.Join(failed, s.acknowledge(ctx, sub, done))
}

// bury stores a dead letter. The ledger keeps a message once, however often it is delivered.
func (s *Server) bury(ctx context.Context, m *message) error {
	err := s.ledger.AddDeadLetter(ctx, store.DeadLetter{OrderID: m.accepted.Order, Topic: Topic, Body: m.body, Reason: m.why})
	if err != nil {
		return fmt.Errorf("storing a dead letter: %w", err)
	}
	s.meter.deadLetters.Inc()
	s.log.Error("an order message became a dead letter", "order", m.accepted.Order, "why", m.why, "bytes", len(m.body))
	return nil
}

// refuse leaves a message that is too long for the ledger to the queue's own dead letters. Should that
// fail, it comes again.
func (s *Server) refuse(ctx context.Context, sub queue.Subscription, d delivered) {
	s.meter.deadLetters.Inc()
	s.log.Error("an order message is too long even for the ledger's dead letters", "id", d.delivery.ID, "bytes", len(d.body))
	if err := sub.DeadLetter(ctx, d.why, d.delivery); err != nil {
		s.log.Warn("the queue did not take a dead letter", "error", err)
	}
}

// acknowledge tells the queue what the ledger has. What it cannot acknowledge comes again and finds
// its row; stale deliveries and those of a lost connection do so by themselves.
func (s *Server) acknowledge(ctx context.Context, sub queue.Subscription, done []queue.Delivery) error {
	if len(done) == 0 {
		return nil
	}
	err := sub.Ack(ctx, done...)
	if err == nil {
		return nil
	}
	s.meter.ackFailed.Inc()
	s.log.Warn("messages in the ledger could not be acknowledged; they come again", "messages", len(done), "error", err)
	if errors.Is(err, queue.ErrStale) || errors.Is(err, queue.ErrDisconnected) {
		return nil
	}
	return fmt.Errorf("%w: %w", errUnacknowledged, err)
}

// ledgerAway notes that the ledger failed; consumption pauses and keeps its deliveries.
func (s *Server) ledgerAway(err error) {
	s.meter.ledgerFailed.Inc()
	s.log.Warn("the ledger does not answer; consumption pauses", "error", err)
}

// pause is a growing wait that ends early when the consumer drains.
type pause struct {
	clock Clock
	drain context.Context
	next  time.Duration
}

func (s *Server) newPause(drain context.Context) *pause {
	return &pause{clock: s.clock, drain: drain, next: firstPause}
}

func (p *pause) reset() { p.next = firstPause }

func (p *pause) wait() error {
	d := p.next
	p.next = min(2*p.next, lastPause)
	select {
	case <-p.drain.Done():
		return errStopping
	case <-p.clock.After(d):
		return nil
	}
}
