package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"headgate.example/backend/audit"
	"headgate.example/backend/repair"
	"headgate.example/lib/auth"
	"headgate.example/lib/payment/open"
)

// settleWait is how long the audit after a repair waits at least: what was repaired is on its way.
const settleWait = 30 * time.Second

// Repaired is a repair with the audit after it.
type Repaired struct {
	Repair repair.Outcome `json:"repair"`
	Audit  audit.Report   `json:"audit"`
}

// ExitCode is the audit's; a repair that was stopped is never 0.
func (r *Repaired) ExitCode() int {
	if code := r.Audit.Verdict.ExitCode(); code != 0 || r.Repair.Error == "" {
		return code
	}
	return audit.Violated.ExitCode()
}

// Repair brings counter and ledger into agreement after one of them lost data (apply), or says how. Then
// it audits, like Audit.
func Repair(ctx context.Context, from AuditSources, options repair.Options, wait time.Duration, log *slog.Logger) Repaired {
	failed := func(err error) Repaired {
		return Repaired{Repair: repair.Outcome{At: time.Now().UTC(), Error: err.Error(), Steps: []repair.Step{}, Listed: []string{}}, Audit: unreachable(err)}
	}
	keys, err := auth.NewKeyring(from.TicketKeys)
	if err != nil {
		return failed(fmt.Errorf("ticket_keys: %w", err))
	}
	books, err := OpenBooks(ctx, from, log)
	if err != nil {
		return failed(err)
	}
	defer books.Close()
	shards := make(map[string]int, len(from.Counter.Shards))
	for _, shard := range from.Counter.Shards {
		shards[shard.Name] = shard.Number
	}
	provider, err := open.Open(from.Payment, books.Ledger)
	if err != nil {
		return failed(err)
	}
	parts := repair.Parts{Counter: books.Counter, Ledger: books.Ledger, Depth: books.Depth, Tickets: keys, Shards: shards, Provider: provider, Log: log}
	done := Repaired{Repair: repair.Run(ctx, parts, options)}
	if options.Apply {
		wait = max(wait, settleWait)
	}
	done.Audit = books.Audit(ctx, options.Sale, wait)
	return done
}

// WriteRepair writes what was done, or would be, and the audit after it, for people.
func WriteRepair(w io.Writer, r Repaired) error {
	report := &r.Repair
	word := "would be done"
	if report.Applied {
		word = "done"
	}
	for _, step := range report.Steps {
		mark := "+"
		if report.Applied && !step.Done {
			mark = "FAILED"
		}
		fmt.Fprintf(w, "%s %s\n", mark, plainText(step.String()))
		if step.Error != "" {
			fmt.Fprintf(w, "  %s\n", plainText(step.Error))
		}
	}
	for _, line := range report.Listed {
		fmt.Fprintf(w, "? %s\n", plainText(line))
	}
	if report.More > 0 {
		fmt.Fprintf(w, "? and %d more\n", report.More)
	}
	for _, line := range report.Waiting {
		fmt.Fprintf(w, "... %s\n", plainText(line))
	}
	if report.Error != "" {
		fmt.Fprintf(w, "stopped: %s\n", plainText(report.Error))
	}
	fmt.Fprintf(w, "%d steps (%s), %d matters for an operator (?), %d left for a later run (...)\n", len(report.Steps), word, len(report.Listed)+report.More, len(report.Waiting))
	if !report.Applied && len(report.Steps) > 0 {
		fmt.Fprintln(w, "nothing was changed: add --yes")
	}
	fmt.Fprintln(w)
	return WriteAudit(w, r.Audit)
}
