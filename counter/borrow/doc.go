// Package borrow decides how the shards of one sale share its units: whom a dry shard asks, when a gift
// is repeated, when all shards together are known to have nothing left, and what each waiting buyer is
// told. Rules: PROTOCOL section 5.
//
// It only decides. A Broker is a step function from events to actions, without clock, goroutines or
// input and output: the counter carries its actions out over RESP and its log, and the simulation of
// counter/simulation does so over a model of both, so that what is tested there is what runs. It must not
// know raft, RESP or sockets; of counter/machine it uses the rows and results, never a State.
//
// One Broker serves one sale at the leader of one shard, for one tenure. It keeps nothing that must
// survive: what moved is counted in the logs.
package borrow
