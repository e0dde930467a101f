// Package strikes counts refused behaviour and turns it into timed bans by rule: so many strikes within
// a window ban the user or the address for a while. Counts and bans are this node's own and are lost
// with it; what an operator bans stands at the control shard (package rules).
//
// Everything is bounded, and a strike allocates nothing unless it leads to a ban. See DESIGN.md.
//
// It must not know HTTP, nor how bans are lifted elsewhere.
package strikes
