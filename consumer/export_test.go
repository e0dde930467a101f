package consumer

import (
	"context"

	"headgate.example/lib/queue"
)

// Sweep, AskPayments, GiveBack, Relay and EndOrders run a loop until nothing is due, for tests that
// choose the order of loops themselves.
func (s *Server) Sweep(ctx context.Context) error { return untilNothing(ctx, s.sweep) }

// AskPayments asks the payment provider.
func (s *Server) AskPayments(ctx context.Context) error { return untilNothing(ctx, s.askPayments) }

// AskPaymentsOnce is one round of AskPayments.
func (s *Server) AskPaymentsOnce(ctx context.Context) error { _, err := s.askPayments(ctx); return err }

// GiveBack refunds.
func (s *Server) GiveBack(ctx context.Context) error { return untilNothing(ctx, s.refund) }

// Relay works off the outbox.
func (s *Server) Relay(ctx context.Context) error { return untilNothing(ctx, s.relayOutbox) }

func untilNothing(ctx context.Context, round func(context.Context) (more bool, err error)) error {
	for {
		if more, err := round(ctx); err != nil || !more {
			return err
		}
	}
}

// EndOrders works off one deadline message.
func (s *Server) EndOrders(ctx context.Context, body string) error {
	_, err := s.endOrders(ctx, queue.Delivery{Body: []byte(body)})
	return err
}
