package rehearse

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"headgate.example/lib/sale"
)

// Outcome is the word of a whole rehearsal.
type Outcome string

// The outcomes.
const (
	Clean      Outcome = "clean"
	NotSettled Outcome = "not settled" // something still travels: nothing wrong was seen, and not all could be
	Violated   Outcome = "violated"
)

// ExitCode is what the command ends with.
func (o Outcome) ExitCode() int {
	switch o {
	case Clean:
		return 0
	case Violated:
		return 1
	}
	return 2
}

// Rules of what was violated; each has a count in a Verdict.
const (
	RuleOversold  = "oversold"
	RuleUndersold = "undersold"
	RuleDuplicate = "duplicate"
	RuleLost      = "lost after yes"
	RuleReason    = "wrong reason told"
	RuleStuck     = "units stuck"
	RulePromise   = "broken promise of the API"
	RuleAudit     = "violated audit"
)

// How much Judge gives the benefit of the doubt.
const (
	// reasonGrace is how long a word about a sale may be believed after it has changed: the edge's poll and
	// its time on that (200 + 250 ms), a shard's verdict (250 ms), and clocks apart.
	reasonGrace   = time.Second
	clockSkew     = 300 * time.Millisecond // between the clocks of the counter's leaders, and ours
	intervalGrace = 100 * time.Millisecond
	// strikesOfABan is how many presses that came too soon have a user banned, by default; some of them
	// may not have been answered.
	strikesOfABan = 100
	maxFindings   = 20 // of each rule that are listed
)

// Finding is one thing that must not be.
type Finding struct {
	Rule string `json:"rule"`
	What string `json:"what"`
}

// Verdict is what Judge says of one sale.
type Verdict struct {
	Sale       string         `json:"sale"`
	Outcome    Outcome        `json:"outcome"`
	Stock      int64          `json:"stock"`
	Sold       int64          `json:"sold"`  // units of active orders in the ledger
	Paid       int64          `json:"paid"`  // of them, paid
	Yes        int            `json:"yes"`   // orders that buyers were told they have
	Came       int64          `json:"freed"` // units that came back: cancelled, or not paid in time
	Violations map[string]int `json:"violations"`
	Findings   []Finding      `json:"findings,omitempty"` // some of each rule
	Unsettled  []string       `json:"unsettled,omitempty"`
	Left       Left           `json:"left"`
	Audit      AuditWord      `json:"audit"`
	Closing    Closing        `json:"closing"`
}

// Rules are the rules that a verdict counts, in the order in which people read them.
func Rules() []string {
	return []string{RuleOversold, RuleUndersold, RuleDuplicate, RuleLost, RuleReason, RuleStuck, RulePromise, RuleAudit}
}

// judge is a verdict in the making.
type judge struct {
	*Evidence
	v      Verdict
	holdOf map[sale.OrderID]*Hold
	byUser map[string][]*Hold
	taken  *timeline // as it was
	sure   *timeline // with clocks apart in favour of the system
}

// Judge says what of the evidence must not be. It is pure.
func Judge(e *Evidence) Verdict {
	j := &judge{Evidence: e, holdOf: map[sale.OrderID]*Hold{}, byUser: map[string][]*Hold{}}
	j.v = Verdict{Sale: e.Sale, Outcome: Clean, Stock: e.Stock, Violations: map[string]int{}, Left: e.Left, Audit: e.Audit, Closing: e.Closing}
	for i := range e.Holds {
		h := &e.Holds[i]
		j.holdOf[h.Order] = h
		j.byUser[h.User] = append(j.byUser[h.User], h)
	}
	j.taken, j.sure = newTimeline(e.Holds, 0), newTimeline(e.Holds, clockSkew)
	j.ledger()
	j.stock()
	j.duplicates()
	j.promises()
	j.payments()
	j.reasons()
	j.remains()
	if len(j.v.Violations) > 0 {
		j.v.Outcome = Violated
	} else if len(j.v.Unsettled) > 0 {
		j.v.Outcome = NotSettled
	}
	return j.v
}

// find counts units or answers under a rule.
func (j *judge) find(rule string, count int64, format string, args ...any) {
	if j.v.Violations[rule] < maxFindings {
		j.v.Findings = append(j.v.Findings, Finding{rule, fmt.Sprintf(format, args...)})
	}
	j.v.Violations[rule] += int(count)
}

func (j *judge) unsettled(format string, args ...any) {
	j.v.Unsettled = append(j.v.Unsettled, fmt.Sprintf(format, args...))
}

func (j *judge) ledger() {
	for _, o := range j.Orders {
		if o.Active {
			j.v.Sold += o.Quantity
			if o.State == sale.Paid {
				j.v.Paid += o.Quantity
			}
		}
	}
	for i := range j.Holds {
		if h := &j.Holds[i]; !h.live() {
			j.v.Came += h.Quantity
		}
	}
}

// stock: never more units taken than there are, at any moment; and at the end all of them.
func (j *judge) stock() {
	if over := j.sure.peak() - j.Stock; over > 0 {
		j.find(RuleOversold, over, "the counter had %d units taken at once, %d more than there are", j.sure.peak(), over)
	}
	if over := j.v.Sold - j.Stock; over > 0 {
		j.find(RuleOversold, over, "the ledger has %d units sold, %d more than there are", j.v.Sold, over)
	}
	// Who came at the end and was refused wanted what was left.
	under := min(j.Stock-j.v.Sold, int64(j.Closing.Came-j.Closing.Bought))
	switch {
	case under <= 0:
	case !j.Left.Settled():
		j.unsettled("%d units are not sold yet", under)
	default:
		j.find(RuleUndersold, under, "%d units are left, and %d of the %d buyers who came for them got none", j.Stock-j.v.Sold,
			j.Closing.Came-j.Closing.Bought, j.Closing.Came)
	}
	if !j.Closing.Ended {
		j.unsettled("the time ran out before all that came back was sold and paid")
	}
}

// duplicates: nobody has two orders at the same time, and nobody's order is told to somebody else.
func (j *judge) duplicates() {
	for _, user := range slices.Sorted(maps.Keys(j.byUser)) {
		holds := j.byUser[user]
		slices.SortFunc(holds, func(a, b *Hold) int { return int(a.From - b.From) })
		for i, h := range holds[1:] {
			before := holds[i]
			if before.live() || before.To-clockSkew > h.From {
				j.find(RuleDuplicate, 1, "%s had order %s when the counter gave order %s", user, before.Order, h.Order)
			}
		}
	}
	active := map[string]sale.OrderID{}
	for _, id := range slices.Sorted(maps.Keys(j.Orders)) {
		o := j.Orders[id]
		if !o.Active {
			continue
		}
		if other, twice := active[o.User]; twice {
			j.find(RuleDuplicate, 1, "%s has two orders in the ledger: %s and %s", o.User, other, id)
		}
		active[o.User] = id
	}
}

// promises: whoever was told that he has an order has it, to the end that he gave it himself.
func (j *judge) promises() {
	cancelled := map[sale.OrderID]bool{}
	for _, deed := range j.Asked {
		cancelled[deed.Order] = true
	}
	told := map[sale.OrderID]int32{}
	for i := range j.Presses {
		p := &j.Presses[i]
		if p.Broken != "" {
			j.find(RulePromise, 1, "%s was answered %d %s: %s", j.Users(p.Buyer), p.Status, p.Code, p.Broken)
		}
		if !p.promises() || !p.yes() && j.wrongOrder(p) != "" {
			continue // who was told of an order that is not his was promised nothing, see reasons
		}
		if other, known := told[p.Order]; known {
			if other != p.Buyer {
				j.find(RuleDuplicate, 1, "order %s was given to %s and to %s", p.Order, j.Users(other), j.Users(p.Buyer))
			}
			continue
		}
		told[p.Order] = p.Buyer
		j.v.Yes++
		if why := j.lost(p.Order, j.Users(p.Buyer), cancelled[p.Order]); why != "" {
			j.find(RuleLost, 1, "%s was told at %s that order %s is theirs: %s", j.Users(p.Buyer), moment(p.At), p.Order, why)
		}
	}
}

// lost says why an order that somebody was promised is not his.
func (j *judge) lost(id sale.OrderID, user string, cancelled bool) string {
	row, known := j.Orders[id]
	switch {
	case !known && (j.Left.Queue > 0 || j.Left.Parked > 0):
		j.unsettled("order %s is not in the ledger yet", id)
		return ""
	case !known:
		return "the ledger does not have it"
	case row.User != user:
		return "in the ledger it is " + row.User + "'s"
	case row.State == sale.OrderExpired || row.State == sale.Rejected:
		return "the ledger has it as " + string(row.State) + " (" + row.Reason + ")"
	case row.State == sale.Cancelled && !cancelled && row.Updated < row.Deadline-clockSkew:
		return "it was cancelled before its deadline, and not by its buyer (" + row.Reason + ")"
	}
	return ""
}

// payments: what the pay page took is paid or goes back.
func (j *judge) payments() {
	for _, deed := range j.Pages {
		row, known := j.Orders[deed.Order]
		switch {
		case !known || row.State == sale.Paid || row.State == sale.Refunded || j.Refunds[deed.Order]:
		case row.State == sale.Unpaid:
			j.unsettled("the payment of order %s has not arrived", deed.Order)
		default:
			j.find(RuleLost, 1, "%s paid order %s at %s, which is %s, and the money does not go back", j.Users(deed.Buyer), deed.Order, moment(deed.At), row.State)
		}
	}
}

// remains: nothing is left under way, and the audit agrees.
func (j *judge) remains() {
	l := &j.Left
	if l.OutboxBad > 0 || l.Dead > 0 {
		j.find(RuleStuck, l.OutboxBad+l.Dead, "%d releases are parked, %d messages are dead letters", l.OutboxBad, l.Dead)
	}
	if free := j.Stock - l.Available - l.Scheduled - j.v.Sold + l.Debt; free != 0 && l.Settled() {
		j.find(RuleStuck, max(free, -free), "of %d units the counter has %d to sell and the ledger %d sold: %d are neither", j.Stock, l.Available+l.Scheduled, j.v.Sold, free)
	}
	if !l.Settled() {
		j.unsettled("%d units held, %d in transit, %d messages queued, %d parked, %d releases due, %d orders unpaid",
			l.Held, l.InTransit, l.Queue, l.Parked, l.Outbox, l.Unpaid)
	}
	switch j.Audit.Verdict {
	case "holds":
	case "violated":
		j.find(RuleAudit, 1, "the audit is violated")
		for _, what := range j.Audit.Findings {
			j.v.Findings = append(j.v.Findings, Finding{RuleAudit, what})
		}
	default:
		j.unsettled("the audit says %s", j.Audit.Verdict)
	}
}

func moment(d time.Duration) string { return d.Round(time.Millisecond).String() }
