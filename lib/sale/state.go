package sale

import (
	"fmt"
	"slices"
)

// HoldState is the state of a hold at the counter. held -> confirmed -> released; held -> expired;
// held -> released (by ABORT).
type HoldState uint8

// The states of a hold. The numbers are written to logs and snapshots: never renumber them.
const (
	Held      HoldState = 1
	Confirmed HoldState = 2
	Released  HoldState = 3
	Expired   HoldState = 4
)

var holdStateNames = [...]string{Held: "held", Confirmed: "confirmed", Released: "released", Expired: "expired"}

// String is the word used on the wire.
func (s HoldState) String() string {
	if int(s) < len(holdStateNames) && s != 0 {
		return holdStateNames[s]
	}
	return fmt.Sprintf("HoldState(%d)", uint8(s))
}

// Live reports whether the hold keeps its units: held or confirmed.
func (s HoldState) Live() bool { return s == Held || s == Confirmed }

// ParseHoldState reads the word used on the wire.
func ParseHoldState(word string) (HoldState, error) {
	for state, name := range holdStateNames {
		if name == word && name != "" {
			return HoldState(state), nil
		}
	}
	return 0, fmt.Errorf("unknown hold state %q", word)
}

// OrderState is what a buyer is told of an order. Pending and Queued exist only before the ledger has
// its row; the others are written in the ledger.
type OrderState string

// The states of an order.
const (
	Pending      OrderState = "pending" // units held, not taken by the upstream yet
	Queued       OrderState = "queued"  // taken durably, not in the ledger yet
	Unpaid       OrderState = "unpaid"
	Paid         OrderState = "paid"
	Cancelled    OrderState = "cancelled"
	OrderExpired OrderState = "expired"  // the hold ran out before the order was confirmed: this purchase never happened
	Rejected     OrderState = "rejected" // refused for good by the ledger
	Refunded     OrderState = "refunded"
)

var ledgerStates = []OrderState{Unpaid, Paid, Cancelled, OrderExpired, Rejected, Refunded}

// InLedger reports whether the ledger may hold a row in this state.
func (s OrderState) InLedger() bool { return slices.Contains(ledgerStates, s) }

// Final reports whether the order's state can no longer change.
func (s OrderState) Final() bool {
	return s == Cancelled || s == OrderExpired || s == Rejected || s == Refunded
}

// Phase is what shoppers see of a sale.
type Phase string

// The phases of a sale.
const (
	Upcoming Phase = "upcoming"
	Open     Phase = "open"
	Paused   Phase = "paused"
	SoldOut  Phase = "sold_out"
	Ended    Phase = "ended"
)
