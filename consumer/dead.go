package consumer

import (
	"context"
	"time"

	"headgate.example/lib/queue"
	"headgate.example/lib/store"
)

const (
	// deadBatch bounds the dead letters that are taken from the queue at once.
	deadBatch = 100
	// tooLongPause is after how long the queue's dead letter that is too long for the ledger comes again.
	tooLongPause = time.Hour
)

// keepDead moves the queue's own dead letters into the ledger, where operators look, and acknowledges
// them. The queue makes one of a message that came too often without being settled; so does refuse.
// While the ledger is away they stay in hand. A letter that is too long for the ledger stays in the
// queue, and raises an alarm each hour.
func (s *Server) keepDead(drain, work context.Context, sub queue.Subscription, deliveries []queue.Delivery) error {
	pause := s.newPause(drain)
	todo := deliveries
	for {
		rest, err := s.buryAll(work, sub, todo)
		if err == nil {
			return nil
		}
		if todo = rest; len(todo) == 0 {
			return err
		}
		s.ledgerAway(err)
		if err := pause.wait(); err != nil {
			return err
		}
	}
}

// buryAll stores dead letters and acknowledges what the ledger has. With an error, rest are those that
// the ledger did not take; without any, the error is the queue's.
func (s *Server) buryAll(ctx context.Context, sub queue.Subscription, letters []queue.Delivery) (rest []queue.Delivery, err error) {
	var done []queue.Delivery
	for i, d := range letters {
		if len(d.Body) > store.MaxBodyBytes {
			s.alarm("dead_letter_too_long", "a dead letter is too long for the ledger; it stays in the queue", "id", d.ID, "bytes", len(d.Body), "reason", d.Reason)
			if err := sub.HoldBack(ctx, tooLongPause, d); err != nil {
				s.log.Warn("the queue did not take a dead letter back", "error", err)
			}
			continue
		}
		if err = s.bury(ctx, s.deadMessage(d)); err != nil {
			rest = letters[i:]
			break
		}
		done = append(done, d)
	}
	if len(done) > 0 {
		s.alarm("queue_dead_letters", "the queue gave up on messages; they are among the ledger's dead letters", "messages", len(done), "first", done[0].ID, "reason", done[0].Reason)
	}
	if ackErr := s.acknowledge(ctx, sub, done); err == nil {
		err = ackErr
	}
	return rest, err
}

// deadMessage is what the queue's dead letter says of itself, with why it is one.
func (s *Server) deadMessage(d queue.Delivery) *message {
	m := s.parse(d.Body)
	why := d.Reason
	if why == "" {
		why = "among the queue's dead letters without a reason"
	}
	if m.verdict == dead {
		why += "; " + m.why
	}
	return m.as(dead, why)
}
