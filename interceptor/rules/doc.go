// Package rules is this node's copy of the control shard's rules: bans of users and addresses, and
// revocations of tokens. It is fed with what RULES answers and keeps the last known rules while the
// counter is away. Look-ups take no lock and allocate nothing.
//
// It must not know how rules are fetched, nor HTTP.
package rules
