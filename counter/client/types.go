package client

import (
	"headgate.example/lib/sale"
)

// The codes of a Reservation.
const (
	CodeReserved     = "reserved"
	CodeAlready      = "already"
	CodeNoSale       = "no_sale"
	CodePaused       = "paused"
	CodeNotOpen      = "not_open"
	CodeEnded        = "ended"
	CodeLimit        = "limit"
	CodeSoldOut      = "sold_out"
	CodeInsufficient = "insufficient"
)

// Reservation is what RESERVE answered.
type Reservation struct {
	// Code is CodeReserved or CodeAlready; any other is a refusal.
	Code string
	// The hold, when not refused.
	Order    sale.OrderID
	State    sale.HoldState
	Quantity int64
	Slot     int64
	// ExpiresAt is wall-clock milliseconds, advisory: holds count the counter's served time.
	ExpiresAt int64
	// Detail of a refusal: opens at (not_open, ms), units held that may return (sold_out), units
	// left (insufficient), the limit of units per user (limit).
	Detail int64
}

// Refused reports whether nothing is held for this request.
func (r Reservation) Refused() bool { return r.Code != CodeReserved && r.Code != CodeAlready }

// ConfirmCode is the fate of one id of a Confirm.
type ConfirmCode string

// The answers to Confirm.
const (
	ConfirmConfirmed ConfirmCode = "confirmed"
	ConfirmExpired   ConfirmCode = "expired"
	ConfirmReleased  ConfirmCode = "released"
	ConfirmUnknown   ConfirmCode = "unknown" // the shard has no such id: undecided
	// ConfirmUnavailable: the id's shard gave no answer, or is not in the config. It may have been
	// confirmed: ask again.
	ConfirmUnavailable ConfirmCode = "unavailable"
)

// The answers to Abort and Release.
const (
	Released       = "released"
	Already        = "already"   // RELEASE: was released before
	StillHeld      = "held"      // RELEASE: never confirmed, nothing changed
	StillConfirmed = "confirmed" // ABORT: confirmed by another press, nothing changed
	WasExpired     = "expired"
	UnknownOrder   = "unknown"
	Forgotten      = "forgotten" // the sale's totals are all that is left
)

// Hold is the state of one order id at its shard. Times are wall-clock milliseconds since 1970.
type Hold struct {
	sale.Binding
	State      sale.HoldState
	Key        string
	ReservedAt int64
	ExpiresAt  int64 // advisory
	ChangedAt  int64
	Reason     string
}

// Audit is the sum over shards of the terms that must balance, with the shards' own.
type Audit struct {
	Sale      string
	Holds     bool // every shard's sum is right, and the shards agree with each other
	Problems  []string
	Unsettled []string // what is under way between the shards, and no violation
	Total     AuditTerms
	Shards    []ShardAudit
	Revision  int64
	InTransit int64 // units given by one shard and not taken by another yet
}

// AuditTerms are the terms of alloc + taken - given = scheduled + available + held + confirmed.
type AuditTerms struct {
	Stock, Alloc, Taken, Given, Scheduled, Available, Held, Confirmed, Debt int64
	// Orders (ids, not units) by state.
	HeldOrders, ConfirmedOrders int64
	// ExcessOrders lost a clash of slots when the sale was restored; an operator must settle them.
	ExcessOrders int64
}

// ShardAudit is one shard's part of an Audit, at one applied index.
type ShardAudit struct {
	Shard string
	Index uint64
	Holds bool
	Terms AuditTerms
}

// Rules is the answer to RULES: everything (Full) or what changed after the asked index.
type Rules struct {
	Full    bool
	Index   int64 // ask for the changes after this one next
	Now     int64 // the counter's wall clock, milliseconds
	Changes []Rule
}

// The kinds of Rule.
const (
	RuleUser    = "user"
	RuleAddress = "address" // an IP address or a CIDR
	RuleToken   = "token"   // a revocation: see Rule.Before
)

// ReasonLift is the reason of a rule that bans nobody. UNBAN of what does not stand changes nothing, and so
// reaches no edge; setting such a rule and removing it does, and ends the bans that edges made by themselves.
const ReasonLift = "(lift)"

// Lifts reports whether the rule ends a ban of its value, at the control shard or at an edge.
func (r *Rule) Lifts() bool {
	return (r.Kind == RuleUser || r.Kind == RuleAddress) && (r.Removed || r.Reason == ReasonLift)
}

// Rule is one ban, or one revocation of a user's tokens.
type Rule struct {
	Index   int64
	Kind    string
	Value   string
	Until   int64 // milliseconds; 0: for good
	Reason  string
	Removed bool  // the rule no longer holds
	Before  int64 // revocation: tokens issued before this millisecond are void
}
