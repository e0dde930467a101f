// Package embedded is the queue contract on one SQLite table: the durable buffer of the one-process
// mode, and of tests. Several handles, in one process or in several on one machine, may use the same
// file.
//
// Publishing is group-committed: one goroutine takes whatever callers have handed in meanwhile and
// writes it in one transaction with an fsync (journal mode WAL, synchronous=FULL). A delivery is a row
// that a subscription has claimed; claims and settlements are committed without an fsync
// (synchronous=NORMAL), because losing one in a power failure only delivers a message again.
//
// Each subscription is a row of its own that it keeps beating; when the beat of one stops (kill -9),
// any other subscription gives its claims back after Lease. See DESIGN.md.
package embedded
