// Package consumer turns accepted order messages into rows of the ledger, and gives freed units back
// to the counter.
//
// A batch goes: receive, verify each ticket, CONFIRM all ids, one ledger transaction, commit, and
// only then acknowledge. Whatever dies in between, the messages come again and find their rows. A
// message that can never become an order becomes a dead letter in the ledger; one that cannot be
// decided now is parked there and retried; neither holds up the others. While the database or the
// counter is away, consumption pauses and keeps its deliveries.
//
// Beside that it relays the outbox (RELEASE until the counter answers finally), cancels orders whose
// payment deadline has passed (by delayed message, and by a sweep that needs none), asks the payment
// provider about payments that no callback has settled, gives late money back, and retries parked
// messages.
//
// It owns no state: any number of consumers may run. It must not know HTTP or the edge. DESIGN.md
// says what happens on each failure and in which order a consumer stops.
package consumer
