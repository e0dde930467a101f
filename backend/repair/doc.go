// Package repair brings counter and ledger into agreement again after one of them has lost data: what
// `headgate audit --repair` and the admin API do. DESIGN.md has the disasters, and why each step is safe.
//
//   - a sale that the counter, or one of its shards, does not know any more, or knows as a backup does, is
//     rebuilt there by SALE.RESTORE from the ledger and from the messages that wait in it;
//   - orders that the ledger does not know any more are written from the counter's confirmed holds;
//   - releases that were lost on either side are settled.
//
// What cannot be decided from what is left is listed for an operator and never guessed. Unless told to
// apply, it only says what it would do. It may be run again at any point, also beside a running system:
// each step is one that the system itself repeats.
//
// It must not know HTTP, or how its report is shown.
package repair
