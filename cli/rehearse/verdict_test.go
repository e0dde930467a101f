package rehearse

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

const opens = 10 * time.Second

// world is a sale of three units that went as it should: u0 and u1 bought and paid, u2 cancelled his, which u3
// bought; u4 was told sold_out.
func world() *Evidence {
	e := &Evidence{
		Sale: "s", Stock: 3, Opens: opens, Interval: time.Second, Orders: map[sale.OrderID]Order{}, Refunds: map[sale.OrderID]bool{},
		Users: func(b int32) string { return fmt.Sprintf("u%d", b) }, Bot: func(b int32) bool { return b == 9 },
		Audit: AuditWord{Verdict: "holds"}, Closing: Closing{Ended: true},
	}
	buy := func(buyer int32, id sale.OrderID, at time.Duration) {
		e.Presses = append(e.Presses, yes(buyer, id, at))
		e.Holds = append(e.Holds, Hold{Order: id, User: e.Users(buyer), Quantity: 1, State: sale.Confirmed, From: at + 5*time.Millisecond})
		e.Orders[id] = Order{User: e.Users(buyer), State: sale.Paid, Active: true, Quantity: 1, Updated: at + time.Second, Deadline: at + 20*time.Second}
		e.Pages = append(e.Pages, Deed{buyer, id, at + time.Second})
	}
	buy(0, 100, opens+time.Second)
	buy(1, 101, opens+time.Second)
	buy(2, 102, opens+2*time.Second)
	e.Presses = append(e.Presses, told(4, problem.SoldOut, opens+3*time.Second))
	e.end(102, sale.Cancelled, opens+5*time.Second)
	e.Asked, e.Pages = []Deed{{2, 102, opens + 5*time.Second}}, e.Pages[:2]
	buy(3, 103, opens+6*time.Second)
	return e
}

func yes(buyer int32, id sale.OrderID, at time.Duration) Press {
	return Press{Buyer: buyer, Intended: at, Sent: at, At: at + 10*time.Millisecond, Status: 202, Order: id}
}

func told(buyer int32, code problem.Code, at time.Duration) Press {
	return Press{Buyer: buyer, Intended: at, Sent: at, At: at + 10*time.Millisecond, Status: code.Status(), Code: string(code)}
}

// end lets an order end: its hold is released, its row is what it is then.
func (e *Evidence) end(id sale.OrderID, state sale.OrderState, at time.Duration) {
	for i := range e.Holds {
		if e.Holds[i].Order == id {
			e.Holds[i].State, e.Holds[i].To = sale.Released, at
		}
	}
	row := e.Orders[id]
	row.State, row.Active, row.Updated = state, false, at
	e.Orders[id] = row
}

// oneMore makes it a sale of one more unit, in which nobody could be told sold_out.
func (e *Evidence) oneMore() {
	e.Stock++
	e.Presses = slices.DeleteFunc(e.Presses, func(p Press) bool { return p.Code == string(problem.SoldOut) })
}

func (e *Evidence) hold(id sale.OrderID) *Hold {
	for i := range e.Holds {
		if e.Holds[i].Order == id {
			return &e.Holds[i]
		}
	}
	return nil
}

func TestAWorldThatIsRightIsClean(t *testing.T) {
	v := Judge(world())
	if v.Outcome != Clean || v.Sold != 3 || v.Paid != 3 || v.Yes != 4 || v.Came != 1 || len(v.Findings) > 0 {
		t.Errorf("%+v", v)
	}
}

// Each forged piece of evidence turns the verdict red, under its own rule only.
func TestForgedEvidenceIsFound(t *testing.T) {
	late := opens + 20*time.Second
	cases := []struct {
		name, rule, words string
		forge             func(*Evidence)
	}{
		{"the counter gave a fourth unit", RuleOversold, "4 units taken at once", func(e *Evidence) {
			e.Holds = append(e.Holds, Hold{Order: 200, User: "u5", Quantity: 1, State: sale.Expired, From: late, To: late + time.Minute})
		}},
		{"the ledger has a fourth order", RuleOversold, "4 units sold", func(e *Evidence) {
			e.Orders[200] = Order{User: "u5", State: sale.Paid, Active: true, Quantity: 1}
			e.Left.Available = -1 // so that nothing is missing between them
		}},
		{"a unit that came back was not sold", RuleUndersold, "1 units are left", func(e *Evidence) {
			e.end(103, sale.Cancelled, late)
			e.Asked, e.Pages = append(e.Asked, Deed{3, 103, late}), e.Pages[:2]
			e.Left.Available, e.Closing = 1, Closing{Came: 1, Ended: true}
		}},
		{"the counter gave one user two orders", RuleDuplicate, "u0 had order 100 when", func(e *Evidence) {
			e.oneMore()
			e.Holds = append(e.Holds, Hold{Order: 200, User: "u0", Quantity: 1, State: sale.Confirmed, From: opens + 4*time.Second})
			e.Left.Available = 1
		}},
		{"the ledger has one user twice", RuleDuplicate, "u1 has two orders in the ledger: 101 and 103", func(e *Evidence) {
			row := e.Orders[103]
			row.User = "u1"
			e.Orders[103] = row
			e.Presses = e.Presses[:len(e.Presses)-1]
		}},
		{"two were told the same order", RuleDuplicate, "order 103 was given", func(e *Evidence) {
			e.Presses = append(e.Presses, yes(5, 103, opens+6*time.Second))
		}},
		{"an order is not in the ledger", RuleLost, "order 101 is theirs: the ledger does not have it", func(e *Evidence) {
			delete(e.Orders, 101)
			e.Left.Available, e.Pages = 1, e.Pages[:1]
		}},
		{"an order expired after the yes", RuleLost, "expired", func(e *Evidence) {
			e.end(103, sale.OrderExpired, late)
			e.Left.Available, e.Pages = 1, e.Pages[:2]
		}},
		{"an order was cancelled before its deadline", RuleLost, "not by its buyer", func(e *Evidence) {
			e.end(103, sale.Cancelled, opens+10*time.Second)
			e.Left.Available, e.Pages = 1, e.Pages[:2]
		}},
		{"already_ordered, and then nothing", RuleLost, "the ledger does not have it", func(e *Evidence) {
			p := told(5, problem.AlreadyOrdered, opens+7*time.Second)
			p.Order = 200
			e.oneMore()
			e.Presses = append(e.Presses, p)
			e.Holds = append(e.Holds, Hold{Order: 200, User: "u5", Quantity: 1, State: sale.Confirmed, From: opens + 7*time.Second})
			e.Left.Available = 1
		}},
		{"money was taken for an order that is gone", RuleLost, "the money does not go back", func(e *Evidence) {
			e.end(103, sale.Cancelled, opens+26*time.Second)
			e.Left.Available = 1
		}},
		{"sold out while a unit was free", RuleReason, "sold_out", func(e *Evidence) {
			e.hold(103).From = opens + 9*time.Second
			e.Presses = append(e.Presses, told(5, problem.SoldOut, opens+7*time.Second))
		}},
		{"sold out before anybody bought", RuleReason, "a unit was free", func(e *Evidence) {
			e.Presses = append(e.Presses, told(5, problem.SoldOut, opens))
		}},
		{"too soon to a first press", RuleReason, "too_soon", func(e *Evidence) {
			e.Presses = append(e.Presses, told(5, problem.TooSoon, opens+4*time.Second))
		}},
		{"too soon after the interval", RuleReason, "too_soon", func(e *Evidence) {
			e.Presses = append(e.Presses, told(4, problem.TooSoon, opens+4500*time.Millisecond))
		}},
		{"already ordered to one without an order", RuleReason, "is u0's", func(e *Evidence) {
			p := told(6, problem.AlreadyOrdered, opens+4*time.Second)
			p.Order = 100
			e.Presses = append(e.Presses, p)
		}},
		{"already ordered long after it ended", RuleReason, "ended at", func(e *Evidence) {
			p := told(2, problem.AlreadyOrdered, opens+7*time.Second)
			p.Order = 102
			e.Presses = append(e.Presses, p)
		}},
		{"not open when it was", RuleReason, "not_open", func(e *Evidence) {
			e.Presses = append(e.Presses, told(5, problem.NotOpen, opens+2*time.Second))
		}},
		{"a yes before the opening", RuleReason, "yes", func(e *Evidence) {
			e.Presses[0].Sent, e.Presses[0].At, e.hold(100).From = opens-2*time.Second, opens-time.Second, opens-time.Second
		}},
		{"banned for nothing", RuleReason, "blacklisted", func(e *Evidence) {
			e.Presses = append(e.Presses, told(5, problem.Blacklisted, opens+2*time.Second))
		}},
		{"a code that nothing here gives a reason for", RuleReason, "nothing here gives a reason", func(e *Evidence) {
			e.Presses = append(e.Presses, told(5, problem.Ended, opens+2*time.Second))
		}},
		{"a refusal that breaks the API", RulePromise, "without Retry-After", func(e *Evidence) {
			p := told(5, problem.Overloaded, opens+2*time.Second)
			p.Broken = "503 without Retry-After"
			e.Presses = append(e.Presses, p)
		}},
		{"a dead letter", RuleStuck, "dead letters", func(e *Evidence) { e.Left.Dead = 1 }},
		{"a release that is parked", RuleStuck, "releases are parked", func(e *Evidence) { e.Left.OutboxBad = 1 }},
		{"a unit that is nowhere", RuleStuck, "1 are neither", (*Evidence).oneMore},
		{"the audit is violated", RuleAudit, "audit", func(e *Evidence) { e.Audit = AuditWord{"violated", []string{"what"}} }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := world()
			c.forge(e)
			v := Judge(e)
			if v.Outcome != Violated || v.Violations[c.rule] != 1 || len(v.Violations) != 1 {
				t.Errorf("outcome %s, violations %v: %+v", v.Outcome, v.Violations, v.Findings)
			}
			if len(v.Findings) == 0 || !strings.Contains(v.Findings[0].Rule+": "+v.Findings[0].What, c.words) {
				t.Errorf("findings %+v, want one that says %q", v.Findings, c.words)
			}
			if v.Outcome.ExitCode() != 1 {
				t.Errorf("exit code %d", v.Outcome.ExitCode())
			}
		})
	}
}

// What is only under way is not settled, and no violation.
func TestWhatTravelsIsNotSettled(t *testing.T) {
	for name, change := range map[string]func(*Evidence){
		"a message is queued": func(e *Evidence) {
			delete(e.Orders, 101)
			e.Left.Queue, e.Pages = 1, e.Pages[:1]
		},
		"a release is due":            func(e *Evidence) { e.Left.Outbox = 1 },
		"a hold runs":                 func(e *Evidence) { e.Left.Held = 1 },
		"the time ran out":            func(e *Evidence) { e.Closing.Ended = false },
		"the audit does not know yet": func(e *Evidence) { e.Audit.Verdict = "not_settled" },
		"somebody's payment did not come": func(e *Evidence) {
			row := e.Orders[101]
			row.State = sale.Unpaid
			e.Orders[101] = row
			e.Left.Unpaid = 1
		},
	} {
		e := world()
		change(e)
		if v := Judge(e); v.Outcome != NotSettled || v.Outcome.ExitCode() != 2 || len(v.Unsettled) == 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// What may be so is not called wrong.
func TestTheBenefitOfTheDoubt(t *testing.T) {
	for name, change := range map[string]func(*Evidence){
		"sold out just after a unit came back": func(e *Evidence) {
			e.Presses = append(e.Presses, told(5, problem.SoldOut, opens+5*time.Second+500*time.Millisecond))
		},
		"too soon after a press that was never answered": func(e *Evidence) {
			e.Presses = append(e.Presses, Press{Buyer: 5, Sent: opens, At: opens + 15*time.Second}, told(5, problem.TooSoon, opens+17*time.Second))
		},
		"too soon after an unknown outcome": func(e *Evidence) {
			e.Presses = append(e.Presses, told(5, problem.UnknownOutcome, opens), told(5, problem.TooSoon, opens+1200*time.Millisecond))
		},
		"too soon beside another press": func(e *Evidence) {
			e.Presses = append(e.Presses, told(5, problem.Unavailable, opens+4*time.Second), told(5, problem.TooSoon, opens+4*time.Second))
		},
		"a bot is banned": func(e *Evidence) {
			e.Presses = append(e.Presses, told(9, problem.Unavailable, opens))
			for i := range strikesOfABan {
				e.Presses = append(e.Presses, told(9, problem.TooSoon, opens+time.Duration(i)*50*time.Millisecond))
			}
			e.Presses = append(e.Presses, told(9, problem.Blacklisted, opens+6*time.Second))
		},
		"not open, sent before the opening": func(e *Evidence) { e.Presses = append(e.Presses, told(5, problem.NotOpen, opens-time.Millisecond)) },
		"money that goes back": func(e *Evidence) {
			e.end(103, sale.Cancelled, opens+26*time.Second)
			e.Left.Available, e.Refunds[103] = 1, true
		},
		"an order that nobody paid in time": func(e *Evidence) {
			e.end(103, sale.Cancelled, opens+26*time.Second)
			e.Left.Available, e.Pages = 1, e.Pages[:2]
		},
		"a unit sold again in the same millisecond": func(e *Evidence) { e.hold(103).From = opens + 5*time.Second },
	} {
		e := world()
		change(e)
		if v := Judge(e); v.Outcome != Clean {
			t.Errorf("%s: %s %+v %v", name, v.Outcome, v.Findings, v.Unsettled)
		}
	}
}

// However presses are ordered, the verdict is the same.
func TestTheOrderOfEvidenceDoesNotMatter(t *testing.T) {
	want := fmt.Sprintf("%+v", Judge(world()))
	rapid.Check(t, func(t *rapid.T) {
		e := world()
		e.Presses = rapid.Permutation(e.Presses).Draw(t, "presses")
		e.Holds = rapid.Permutation(e.Holds).Draw(t, "holds")
		if got := fmt.Sprintf("%+v", Judge(e)); got != want {
			t.Fatalf("%s\nwant %s", got, want)
		}
	})
}
