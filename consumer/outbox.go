package consumer

import (
	"context"
	"sync"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Pauses between attempts at one outbox row while the counter does not answer: five intervals,
// doubling to at most a minute.
const (
	firstReleaseIntervals = 5
	lastReleasePause      = time.Minute
	// maxReleaseRound bounds a round at the counter, and so how long the rows of a consumer that died
	// have to wait for another one.
	maxReleaseRound = 10 * time.Minute
)

// releaseRound is how long the RELEASEs of one round take when none is answered.
func (c *Config) releaseRound() time.Duration {
	concurrency := max(c.OutboxConcurrency, 1) // Validate names a wrong one
	return time.Duration((c.OutboxBatch+concurrency-1)/concurrency) * c.Counter.Timeout
}

// outboxLease is parkedLease for outbox rows.
func (c *Config) outboxLease() time.Duration { return c.releaseRound() + ledgerRound }

// relayOutbox gives the units of a round of freed orders back to the counter. A reply that was lost
// leads to a repetition, which the counter answers with `already`.
func (s *Server) relayOutbox(ctx context.Context) (more bool, err error) {
	rows, err := s.ledger.ClaimOutbox(ctx, s.cfg.OutboxBatch, s.cfg.outboxLease())
	if err != nil || len(rows) == 0 {
		return false, err
	}
	return len(rows) == s.cfg.OutboxBatch, s.relay(ctx, rows)
}

// relay releases rows, OutboxConcurrency at a time, and notes the answers.
func (s *Server) relay(ctx context.Context, rows []store.OutboxRow) error {
	answers := make([]string, len(rows)) // empty: no answer
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(s.cfg.OutboxConcurrency, len(rows)) {
		workers.Go(func() {
			for i := range next {
				answers[i] = s.release(ctx, &rows[i])
			}
		})
	}
	for i := range rows {
		next <- i
	}
	close(next)
	workers.Wait()

	final, contradicted := map[string][]sale.OrderID{}, map[string][]sale.OrderID{}
	again := map[time.Duration][]sale.OrderID{}
	for i, row := range rows {
		switch answer := answers[i]; answer {
		case client.Released, client.Already, client.WasExpired, client.Forgotten:
			final[answer] = append(final[answer], row.OrderID)
		case client.UnknownOrder, client.StillHeld:
			contradicted[answer] = append(contradicted[answer], row.OrderID)
		default:
			after := doubled(firstReleaseIntervals*s.cfg.OutboxInterval, row.Attempts, lastReleasePause)
			again[after] = append(again[after], row.OrderID)
		}
	}
	return s.noteReleases(ctx, final, contradicted, again)
}

// noteReleases stores the answers. Should it fail, the rows are due again when their lease ends, and
// are answered `already`.
func (s *Server) noteReleases(ctx context.Context, final, contradicted map[string][]sale.OrderID, again map[time.Duration][]sale.OrderID) error {
	for answer, ids := range final {
		if err := s.ledger.FinishOutbox(ctx, answer, ids...); err != nil {
			return err
		}
	}
	for answer, ids := range contradicted {
		if err := s.ledger.ParkOutbox(ctx, answer, ids...); err != nil {
			return err
		}
		s.alarm("release_"+answer, "the counter's answer to RELEASE contradicts the ledger; the rows are parked", "answer", answer, "orders", len(ids), "first", ids[0])
	}
	for after, ids := range again {
		if err := s.ledger.RetryOutbox(ctx, after, "no answer", ids...); err != nil {
			return err
		}
	}
	return nil
}

// release gives one order's units back. Without a clear answer it gives "", and the row is repeated.
func (s *Server) release(ctx context.Context, row *store.OutboxRow) string {
	answer, err := s.counter.Release(ctx, row.OrderID, row.Reason)
	if err != nil {
		s.meter.released("no_answer")
		s.log.Debug("RELEASE got no answer; it will be repeated", "order", row.OrderID, "error", err)
		return ""
	}
	s.meter.released(answer)
	return answer
}
