// Package sandbox is the built-in payment provider: no money moves, everything else is as with a real
// one. It has books of its own (in the ledger's database, so that several backends and consumers see
// one provider), a page on which the buyer pays, signed callbacks that are repeated until they are
// taken, an answer when asked, and refunds. For tests and rehearsals it can be told (Behaviour) to
// delay, repeat, reorder, forge or drop callbacks, to take money late, and not to answer.
//
// Sandbox is the provider; Courier delivers its callbacks over HTTP, from the backend. A callback is
// JSON; its header Headgate-Sandbox-Signature is "<key id>.<base64url(HMAC-SHA256)>".
//
// Never use it where goods are delivered: whoever has a payment's page can pay it with nothing.
package sandbox
