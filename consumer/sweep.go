package consumer

import "context"

// sweep cancels a round of orders past their payment deadline.
func (s *Server) sweep(ctx context.Context) (more bool, err error) {
	n, err := s.ledger.CancelDue(ctx, s.cfg.SweepBatch)
	s.meter.swept.Add(n)
	return n == s.cfg.SweepBatch, err
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
