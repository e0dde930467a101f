//go:build simbroken_borrow

package simulation

// acknowledgeEarly answers SHARD.ASK and SHARD.GIVE before their entries are committed: wrong on purpose.
const acknowledgeEarly = true
