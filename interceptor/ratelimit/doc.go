// Package ratelimit keeps the limits of users, clients' addresses and routes, and the short-lived state
// behind them:
//
//   - Budgets: token buckets of very many keys, as integer GCRA (the generic cell rate algorithm, a
//     token bucket in one number), in compact tables of bounded size;
//   - Bucket: a token bucket that all callers share, x/time/rate with a time that does not go back;
//   - Queue: a leaky bucket, whose callers wait in order;
//   - InFlight: what is under way by key; Seen: a bounded memory of keys.
//
// A Rate says how much is allowed and holds no balance, and all bounds can be set anew, so that rules
// can change while balances stay. Keys are 64-bit hashes under a secret or a seed drawn at start:
// nothing of a request outlives it, and nobody can aim at another's entry. But for Queue, which sleeps,
// time is given by the caller, as nanoseconds of one monotonic clock. The package must not know wall
// time, HTTP or the counter.
package ratelimit
