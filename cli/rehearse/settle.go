package rehearse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/cli"
)

const (
	settlePause  = 500 * time.Millisecond
	closersEvery = 5 * time.Millisecond
	closersEnd   = 30 * time.Second // how long closers may take
)

// settle waits, for SettleFor at most, until nothing travels and no deadline runs; whatever came back meanwhile
// is bought and paid by closers, so that at the end every unit has a buyer who paid it.
func (r *run) settle(ctx context.Context) error {
	deadline := time.Now().Add(r.Spec.SettleFor)
	books, err := r.reopen(ctx, deadline)
	if err != nil {
		return err
	}
	defer books.Close()
	next := int32(0) // closer
	for look := 0; time.Now().Before(deadline); look++ {
		left, err := leftOf(ctx, books, r.sales[0], r.backlog)
		probes, probesErr := leftOf(ctx, books, r.sales[1], r.backlog)
		waiting := len(r.plan.Closers) - int(next)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil || probesErr != nil:
			r.say(fmt.Sprintf("settling: %v", errors.Join(err, probesErr)))
		case left.Available > 0 && waiting > 0:
			come := min(int(left.Available), waiting)
			if err := r.sendClosers(ctx, next, come); err != nil {
				return err
			}
			next += int32(come)
			continue
		case left.Settled() && probes.Settled() && r.agrees(ctx, books):
			r.closing.Ended = true
			return nil
		case look%4 == 0:
			r.say(fmt.Sprintf("settling: %d units free, %d held, %d unpaid; %d messages queued, %d releases due; probes: %d unpaid",
				left.Available, left.Held, left.Unpaid, left.Queue, left.Outbox, probes.Unpaid))
		}
		if !wait(ctx, settlePause) {
			return ctx.Err()
		}
	}
	return nil // the verdict says what is not settled
}

// agrees reports that the audit of both sales is through: it holds, or never will.
func (r *run) agrees(ctx context.Context, books *cli.Books) bool {
	for _, id := range r.sales {
		report := books.Audit(ctx, id, 0)
		if report.Verdict == audit.NotSettled || report.Verdict == audit.Unreachable {
			r.say("settling: the audit of sale " + id + " says " + string(report.Verdict))
			return false
		}
	}
	return true
}

// sendClosers lets so many closers come, from the one with that number on.
func (r *run) sendClosers(ctx context.Context, from int32, come int) error {
	r.say(fmt.Sprintf("settling: %d units came back, %d buyers come for them", come, come))
	now := time.Since(r.start)
	r.crowd.come(r.closers+from, func(i int) time.Duration { return now + time.Duration(i)*closersEvery }, come)
	until := now + time.Duration(come)*closersEvery + closersEnd
	if err := r.crowd.run(ctx, until, until+closersEnd); err != nil {
		return err
	}
	r.closing.Came += come
	for i := range come {
		if r.crowd.buyers[r.closers+from+int32(i)].order != 0 {
			r.closing.Bought++
		}
	}
	return nil
}

// reopen opens the books once what was broken is back.
func (r *run) reopen(ctx context.Context, deadline time.Time) (*cli.Books, error) {
	for {
		books, err := cli.OpenBooks(ctx, r.Config.AuditSources(), r.Log)
		if err == nil {
			return books, nil
		}
		if !time.Now().Before(deadline) {
			return nil, errors.Join(errNoBooks, err)
		}
		r.say(fmt.Sprintf("settling: %v", err))
		if !wait(ctx, settlePause) {
			return nil, ctx.Err()
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
