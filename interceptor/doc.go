// Package interceptor is the edge of Headgate: it takes every request first, refuses what it can at
// the least cost, and carries the rest to the counter and the upstream.
//
// A request passes the chain of named stages, cheapest first; the first refusal ends the trip:
//
//	route -> node_bucket -> blacklist -> address_bucket -> token -> roles -> blacklist -> order_form ->
//	sale_state -> owner -> strikes -> backpressure -> user_interval | user_bucket ->
//	route_bucket -> route_queue -> reserve | forward
//
// The package owns its listener, the short-lived state of users, this node's copies of sale state and
// rules, and the upstream connections. What may not be lost lives elsewhere: holds at the counter,
// tickets with the buyers. It must not know how orders are stored or queued.
//
// Sub-packages: route (request targets), tokens (verified tokens), rules (bans and revocations),
// strikes (bans for refused behaviour), insight (why somebody was refused, who asks most),
// salestate (what may be refused locally), ratelimit (limits of users, addresses and routes),
// coordinator (the two phases of a purchase), proxy (upstream connections and header hygiene).
package interceptor
