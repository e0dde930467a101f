package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// DeadlineTopic is the queue's topic of deadline messages: each names orders of one batch whose
// deadlines pass at the same time, and is delayed until then. A message that gets lost costs nothing
// but the sweep's interval.
const DeadlineTopic = "deadlines"

const (
	deadlineVersion = 1
	deadlineBatch   = 50 // messages worked off at once
	// announceRoom bounds the messages that wait to be published; more are left to the sweep.
	announceRoom = 256
	// Orders that are still unpaid after their deadline, for want of their provider's word or because
	// somebody else is at them, are looked at again after pauses that grow with the time that has passed.
	minDeadlinePause = time.Second
	maxDeadlinePause = time.Minute
	// deadlineGiveUp is how long after it a deadline is left to the sweep alone.
	deadlineGiveUp = time.Hour
)

type deadlineMessage struct {
	Version int            `json:"version"`
	Orders  []sale.OrderID `json:"orders"` // at most store.MaxBatch
}

// announce queues the deadline messages of orders that were just committed.
func (s *Server) announce(report *store.WriteReport) {
	if !s.cfg.DeadlineMessages {
		return
	}
	due := map[time.Duration][]sale.OrderID{}
	for _, r := range report.Results {
		if r.Outcome == store.Written && r.PayWithin > 0 {
			due[r.PayWithin] = append(due[r.PayWithin], r.Order)
		}
	}
	for payWithin, ids := range due {
		body, err := json.Marshal(deadlineMessage{Version: deadlineVersion, Orders: ids})
		if err != nil {
			panic(fmt.Sprintf("consumer: encoding a deadline message: %v", err)) // plain fields always encode
		}
		m := queue.Message{ID: "deadline-" + ids[0].String(), Body: body, Delay: min(payWithin, queue.MaxDelay)}
		select {
		case s.announcements <- m:
		default:
			s.meter.unannounced.Inc()
		}
	}
}

// publishDeadlines publishes what announce queued, beside the intake, which does not wait for it. When
// stop is done it publishes what is left.
func (s *Server) publishDeadlines(stop, work context.Context) {
	for {
		select {
		case m := <-s.announcements:
			s.publishDeadline(work, m)
			continue
		case <-stop.Done():
		}
		var left []queue.Message // at once: a broker that does not answer holds up the stop only once
		for len(s.announcements) > 0 {
			left = append(left, <-s.announcements) // nobody else empties it
		}
		if len(left) > 0 {
			s.publishDeadline(work, left...)
		}
		return
	}
}

func (s *Server) publishDeadline(ctx context.Context, messages ...queue.Message) {
	for i, outcome := range s.queue.Publish(ctx, DeadlineTopic, messages) {
		if outcome.Fate != queue.Confirmed {
			s.meter.unannounced.Inc()
			s.log.Warn("a deadline message was not taken; the sweep alone ends its orders", "id", messages[i].ID, "fate", outcome.Fate, "error", outcome.Err)
		}
	}
}

// endAnnounced works off deadline messages. The ledger rechecks every deadline and the sweep may have
// been first: both together end an order once.
func (s *Server) endAnnounced(drain, work context.Context, sub queue.Subscription, deliveries []queue.Delivery) error {
	pause := s.newPause(drain)
	for _, d := range deliveries {
		for {
			again, err := s.endOrders(work, d)
			if err == nil {
				if again > 0 {
					err = sub.HoldBack(work, again, d)
				}
				if again == 0 || errors.Is(err, queue.ErrRefused) { // no room to wait in: the sweep ends its orders
					err = s.acknowledge(work, sub, []queue.Delivery{d})
				}
				if err != nil {
					return err // what is not settled comes again
				}
				break
			}
			s.ledgerAway(err)
			if err := pause.wait(); err != nil {
				return err
			}
		}
		pause.reset()
	}
	return nil
}

// endOrders cancels what is due of one message, and gives the pause after which it is to come again; 0
// when nothing of it is left to do.
func (s *Server) endOrders(ctx context.Context, d queue.Delivery) (again time.Duration, err error) {
	var m deadlineMessage
	if err := json.Unmarshal(d.Body, &m); err != nil || m.Version != deadlineVersion || len(m.Orders) > store.MaxPage {
		s.alarm("deadline_message", "a deadline message cannot be read; the sweep ends its orders", "id", d.ID, "bytes", len(d.Body), "error", err)
		return 0, nil
	}
	report, err := s.ledger.CancelDueOrders(ctx, m.Orders)
	if err != nil {
		return 0, err
	}
	s.swept(&report)
	overdue := -report.DueIn
	switch {
	case report.Unpaid == 0 || overdue > deadlineGiveUp:
		return 0, nil
	case overdue < 0:
		return min(-overdue, queue.MaxDelay), nil // the queue's clock is ahead of the database's
	}
	return min(max(overdue, minDeadlinePause), maxDeadlinePause), nil
}
