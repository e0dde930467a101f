package consumer

import (
	"context"
	"time"

	"headgate.example/lib/store"
)

const (
	maxParkedPause = 5 * time.Minute
	parkedBatch    = 100
	// ledgerRound is what the ledger's part of a round takes at most, unless it is away.
	ledgerRound = time.Minute
)

// parkedLease is how long claimed messages stay with this consumer: as long as a round may take, in
// which one CONFIRM asks about all of them. Should it run out all the same, two consumers do the same
// harmless work.
func (c *Config) parkedLease() time.Duration { return c.Counter.Timeout + ledgerRound }

// retryParked works off a round of the parked messages that are due. A message that still cannot be
// decided is due again after a pause that doubles with each attempt.
func (s *Server) retryParked(ctx context.Context) (more bool, err error) {
	rows, err := s.ledger.ClaimParked(ctx, parkedBatch, s.cfg.parkedLease())
	if err != nil || len(rows) == 0 {
		return false, err
	}
	return len(rows) == parkedBatch, s.retryBatch(ctx, rows)
}

func (s *Server) retryBatch(ctx context.Context, rows []store.ParkedMessage) error {
	messages := make([]*message, len(rows))
	var ask []*message
	for i, row := range rows {
		messages[i] = s.parse(row.Body)
		if messages[i].verdict == undecided {
			ask = append(ask, messages[i])
		}
	}
	if err := s.decide(ctx, ask); err != nil {
		return err // the lease ends, and they are due again
	}
	var finished []int64
	for i, m := range messages {
		switch m.verdict {
		case settled:
			finished = append(finished, rows[i].ID)
		case dead:
			if err := s.bury(ctx, m); err != nil {
				return err
			}
			finished = append(finished, rows[i].ID)
		default:
			if err := s.ledger.RetryParked(ctx, doubled(s.cfg.ParkedInterval, rows[i].Attempts, maxParkedPause), m.why, rows[i].ID); err != nil {
				return err
			}
		}
	}
	s.meter.unparked.Add(len(finished))
	return s.ledger.FinishParked(ctx, finished...)
}

// doubled is first, doubled for each attempt after the first one, at most last.
func doubled(first time.Duration, attempts int64, last time.Duration) time.Duration {
	d := first
	for i := int64(1); i < attempts && d < last; i++ {
		d *= 2
	}
	return min(d, last)
}
