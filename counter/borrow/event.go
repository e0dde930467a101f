package borrow

import (
	"time"

	"headgate.example/counter/machine"
)

// EventKind says what happened.
type EventKind uint8

// The events, with the fields of Event that each one uses beside Now and Local. Every action but the
// answers to buyers and Wake is followed by exactly one event that ends it, its failure or time-out
// included; Seq of an action is repeated in that event.
const (
	// Tick: the time of a Wake has come, or something changed in the log that may concern the broker:
	// the tenure began, a peer's ask was applied, the sale was changed.
	Tick EventKind = iota + 1
	// Dry: a buyer's reservation answered machine.CodeDry, at first or after Propose. Buyer, Quantity.
	Dry
	// Done: a buyer who waits needs nothing more: Propose gave another answer, or the buyer is gone. Buyer.
	Done
	// WantResume: an operator wants to resume the sale; ask MayResume afterwards.
	WantResume
	// Renew: somebody was refused by a Verdict that is Aging.
	Renew
	// Asked ends Ask: Seq, Peer, Units (what the peer ever gave to this shard).
	Asked
	// AskFailed ends Ask: Seq, Peer. The ask may have been carried out.
	AskFailed
	// Accepted ends Accept, when it is applied: Seq, Peer. Local has it.
	Accepted
	// AcceptFailed ends Accept: Seq, Peer. It may have been carried out.
	AcceptFailed
	// Collected ends Collect: Seq, Peer, Row. The row reflects every entry of that shard's log that was
	// committed before it was asked, and holds nothing that is not committed.
	Collected
	// CollectFailed ends Collect: Seq, Peer.
	CollectFailed
	// Gave ends Give: Peer, Units (what the peer, after applying it, ever took of this shard).
	Gave
	// GiveFailed ends Give: Peer.
	GiveFailed
	// Acknowledged ends Acknowledge, done or not: Peer.
	Acknowledged
)

// Event is one thing that happened.
type Event struct {
	Kind  EventKind
	Now   time.Duration     // the leader's monotonic clock; never goes back between events
	Local machine.Collected // this shard's row of the sale, as applied now
	Seq   uint64
	Buyer uint64 // whatever number the caller gave the waiting request; not 0
	Peer  string
	// Quantity of Dry.
	Quantity int64
	Units    int64
	Row      machine.Collected
}

// ActionKind says what is to be done.
type ActionKind uint8

// The actions, with the fields of Action that each one uses.
const (
	// Ask sends SHARD.ASK to Peer: Seq, Units (what this shard ever took of it), Want, ForDebt.
	Ask ActionKind = iota + 1
	// Accept proposes machine.Accept to this shard's log: Seq, Peer, Units (what it ever gave).
	Accept
	// Collect asks Peer for its row, which may be this shard itself: Seq, Peer. Each Seq goes to all
	// shards of the sale.
	Collect
	// Give sends SHARD.GIVE to Peer: Units (what this shard ever gave to it). The peer answers once it
	// has applied a machine.Accept with that many, or had done so before.
	Give
	// Acknowledge proposes machine.Ask with Quantity 0 to this shard's log: Peer, Units (what it took).
	Acknowledge
	// Propose proposes the reservation of Buyer to the log again; ends with Dry or Done.
	Propose
	// Refuse answers Buyer with Result: CodeSoldOut, CodeInsufficient or CodeNotOpen.
	Refuse
	// TryAgain answers Buyer that it cannot be decided now: -TRYAGAIN.
	TryAgain
	// Busy answers Buyer that too many wait already: -BUSY.
	Busy
	// Wake asks for a Tick at At, or soon after. A later Wake replaces an earlier one.
	Wake
)

// Action is one thing to do.
type Action struct {
	Kind    ActionKind
	Seq     uint64
	Buyer   uint64
	Peer    string
	Units   int64
	Want    int64
	ForDebt bool
	Result  machine.Result
	At      time.Duration
}
