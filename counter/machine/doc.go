// Package machine is the replicated state of one counter shard: sales with their stock, holds by order
// id, bans and token revocations. It is a pure function of the entries applied to it. It has no clock,
// no randomness that could change an outcome, and no goroutines: whoever leads the shard stamps each
// Entry with wall and served time, the log orders the entries, and every voter that applies the same
// entries holds the same state, byte for byte in a snapshot.
//
// It owns the rules of sections 2, 3, 4, 6 and 10 of the protocol, the encoding of log entries, and the
// snapshot format. It must not know raft, RESP, files or sockets. A State is not safe for concurrent
// use: see DESIGN.md for who may call what, and limits.go for every bound.
package machine
