// Package ratelimit keeps the short-lived state of users: per-user limits as integer GCRA (the
// generic cell rate algorithm, a token bucket in one number), and the memory of whom this node saw
// reserve.
//
// Both are bounded. A user is a 64-bit hash under a seed drawn at start, so that nothing of a request
// outlives it and nobody can aim at another's entry. Time is given by the caller, as nanoseconds of
// one monotonic clock; it must not know wall time, HTTP or the counter.
package ratelimit
