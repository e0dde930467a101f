package consumer

import "context"

// sweep cancels orders past their payment deadline, until none is left.
func (s *Server) sweep(ctx context.Context) error {
	for {
		n, err := s.ledger.CancelDue(ctx, s.cfg.SweepBatch)
		s.meter.swept.Add(n)
		if err != nil || n < s.cfg.SweepBatch || ctx.Err() != nil {
			return err
		}
	}
}

// observe reads what waits in the ledger, for the metrics.
func (s *Server) observe(ctx context.Context) error {
	backlog, err := s.ledger.Backlog(ctx)
	if err != nil {
		return err
	}
	s.meter.backlog.Store(&backlog)
	return nil
}
