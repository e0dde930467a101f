//go:build !simbroken_borrow

package simulation

// acknowledgeEarly would answer SHARD.ASK and SHARD.GIVE before their entries are committed.
const acknowledgeEarly = false
