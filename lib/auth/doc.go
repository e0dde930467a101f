// Package auth is how the programs trust one another and their callers:
//
//   - tokens (JWT, HS256 or EdDSA) say who a buyer is;
//   - tickets bind an order id to sale, user, quantity and slot, and travel through upstream, queue
//     and back with a retrying buyer;
//   - hop signatures say that a request comes from one of our own edges, and for whom;
//   - password hashes (argon2id) keep what accounts sign in with.
//
// Keys have ids, and several may be valid at once, so that they can be rotated: add the new key
// everywhere, then sign with it, then remove the old one when what it signed has run out.
//
// Everything that is verified here comes from outside: it is bounded before it is parsed, compared in
// constant time, and refused with one of the package's errors, which never hold the input. The
// package takes the time as an argument and must not know a program, a wire or a database.
package auth

// Names of the headers that edge, upstream and buyer exchange.
const (
	HeaderTicket    = "Headgate-Ticket"
	HeaderUser      = "Headgate-User"
	HeaderName      = "Headgate-Name"
	HeaderRoles     = "Headgate-Roles" // comma separated
	HeaderHop       = "Headgate-Hop"   // the hop's signature
	HeaderFrom      = "Headgate-From"  // the node that sent the hop
	HeaderHops      = "Headgate-Hops"  // how many hops between edges the request has made
	HeaderOutcome   = "Headgate-Outcome"
	HeaderRequestID = "Headgate-Request-Id"
	HeaderEpoch     = "Headgate-Epoch"
	HeaderCode      = "Headgate-Code" // the refusal code, as in the body
)

// OutcomeRefused in HeaderOutcome says that an upstream certainly did not take an order.
const OutcomeRefused = "refused"

// OutcomeTaken says that it took one durably, where the status does not: a page that sends the buyer on.
const OutcomeTaken = "taken"

// CookieName is the cookie that holds a browser's token.
const CookieName = "headgate_token"
