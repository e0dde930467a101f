package audit

import (
	"fmt"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Verdict is the audit's answer. Among several, the worst counts.
type Verdict string

// The verdicts, from best to worst.
const (
	Holds       Verdict = "holds"
	NotSettled  Verdict = "not_settled" // differs, but what travels or is too young explains it: ask again
	Violated    Verdict = "violated"
	Unreachable Verdict = "unreachable" // counter, ledger or queue did not answer: nothing is known
)

// ExitCode is what a program that audits ends with: 0 holds, 1 violated, 2 not settled yet, 3
// unreachable.
func (v Verdict) ExitCode() int {
	switch v {
	case Holds:
		return 0
	case Violated:
		return 1
	case NotSettled:
		return 2
	case Unreachable:
		return 3
	}
	return 3
}

var rank = [...]Verdict{Holds, NotSettled, Violated, Unreachable}

func worse(a, b Verdict) Verdict {
	for i := len(rank) - 1; i >= 0; i-- {
		if a == rank[i] || b == rank[i] {
			return rank[i]
		}
	}
	return Unreachable
}

// MaxFindings bounds the findings that a sale's report lists unless Options say otherwise; further ones
// are counted.
const MaxFindings = 1000

// Report is the outcome of one audit.
type Report struct {
	At      time.Time    `json:"at"`
	Took    string       `json:"took"`
	Verdict Verdict      `json:"verdict"`
	Error   string       `json:"error,omitempty"`   // why something was unreachable
	Queue   *Queue       `json:"queue,omitempty"`   // nil: it could not be read
	Ledger  *Backlog     `json:"backlog,omitempty"` // nil: it could not be read
	Sales   []SaleReport `json:"sales"`
}

// Queue is what is stored under the orders' topic.
type Queue struct {
	Ready int `json:"ready"`
	// Unacked is what consumers hold; nil: the broker does not tell, as RabbitMQ does not. Orders in it are among
	// those that a sale's report has as travelling, whatever the broker tells.
	Unacked *int `json:"unacked"`
	Delayed int  `json:"delayed"`
	Dead    int  `json:"dead"`
}

func queueOf(d queue.Depth) *Queue {
	q := &Queue{Ready: d.Ready, Delayed: d.Delayed, Dead: d.Dead}
	if d.Unacked != queue.UnknownCount {
		q.Unacked = &d.Unacked
	}
	return q
}

// String is the queue's depth in words.
func (q *Queue) String() string {
	d := queue.Depth{Ready: q.Ready, Unacked: queue.UnknownCount, Delayed: q.Delayed, Dead: q.Dead}
	if q.Unacked != nil {
		d.Unacked = *q.Unacked
	}
	return d.String()
}

// Backlog is what the ledger still has to settle.
type Backlog struct {
	OutboxDue    int64 `json:"outbox_due"`
	OutboxParked int64 `json:"outbox_parked"`
	Parked       int64 `json:"parked_messages"`
	DeadLetters  int64 `json:"dead_letters"`
}

func backlogOf(b store.Backlog) *Backlog {
	return &Backlog{OutboxDue: b.OutboxDue, OutboxParked: b.OutboxParked, Parked: b.Parked, DeadLetters: b.DeadLetters}
}

// SaleReport is one sale's part.
type SaleReport struct {
	Sale         string    `json:"sale"`
	Verdict      Verdict   `json:"verdict"`
	Intent       string    `json:"intent"`
	Revision     int64     `json:"revision"`
	Acknowledged int64     `json:"acknowledged"`
	Alarm        string    `json:"alarm,omitempty"`
	Counter      Figures   `json:"counter"`
	Terms        []Term    `json:"terms"`    // each sum with both sides
	Compared     int64     `json:"compared"` // ids that were matched
	Travelling   int64     `json:"travelling"`
	Problems     []string  `json:"problems,omitempty"`
	Findings     []Finding `json:"findings,omitempty"`
	More         int64     `json:"more_findings,omitempty"` // beyond MaxFindings
	InTransfer   int64     `json:"in_transfer"`             // units given by one shard and not taken by another yet
	Shards       []Shard   `json:"shards,omitempty"`

	most int // findings that are listed
}

// Figures are the counter's terms, in units, and the ids behind two of them.
type Figures struct {
	Stock           int64 `json:"stock"`
	Alloc           int64 `json:"alloc"`
	Taken           int64 `json:"taken"`
	Given           int64 `json:"given"`
	Scheduled       int64 `json:"scheduled"`
	Available       int64 `json:"available"`
	Held            int64 `json:"held"`
	Confirmed       int64 `json:"confirmed"`
	Debt            int64 `json:"debt"`
	HeldOrders      int64 `json:"held_orders"`
	ConfirmedOrders int64 `json:"confirmed_orders"`
	ExcessOrders    int64 `json:"excess_orders"` // ids that lost a clash of slots when the sale was restored
}

// Shard is one counter shard's part, at one applied index.
type Shard struct {
	Shard string  `json:"shard"`
	Index uint64  `json:"index"`
	Holds bool    `json:"holds"`
	Terms Figures `json:"terms"`
}

// Term is one equation or bound with its figures.
type Term struct {
	Name  string `json:"name"`
	Left  int64  `json:"left"`
	Right int64  `json:"right"`
	Holds bool   `json:"holds"`
}

func equal(name string, left, right int64) Term {
	return Term{Name: name, Left: left, Right: right, Holds: left == right}
}

func atMost(name string, left, right int64) Term {
	return Term{Name: name, Left: left, Right: right, Holds: left <= right}
}

// Finding is one order id that does not agree.
type Finding struct {
	Order   sale.OrderID `json:"order"`
	Verdict Verdict      `json:"verdict"`
	What    string       `json:"what"`

	// Both sides as the last look found them, for the repair; nil: not known there.
	Hold *client.Hold `json:"-"`
	Row  *store.Order `json:"-"`
}

func (f Finding) String() string { return fmt.Sprintf("%s %s: %s", f.Order, f.Verdict, f.What) }

// find notes a finding and lets it count.
func (r *SaleReport) find(f Finding) {
	r.Verdict = worse(r.Verdict, f.Verdict)
	if len(r.Findings) < r.most {
		r.Findings = append(r.Findings, f)
		return
	}
	r.More++
}

func (r *SaleReport) problem(verdict Verdict, format string, args ...any) {
	r.Verdict = worse(r.Verdict, verdict)
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}
