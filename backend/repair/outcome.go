package repair

import (
	"fmt"
	"time"

	"headgate.example/lib/sale"
)

// The kinds of steps, in the order in which they are taken.
const (
	AdoptSale     = "adopt_sale"     // the ledger takes over the sale's later changes from the counter
	FreeOrder     = "free_order"     // an unpaid order whose units the counter proves to be free is cancelled in the ledger
	ExpireMessage = "expire_message" // a message whose slot a later order has is written as expired
	PauseSale     = "pause_sale"     // a sale that is rebuilt is paused in the ledger: an operator resumes it
	RestoreShard  = "restore_shard"  // SALE.RESTORE
	AdoptPayment  = "adopt_payment"  // a payment that the provider has and the ledger lost is asked about
	WriteOrder    = "write_order"    // an order is written from its confirmed hold
	Release       = "release"        // a release is sent to the counter again
	FinishRelease = "finish_release" // a release of units that the counter no longer knows is finished
	RetryMessage  = "retry_message"  // a parked message is decided at once
)

// maxOrders bounds the ids that a step lists; Count has them all.
const maxOrders = 20

// maxListed bounds what is listed for the operator; further lines are counted.
const maxListed = 1000

// Step is one thing that is done, or would be.
type Step struct {
	Kind   string         `json:"kind"`
	Sale   string         `json:"sale,omitempty"`
	Shard  string         `json:"shard,omitempty"`
	Count  int            `json:"count" doc:"Orders or messages that it concerns."`
	Orders []sale.OrderID `json:"orders,omitempty" doc:"The first of them."`
	What   string         `json:"what"`
	Done   bool           `json:"done"`
	Error  string         `json:"error,omitempty"`
}

func (s Step) String() string {
	where := "sale " + s.Sale
	if s.Shard != "" {
		where += " on shard " + s.Shard
	}
	return fmt.Sprintf("%s: %s: %s", s.Kind, where, s.What)
}

// Outcome is what a repair did, or would do.
type Outcome struct {
	At      time.Time `json:"at"`
	Applied bool      `json:"applied" doc:"False: nothing was changed."`
	Steps   []Step    `json:"steps"`
	// Listed is for an operator: what nothing that is left decides.
	Listed []string `json:"listed" doc:"What an operator has to decide."`
	More   int      `json:"more_listed,omitempty"`
	// Waiting is why a part could not be decided now; run the repair again.
	Waiting []string `json:"waiting,omitempty" doc:"What was left out for now, and why: run the repair again."`
	// Error is what stopped the repair; the steps that were done are done.
	Error string `json:"error,omitempty"`
}

// Clean reports that there was nothing to do and nothing to decide.
func (r *Outcome) Clean() bool {
	return r.Error == "" && len(r.Steps) == 0 && len(r.Listed) == 0 && len(r.Waiting) == 0
}

func (r *Outcome) list(format string, args ...any) {
	if len(r.Listed) == maxListed {
		r.More++
		return
	}
	r.Listed = append(r.Listed, fmt.Sprintf(format, args...))
}

func (r *Outcome) wait(format string, args ...any) {
	r.Waiting = append(r.Waiting, fmt.Sprintf(format, args...))
}
