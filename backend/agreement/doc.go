// Package agreement makes the counter do what the ledger intends, revision by revision.
//
// The ledger is the source of intent: an operator's change is first a row of the sale's change log.
// A Pusher applies the rows that the counter lacks, in order, and notes in the ledger what the counter
// has applied: at once after a change, at start, and every second, so that a restart of either side
// heals by itself. Commands carry their revision and are idempotent, so several backends may push.
//
// Two things it never does: guess, and reopen. A counter that knows less than it once acknowledged, or
// more than the ledger ever intended, has another history than the ledger; that raises the sale's alarm
// and waits for an operator. The ceiling of the ledger's sold count is raised with the intent, before
// the counter hears of it, and lowered only to what the counter reports.
//
// The package must not know HTTP, orders or a queue.
package agreement
