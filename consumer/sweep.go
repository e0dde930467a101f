package consumer

import (
	"context"

	"headgate.example/lib/store"
)

// sweep cancels a round of orders past their payment deadline.
func (s *Server) sweep(ctx context.Context) (more bool, err error) {
	report, err := s.ledger.CancelDue(ctx, s.cfg.SweepBatch)
	s.swept(&report)
	return report.Cancelled == s.cfg.SweepBatch, err
}

// swept tells what a sweep or a deadline message did.
func (s *Server) swept(report *store.SweepReport) {
	s.meter.swept.Add(report.Cancelled)
	for _, id := range report.Paused {
		s.alarm("sold_below_orders", "a sale's sold count lacks units of its orders; the sale is being paused, its orders past their deadlines stay", "sale", id)
	}
}

// observe reads what waits in the ledger, for the metrics.
func (s *Server) observe(ctx context.Context) (more bool, err error) {
	backlog, err := s.ledger.Backlog(ctx)
	if err != nil {
		return false, err
	}
	s.meter.backlog.Store(&backlog)
	return false, nil
}
