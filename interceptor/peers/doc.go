// Package peers makes N edges one: it knows which of the configured nodes live, gives every user key an
// owner among them, carries hops to the owner, and hands over what is kept of users when owners change.
//
// A Set is one node's view of all. It keeps connections ("links") to every peer, over which go hops,
// their answers, health and handed-over state; link.go and DESIGN.md describe the wire. A link is opened
// by a signed request to the peer's ordinary listener and then carries sealed records: what is on it
// comes from an edge that knows the hop key, can neither be changed nor repeated, and is batched, so that a
// busy link costs few system calls a hop.
//
// The package knows neither HTTP beyond that opening request, nor limits, nor sales: a hop is a payload of
// bytes to it, and what is handed over comes from and goes to Stores. The time is given by the caller.
package peers
