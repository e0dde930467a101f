// Package backend is the HTTP API behind the edge: accounts, sales, order taking, the buyer's orders,
// the operator's routes, and the shop page.
//
// It owns the path from a ticket to the queue (an order is taken when the broker has confirmed its
// message, and only then), what buyers are told of their orders, and the agreement of the counter with
// what the ledger intends. It trusts an identity only with the edge's hop signature, and takes an order
// only with a ticket. Orders become rows in the consumer, never here.
//
// huma on net/http's mux; every refusal is application/problem+json with a code of lib/problem. The
// package must not know the edge's stages, nor how the consumer writes the ledger. DESIGN.md has the
// order of start and stop, and what is bounded.
package backend
