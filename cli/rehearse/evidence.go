package rehearse

import (
	"time"

	"headgate.example/lib/sale"
)

// Evidence is what was seen of one sale from outside. Times are since the start; those that the counter and
// the ledger wrote are by their own clocks, in whole milliseconds.
type Evidence struct {
	Sale     string
	Stock    int64
	Opens    time.Duration
	Interval time.Duration // between two presses of one user, as the deployment says
	// Users names the buyers by their numbers.
	Users   func(buyer int32) string
	Bot     func(buyer int32) bool
	Presses []Press // of this sale, in any order
	// What buyers did with their orders.
	Pages []Deed // the pay page took the money
	Asked []Deed // cancellations

	Holds   []Hold                 // every hold that the counter has of this sale, in any state
	Orders  map[sale.OrderID]Order // the ledger's rows, of all ids that anybody named
	Refunds map[sale.OrderID]bool  // orders whose money went, or goes, back

	Left    Left
	Audit   AuditWord
	Closing Closing
}

// Hold is a hold as the counter keeps it.
type Hold struct {
	Order    sale.OrderID
	User     string
	Quantity int64
	State    sale.HoldState
	From, To time.Duration // To: when it was released or expired; only of those that were
}

func (h *Hold) live() bool { return h.State.Live() }

// Order is the ledger's row of an order.
type Order struct {
	User     string
	State    sale.OrderState
	Active   bool
	Quantity int64
	Reason   string
	Updated  time.Duration
	Deadline time.Duration
}

// Left is what counter, queue and ledger still have under way at the end, in units, messages and rows.
type Left struct {
	Available int64 `json:"available"`
	Held      int64 `json:"held"`
	InTransit int64 `json:"in_transit"`
	Scheduled int64 `json:"scheduled"`
	Debt      int64 `json:"debt"`
	Queue     int64 `json:"queue"`
	Outbox    int64 `json:"outbox"`
	OutboxBad int64 `json:"outbox_parked"`
	Parked    int64 `json:"parked_messages"`
	Dead      int64 `json:"dead_letters"`
	Unpaid    int64 `json:"unpaid"`
}

// Settled reports that nothing travels and nobody's time to pay runs.
func (l *Left) Settled() bool {
	return l.Held == 0 && l.InTransit == 0 && l.Queue == 0 && l.Outbox == 0 && l.Parked == 0 && l.Unpaid == 0
}

// AuditWord is the audit's verdict and what it found.
type AuditWord struct {
	Verdict  string   `json:"verdict"` // holds violated not_settled unreachable
	Findings []string `json:"findings,omitempty"`
}

// Closing is what those met who came at the end for what had come back.
type Closing struct {
	Came   int  `json:"came"`
	Bought int  `json:"bought"`
	Ended  bool `json:"ended"` // all was sold and paid, or nobody was left to come
}
