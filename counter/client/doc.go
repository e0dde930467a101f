// Package client speaks to the counter: reservations, their confirmation and release, the state of
// sales and orders, and the operator's commands.
//
// A Client is safe for many callers at once; their requests share few connections and are pipelined.
// It knows which shard serves a user of a sale (the sale's pinned ring) and which minted an order id
// (the id says so), follows a shard's leader, and repeats what is safe to repeat until the context or
// the configured timeout ends. Every command of the counter is idempotent, RESERVE by user and
// request key, so that repeating after a lost connection takes nothing twice.
//
// Failure is never turned into a refusal: when the answer is not known the error says whether
// the command certainly was not done (ErrUnavailable, ErrBusy) or may have been (ErrUnknown).
//
// The package must not know HTTP, queues or the ledger.
package client
