package rehearse

import (
	"slices"
	"time"

	"headgate.example/lib/problem"
)

// never are codes that nothing in a rehearsal gives a reason for: every token is valid and fresh, every
// request well formed, nobody is an outsider, and nobody pauses or closes the sale.
func never(code string) bool {
	switch problem.Code(code) {
	case problem.InvalidRequest, problem.Unauthenticated, problem.Forbidden, problem.NotFound, problem.MethodNotAllowed, problem.BodyTooLarge,
		problem.Insufficient, problem.LimitReached, problem.Ended, problem.Paused, problem.Internal, problem.Conflict, problem.NotCancellable:
		return true
	}
	return false
}

// reasons: whatever a buyer was told was so at some moment between his press and the answer, or within the
// time for which the protocol lets an edge believe what it has heard.
func (j *judge) reasons() {
	byBuyer := map[int32][]*Press{}
	for i := range j.Presses {
		p := &j.Presses[i]
		byBuyer[p.Buyer] = append(byBuyer[p.Buyer], p)
	}
	for i := range j.Presses {
		p := &j.Presses[i]
		if !p.answered() {
			continue
		}
		if why := j.wrong(p, byBuyer[p.Buyer]); why != "" {
			what := p.Code
			if p.yes() {
				what = "yes"
			}
			j.find(RuleReason, 1, "%s pressed at %s and was told %s at %s: %s", j.Users(p.Buyer), moment(p.Sent), what, moment(p.At), why)
		}
	}
}

// wrong says why what a press was told cannot be so; "" when it can. presses are all of its buyer's.
func (j *judge) wrong(p *Press, presses []*Press) string {
	if p.yes() {
		if h := j.holdOf[p.Order]; p.At < j.Opens-clockSkew || h != nil && h.From < j.Opens-clockSkew {
			return "the sale opened at " + moment(j.Opens)
		}
		return ""
	}
	switch code := problem.Code(p.Code); {
	case never(p.Code):
		return "nothing here gives a reason for it"
	case code == problem.SoldOut:
		if most := j.taken.most(p.Sent-reasonGrace, p.At); most < j.Stock {
			return "a unit was free all the time since " + moment(p.Sent-reasonGrace)
		}
	case code == problem.NotOpen && p.Sent > j.Opens+reasonGrace:
		return "the sale opened at " + moment(j.Opens)
	case code == problem.AlreadyOrdered:
		return j.wrongOrder(p)
	case code == problem.TooSoon && !j.soon(p, presses):
		return "no other press of theirs was within " + j.Interval.String() + " of it"
	case code == problem.Blacklisted && !(j.Bot(p.Buyer) && len(presses) >= strikesOfABan/2):
		return "nobody banned them, and they did nothing to be banned for"
	}
	return ""
}

// wrongOrder says why a buyer does not have the order that he was said to have.
func (j *judge) wrongOrder(p *Press) string {
	h := j.holdOf[p.Order]
	switch {
	case h == nil:
		return "the counter does not know order " + p.Order.String()
	case h.User != j.Users(p.Buyer):
		return "order " + p.Order.String() + " is " + h.User + "'s"
	case h.From > p.At+clockSkew:
		return "order " + p.Order.String() + " is of later"
	case !h.live() && h.To < p.Sent-reasonGrace:
		return "order " + p.Order.String() + " ended at " + moment(h.To)
	}
	return ""
}

// soon reports whether another press may have been served within the interval before this one.
func (j *judge) soon(p *Press, presses []*Press) bool {
	return slices.ContainsFunc(presses, func(q *Press) bool {
		if q == p || q.Sent > p.At {
			return false
		}
		// A press whose outcome nobody knew, or that was not answered, may have been served at any time since: it
		// may have lain in a node that stood still.
		unknown := !q.answered() || q.Code == string(problem.UnknownOutcome)
		return unknown || p.Sent-q.At < j.Interval+intervalGrace
	})
}

// heal looks at what probes met since each fault: the first yes after the last probe that failed before the
// next fault began, and likewise for orders that reached the ledger. A probe whose order took longer than
// slowLedger counts as failed there.
func heal(broken []Broken, probes []Press, inLedger map[int32]time.Duration, end time.Duration) {
	probes = slices.Clone(probes)
	slices.SortFunc(probes, func(a, b Press) int { return int(a.Intended - b.Intended) })
	for i := range broken {
		b := &broken[i]
		until := end
		if i+1 < len(broken) {
			until = max(broken[i+1].Began, b.Mended)
		}
		b.YesAgain, b.LedgerAgain, b.Healed = 0, 0, false
		yes, ledger := false, false
		for k := range probes {
			p := &probes[k]
			if p.Intended < b.Began || p.Intended >= until {
				continue
			}
			b.Probes++
			at, written := inLedger[p.Buyer]
			switch {
			case !p.yes() || p.At-p.Intended > slowProbe:
				b.ProbesFailed++
				yes, ledger, b.YesAgain, b.LedgerAgain = false, false, 0, 0
				continue
			case !yes:
				yes, b.YesAgain = true, p.At-b.Began
			}
			if !written || at-p.At > slowLedger {
				ledger, b.LedgerAgain = false, 0
			} else if !ledger {
				ledger, b.LedgerAgain = true, at-b.Began
			}
		}
		b.Healed = yes && ledger
	}
}

// What a probe must keep to count as a success.
const (
	slowProbe  = 2 * time.Second
	slowLedger = 3 * time.Second
)
