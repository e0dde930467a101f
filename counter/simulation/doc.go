// Package simulation runs the state machines of several shards, with the transfers between them, over a
// model of their logs, an in-memory network and a virtual clock, everything drawn from one seed. Messages
// are dropped, delayed, doubled and overtaken; shards are cut off from each other; leaders crash, or hang
// with entries in flight, and their successors replay the log from the last snapshot; clocks differ and
// jump; meanwhile buyers reserve, confirm, abort, give back or just leave, and an operator pauses the sale
// and changes its stock. After every step the rules of PROTOCOL section 6 are checked, and every answer
// is held against what was true.
//
// What it tests is what runs: counter/machine with its encodings, and counter/borrow. It models what
// lies around them (raft, RESP, the counter's server), as simply as it can be; those are tested with real
// processes. Nothing but tests imports it.
//
// Builds with the tag simbroken_borrow, simbroken_refuse or simbroken_wall break one rule each, to see
// that the simulation notices.
package simulation
