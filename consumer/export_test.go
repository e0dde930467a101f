package consumer

import (
	"context"

	"headgate.example/lib/queue"
)

// Sweep, AskPayments, GiveBack, Relay and EndOrders run one round of a loop, for tests that choose the
// order of rounds themselves.
func (s *Server) Sweep(ctx context.Context) error { _, err := s.sweep(ctx); return err }

// AskPayments is one round of questions to the payment provider.
func (s *Server) AskPayments(ctx context.Context) error { _, err := s.askPayments(ctx); return err }

// GiveBack is one round of refunds.
func (s *Server) GiveBack(ctx context.Context) error { _, err := s.refund(ctx); return err }

// Relay is one round of the outbox.
func (s *Server) Relay(ctx context.Context) error { _, err := s.relayOutbox(ctx); return err }

// EndOrders works off one deadline message.
func (s *Server) EndOrders(ctx context.Context, body string) error {
	_, err := s.endOrders(ctx, queue.Delivery{Body: []byte(body)})
	return err
}
