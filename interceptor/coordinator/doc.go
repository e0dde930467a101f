// Package coordinator carries one purchase through its two phases: RESERVE at the counter, forward to
// the upstream with a signed ticket, then CONFIRM or ABORT, and says what the buyer may be told. It
// holds no state: everything that must survive is a hold at the counter or a ticket with the buyer.
//
// Its rule is that an outcome is never guessed. What certainly happened, what certainly did not, and
// what is not known are three answers, and the last one carries order id and ticket, with which a
// retry learns the rest.
//
// It must not know HTTP, local marks or limits.
package coordinator
