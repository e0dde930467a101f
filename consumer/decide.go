package consumer

import (
	"context"
	"errors"
	"fmt"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// decide asks the counter about every message in one call, and the ledger about those that the
// counter answered for in one transaction. It sets each message's verdict. An error is the ledger's:
// no verdict of this round that depends on it was reached, and the round is to be repeated.
func (s *Server) decide(ctx context.Context, messages []*message) error {
	if len(messages) == 0 {
		return nil
	}
	toWrite := make([]*message, 0, len(messages))
	for i, code := range s.confirm(ctx, messages) {
		m := messages[i]
		m.accepted.Expired = code == client.ConfirmExpired || code == client.ConfirmReleased
		switch code {
		case client.ConfirmConfirmed, client.ConfirmExpired, client.ConfirmReleased:
			m.as(undecided, "")
			toWrite = append(toWrite, m)
		case client.ConfirmUnknown: // never taken for expired: the counter may have lost what it promised
			m.as(parked, "the counter does not know the order")
		default:
			m.as(waiting, "the counter's shard does not answer")
		}
	}
	return s.write(ctx, toWrite)
}

// confirm gives a code for each message; Unavailable for all when the counter gave no answer at all.
func (s *Server) confirm(ctx context.Context, messages []*message) []client.ConfirmCode {
	ids := make([]sale.OrderID, len(messages))
	for i, m := range messages {
		ids[i] = m.accepted.Order
	}
	codes, err := s.counter.Confirm(ctx, ids...)
	if err == nil && len(codes) != len(ids) {
		err = fmt.Errorf("%d answers to %d ids", len(codes), len(ids))
	}
	if err != nil {
		s.log.Warn("the counter did not confirm", "orders", len(ids), "error", err)
		codes = make([]client.ConfirmCode, len(ids))
		for i := range codes {
			codes[i] = client.ConfirmUnavailable
		}
	}
	answered := false
	for _, code := range codes {
		s.meter.confirmed(code)
		answered = answered || code != client.ConfirmUnavailable
	}
	s.counterAnswers.Store(answered)
	return codes
}

// write writes orders and sets their verdicts. When the database refuses the batch for what one of its
// rows holds, halving finds it: the others are written, and it is a dead letter with the database's word.
func (s *Server) write(ctx context.Context, messages []*message) error {
	if len(messages) == 0 {
		return nil
	}
	batch := make([]store.Accepted, len(messages))
	for i, m := range messages {
		batch[i] = m.accepted
	}
	begun := s.clock.Now()
	report, err := s.ledger.WriteOrders(ctx, batch)
	switch {
	case errors.Is(err, store.ErrUnwritable) && len(messages) == 1:
		messages[0].as(dead, fmt.Sprintf("the ledger cannot hold it: %v", err))
		return nil
	case errors.Is(err, store.ErrUnwritable):
		half := len(messages) / 2
		s.log.Warn("a batch cannot be written; looking for the order that is in its way", "orders", len(messages), "error", err)
		if err := s.write(ctx, messages[:half]); err != nil {
			return err
		}
		return s.write(ctx, messages[half:])
	case err != nil:
		return fmt.Errorf("writing %d orders: %w", len(batch), err)
	}
	s.meter.wrote(s.clock.Now().Sub(begun), &report)
	s.announce(&report)
	for _, id := range report.Paused {
		s.alarm("over_ceiling", "the ledger's stock ceiling stopped a batch; the sale is being paused", "sale", id)
	}
	for i, result := range report.Results {
		switch m := messages[i]; result.Outcome {
		case store.Written, store.Known, store.Rejected:
			m.as(settled, "")
			if result.Outcome == store.Rejected {
				s.alarm("slot_clash", "an order was rejected for good", "order", result.Order, "why", result.Why)
			}
		case store.Mismatch:
			m.as(dead, result.Why)
		default: // NoSale, OverCeiling
			m.as(parked, result.Why)
		}
	}
	return nil
}

// alarm is for what an operator has to look at: a log line and a counter by kind.
func (s *Server) alarm(kind, text string, args ...any) {
	s.meter.alarm(kind)
	s.log.Error("alarm: "+text, append([]any{"kind", kind}, args...)...)
}
