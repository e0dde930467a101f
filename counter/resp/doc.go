// Package resp reads requests and writes replies of the Redis serialization protocol, version 2, for
// the counter's server.
//
// The reader believes no number that a peer claims: counts and lengths are checked against Limits
// before anything is allocated, and its buffer grows only as bytes arrive. Requests may be arrays of
// bulk strings or inline lines (redis-cli, telnet), any number of them in one read.
//
// It must not know any command.
package resp
