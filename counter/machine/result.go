package machine

import (
	"fmt"

	"headgate.example/lib/sale"
)

// Code is the outcome of a command.
type Code uint8

// The outcomes, with the fields of Result that each one fills.
const (
	// CodeOK: Revision for a change of a sale; Rules index in Detail for a rule; for Ask what this shard
	// ever gave the taker in Detail, for Accept what it ever took of the giver, and the units that
	// moved just now in Quantity.
	CodeOK       Code = iota + 1
	CodeReserved      // Order, State, Quantity, Slot, Expires
	CodeAlready       // Reserve: the live order as for CodeReserved; Release: Order, State

	// The refusals of Reserve, in the order in which they are checked.
	CodeNoSale
	CodePaused
	CodeNotOpen      // Detail: when it opens or the next units come, wall ms
	CodeEnded        //
	CodeLimit        // Detail: the limit of units per user; of live orders, where those are the reason
	CodeSoldOut      // Detail: units held, which may return
	CodeInsufficient // Detail: units left

	// What Confirm, Abort and Release answer; Order and State are filled where the order is known.
	CodeConfirmed
	CodeExpired
	CodeReleased
	CodeHeld
	CodeUnknown
	CodeForgotten

	// CodeDry is Reserve's answer when this shard has too few units and others may have some: Detail
	// is what is available here. It is never shown to a buyer: the leader borrows, or finds out over
	// all shards what to answer.
	CodeDry

	// Errors. Nothing was changed.
	CodeConflict   // Revision: the sale's current revision
	CodeWrongShard // Reason: the shard to ask
	CodeBusy       // Field, Reason: which bound was reached
	CodeErr        // Field, Reason
)

var codeWords = [...]string{
	CodeOK: "ok", CodeReserved: "reserved", CodeAlready: "already", CodeNoSale: "no_sale", CodePaused: "paused",
	CodeNotOpen: "not_open", CodeEnded: "ended", CodeLimit: "limit", CodeSoldOut: "sold_out",
	CodeInsufficient: "insufficient", CodeConfirmed: "confirmed", CodeExpired: "expired", CodeReleased: "released",
	CodeHeld: "held", CodeUnknown: "unknown", CodeForgotten: "forgotten", CodeDry: "dry", CodeConflict: "conflict",
	CodeWrongShard: "wrongshard", CodeBusy: "busy", CodeErr: "err",
}

// String is the word used on the wire. The error codes are written there as -CONFLICT, -WRONGSHARD,
// -BUSY and -ERR instead.
func (c Code) String() string {
	if int(c) < len(codeWords) && c != 0 {
		return codeWords[c]
	}
	return fmt.Sprintf("Code(%d)", uint8(c))
}

// Refusal reports whether the code is one of Reserve's refusals.
func (c Code) Refusal() bool { return c >= CodeNoSale && c <= CodeInsufficient }

// Error reports whether the command could not be carried out as asked; on the wire it is an error.
func (c Code) Error() bool { return c >= CodeConflict }

// Result is what became of one command. A change of a sale that names an unknown sale answers
// CodeNoSale.
type Result struct {
	Code     Code
	State    sale.HoldState
	Order    sale.OrderID
	Quantity int64
	Slot     int64
	Expires  int64 // wall ms at which a hold is expected to expire, advisory; 0 when confirmed
	Detail   int64
	Revision int64
	Field    string
	Reason   string
	// Excess lists, for a RestoreSale, the orders that lost a clash of slots, at most
	// MaxExcessListed; Detail is how many there are. They are not in the restored sale.
	Excess []sale.OrderID
}

func failed(err error) Result {
	if field, ok := err.(*sale.FieldError); ok {
		return Result{Code: CodeErr, Field: field.Field, Reason: field.Reason}
	}
	return Result{Code: CodeErr, Field: "command", Reason: "is not valid"}
}

func busy(field, format string, args ...any) Result {
	return Result{Code: CodeBusy, Field: field, Reason: fmt.Sprintf(format, args...)}
}

func wrong(field, format string, args ...any) Result {
	return Result{Code: CodeErr, Field: field, Reason: fmt.Sprintf(format, args...)}
}
