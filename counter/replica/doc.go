// Package replica runs the counter's state machine behind a replicated log: hashicorp/raft over
// raft-wal, one voter or several.
//
// It owns the data folder, the group commit, the stamping of wall and served time, the barrier after
// an election, the leader verification that all readers share, and snapshots. It must not know the
// wire, nor what the commands mean. DESIGN.md of the counter has the write path, lock order and
// shutdown order.
package replica
