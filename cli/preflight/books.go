package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/counter/client"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/open"
	"headgate.example/lib/store"
)

// What counts as empty enough before a sale opens.
const (
	fewMessages = 1000             // ready in the queue: a consumer writes them in a second
	oldRow      = 30 * time.Second // of outbox and parked messages: what is older is stuck
)

// lookAtBooks asks database and broker, and compares the ledger with the counter.
func (p *preflight) lookAtBooks(ctx context.Context) []Line {
	reach, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var lines []Line
	ledger, err := p.openLedger(reach)
	if err != nil {
		lines = append(lines, fail("database", "start it, or mend its address and password (backend.database)", "%v", err))
	} else {
		defer ledger.Close() //nolint:errcheck // nothing was written
		lines = append(lines, p.lookAtLedger(reach, ledger)...)
	}
	orders, err := p.openQueue(reach)
	if err == nil {
		defer orders.Close() //nolint:errcheck // nothing was published
		lines = append(lines, p.lookAtQueue(reach, orders))
	} else {
		lines = append(lines, fail("broker", "mend backend.queue in the operator's config", "%v", err))
	}
	if ledger == nil {
		return append(lines, fail("sale "+p.Sale, "mend the database first", "the ledger cannot be asked"))
	}
	known, line := p.lookAtSale(reach, ledger)
	lines = append(lines, line)
	if known && orders != nil {
		lines = append(lines, p.audit(ctx, ledger, orders))
	}
	return lines
}

// openLedger opens the database; a SQLite file must be there, since opening would make it.
func (p *preflight) openLedger(ctx context.Context) (*store.Store, error) {
	if c := p.cfg.Backend.Database; c.Driver == store.SQLite {
		if _, err := os.Stat(c.Path); err != nil {
			return nil, err
		}
	}
	return store.Open(ctx, p.cfg.Backend.Database, p.Log)
}

// openQueue opens the queue in the same way.
func (p *preflight) openQueue(ctx context.Context) (queue.Queue, error) {
	if c := p.cfg.Backend.Queue; c.Driver == queue.Embedded {
		if _, err := os.Stat(c.Path); err != nil {
			return nil, err
		}
	}
	return open.Open(ctx, p.cfg.Backend.Queue, p.Log)
}

func (p *preflight) lookAtLedger(ctx context.Context, ledger *store.Store) []Line {
	began := p.Now()
	b, err := ledger.Backlog(ctx)
	if err != nil {
		return []Line{fail("database", "run one of the programs once: it makes the tables", "%v", err)}
	}
	lines := []Line{ok("database", "answers within %s", p.Now().Sub(began).Round(time.Millisecond))}
	letters := ok("dead letters", "none")
	if b.DeadLetters > 0 {
		letters = fail("dead letters", "headgate dead-letters list, then replay or discard each", "%d order messages could not become orders", b.DeadLetters)
	}
	outbox := ok("outbox", "%d units on their way back to the counter", b.OutboxDue)
	switch {
	case b.OutboxParked > 0:
		outbox = fail("outbox", "headgate audit --repair says what it would do about each", "the counter contradicts the ledger about %d releases", b.OutboxParked)
	case b.OutboxAge > oldRow:
		outbox = fail("outbox", "see whether consumers run and reach every shard", "%d units wait for the counter, the oldest for %s", b.OutboxDue, b.OutboxAge.Round(time.Second))
	}
	parked := ok("parked messages", "none")
	switch {
	case b.ParkedAge > oldRow:
		parked = fail("parked messages", "see whether every shard answers; headgate audit says more", "%d messages cannot be decided, the oldest for %s", b.Parked, b.ParkedAge.Round(time.Second))
	case b.Parked > 0:
		parked = warn("parked messages", "look again in half a minute", "%d messages wait for their shard", b.Parked)
	}
	return append(lines, letters, outbox, parked)
}

func (p *preflight) lookAtQueue(ctx context.Context, orders queue.Queue) Line {
	const check = "broker"
	depth, err := orders.Depth(ctx, p.cfg.AuditSources().Topic)
	if err == nil {
		err = orders.Ping(ctx)
	}
	switch {
	case err != nil:
		return fail(check, "start it, clear its alarms, or mend its address and password (backend.queue)", "messages cannot be published: %v", err)
	case depth.Dead > 0:
		return fail(check, "see whether a consumer runs: it takes them into the ledger, for headgate dead-letters", "%d messages are dead letters of the broker", depth.Dead)
	case depth.Ready > fewMessages:
		return fail(check, "see whether consumers run and keep up: the sale's orders would wait behind these", "%d messages wait", depth.Ready)
	}
	return ok(check, "takes messages; %d wait, %d are delayed", depth.Ready, depth.Delayed)
}

// lookAtSale looks whether the sale is there, and stands as it should before it opens.
func (p *preflight) lookAtSale(ctx context.Context, ledger *store.Store) (known bool, _ Line) {
	check := "sale " + p.Sale
	s, err := ledger.SaleByID(ctx, p.Sale)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, fail(check, "headgate sale list; headgate sale create", "the ledger does not know it")
	case err != nil:
		return false, fail(check, "mend the database first", "%v", err)
	}
	info, err := p.counter.SaleInfo(ctx, p.Sale)
	switch {
	case s.Intent == store.IntentDraft:
		return false, fail(check, "headgate sale open "+p.Sale, "it is a draft: the counter has not been told of it")
	case s.Intent == store.IntentClosed || s.Intent == store.IntentForgotten:
		return true, fail(check, "create another one", "it is %s", s.Intent)
	case errors.Is(err, client.ErrNoSale):
		return false, fail(check, "wait a second, and look again; then headgate audit: a counter that lost a sale is rebuilt by --repair", "the counter does not know it")
	case err != nil:
		return true, fail(check, "see the lines of the counter", "the counter cannot be asked: %v", err)
	case !info.Complete():
		return true, fail(check, "see the lines of the counter", "no answer about it from shard %s", strings.Join(info.Silent, ", "))
	case s.Alarm != "":
		return true, fail(check, "headgate audit says more", "its alarm: %s", s.Alarm)
	case s.Acknowledged < s.Revision:
		return true, fail(check, "wait a second, and look again: the backend tells the counter", "the counter is at change %d of %d", s.Acknowledged, s.Revision)
	case s.Intent == store.IntentPaused:
		return true, warn(check, "headgate sale resume "+p.Sale, "it is paused: nobody can buy, opened or not")
	case !s.EndsAt.IsZero() && p.Now().After(s.EndsAt):
		return true, fail(check, "create another one", "it ended %s ago", p.Now().Sub(s.EndsAt).Round(time.Second))
	}
	when := "is open since " + s.OpensAt.UTC().Format(time.RFC3339)
	if wait := s.OpensAt.Sub(p.Now()); wait > 0 {
		when = fmt.Sprintf("opens in %s", wait.Round(time.Second))
	}
	return true, ok(check, "%s: %d units, %d available, %d to come in releases, at most %d each (0: no limit)", when, s.Stock, info.Available, info.Scheduled, s.LimitPerUser)
}

// audit compares ledger and counter, id by id.
func (p *preflight) audit(ctx context.Context, ledger *store.Store, orders queue.Queue) Line {
	const check = "audit"
	ctx, cancel := context.WithTimeout(ctx, auditWithin)
	defer cancel()
	depth := func(ctx context.Context) (queue.Depth, error) { return orders.Depth(ctx, p.cfg.AuditSources().Topic) }
	report := audit.Run(ctx, p.counter, ledger, depth, audit.Options{Sale: p.Sale})
	for deadline := p.Now().Add(p.Settle); report.Verdict == audit.NotSettled && p.Now().Before(deadline) && pause(ctx); {
		report = audit.Run(ctx, p.counter, ledger, depth, audit.Options{Sale: p.Sale})
	}
	more := "headgate audit --sale " + p.Sale
	switch report.Verdict {
	case audit.Holds:
		return ok(check, "ledger and counter agree about the sale, id by id")
	case audit.NotSettled:
		return warn(check, "wait until nothing travels any more: "+more, "not settled: messages or releases are on their way")
	case audit.Violated:
		return fail(check, more+" has the findings", "ledger and counter contradict each other")
	}
	return fail(check, more, "it could not be compared: %s", report.Error)
}

// pause lies between two audits; false: ctx ended.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(500 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
