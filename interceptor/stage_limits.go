package interceptor

import (
	"strconv"
	"time"

	"headgate.example/interceptor/proxy"
	"headgate.example/interceptor/ratelimit"
	"headgate.example/interceptor/strikes"
	"headgate.example/lib/problem"
)

// exceed refuses what is beyond a limit, or only counts it where the limit is in shadow.
func (x *exchange) exceed(s *Server, l *limit, code problem.Code, wait time.Duration, detail string) bool {
	l.refusals.inc(x.cell)
	return !l.shadow && x.refuseFor(s, code, wait, detail)
}

const (
	tooManyUsers = "This node serves too many users at the moment."
	nodeFull     = "This node takes no more requests at the moment."
	routeFull    = "The shop takes no more of these requests at the moment."
)

// takeFromNode sheds what is beyond the node's own rate.
func (s *Server) takeFromNode(x *exchange) bool {
	b := x.plan.limits.node
	if b == nil || b.tokens.Allow(x.began) {
		return false
	}
	return x.exceed(s, b.limit, problem.Overloaded, 0, nodeFull)
}

// takeFromAddress bounds what comes from one client address, in all and on the route. It is asked
// before anything is verified, so that it bounds guessing as well.
func (s *Server) takeFromAddress(x *exchange) bool {
	all, own := x.plan.limits.address, x.route.limits.address
	if all == nil && own == nil || x.plan.trusted(x.address) { // everybody's, as far as is known
		return false
	}
	return all != nil && s.takeFrom(x, all) || own != nil && s.takeFrom(x, own)
}

func (s *Server) takeFrom(x *exchange, l *limit) bool {
	switch d := s.limiters.addresses.Take(s.limiters.addressKeys.Key(l.key, x.address), 0, l.rate, x.mono); d.Verdict {
	case ratelimit.Refused:
		x.tell(l, 0)
		return x.exceed(s, l, problem.RateLimited, d.Wait, "Too many requests from your address.")
	case ratelimit.Full:
		s.figures.untracked.Inc()
	default:
		x.tell(l, d.Left)
	}
	return false
}

// takeInterval keeps one user's presses apart. Retries have a budget of their own: they may follow a
// press at once, but not each other.
func (s *Server) takeInterval(x *exchange) bool {
	if !x.isOrder() {
		return false
	}
	kind := budgetPress
	if x.retry {
		kind = budgetRetry
	}
	refused := s.takeFromUser(x, kind, problem.TooSoon)
	if refused && x.problem.Code == problem.TooSoon {
		x.offence = strikes.TooSoon
	}
	return refused
}

// maxUserPolls is how many long polls of one user may be under way: the upstream's connections for
// them are shared by all users.
const maxUserPolls = 8

// takeCalls bounds one user's other calls.
func (s *Server) takeCalls(x *exchange) bool {
	if x.isOrder() || x.identity == nil {
		return false
	}
	if s.takeFromUser(x, budgetCalls, problem.RateLimited) {
		return true
	}
	if x.route.kind == KindLongPoll {
		x.polling, x.pressKey = true, x.key
		if s.polling.Enter(x.pressKey) >= maxUserPolls {
			return x.refuse(s, problem.RateLimited, "Too many of your requests wait for an answer.")
		}
	}
	return false
}

func (s *Server) takeFromUser(x *exchange, kind int, code problem.Code) bool {
	l := x.plan.limits.users[kind]
	if l == nil {
		return false
	}
	switch d := s.limiters.users.Take(x.key, kind, l.rate, x.mono); d.Verdict {
	case ratelimit.Refused:
		x.tell(l, 0)
		return x.exceed(s, l, code, d.Wait, "")
	case ratelimit.Full:
		return x.exceed(s, l, problem.Overloaded, 0, tooManyUsers)
	default:
		x.tell(l, d.Left)
		return false
	}
}

// takeFromRoute sheds what is beyond the route's own rate.
func (s *Server) takeFromRoute(x *exchange) bool {
	b := x.route.limits.bucket
	if b == nil {
		return false
	}
	if b.tokens.Allow(x.began) {
		return false
	}
	return x.exceed(s, b.limit, problem.Overloaded, b.rate.UntilFull(b.rate.Burst()-1), routeFull)
}

// waitInQueue holds the request back until it is its turn on the route.
func (s *Server) waitInQueue(x *exchange) bool {
	q := x.route.limits.queue
	switch {
	case q == nil:
		return false
	case q.shadow:
		if !q.shadows.Allow(x.began) {
			q.refusals.inc(x.cell)
		}
		return false
	}
	admitted := x.admission.Given()
	x.admission.End() // a probe's place is not kept while waiting
	began := time.Now()
	departure, retry := q.waiters.Wait(func() bool { return !hungUp(x.ctx.Conn()) }, s.work.Done())
	switch departure {
	case ratelimit.NoRoom, ratelimit.TooLong:
		return x.exceed(s, q.limit, problem.Overloaded, retry, routeFull)
	case ratelimit.GaveUp:
		q.gaveUp.Inc()
		x.ctx.SetConnectionClose() // nobody is there, or soon will be
		return x.refuse(s, problem.Unavailable, "The wait was ended.")
	}
	q.waits.UpdateDuration(began)
	if !admitted || !s.checkBackpressure(x) {
		return false
	}
	if x.plan.cfg.Stages[stageBackpressure].Mode != ModeShadow {
		return true
	}
	x.clearRefusal()
	x.admission = proxy.Admission{} // as after the stage itself
	return false
}

// quota is what RateLimit says of one limit.
type quota struct {
	limit *limit
	left  int64
}

// maxQuotas bounds the limits that one answer tells of: the address's two and the user's.
const maxQuotas = 3

// tell notes what is left of a caller's own quota; what is in shadow binds nobody and is not told.
func (x *exchange) tell(l *limit, left int64) {
	if !l.shadow && x.quotaCount < maxQuotas {
		x.quotas[x.quotaCount] = quota{l, left}
		x.quotaCount++
	}
}

// writeQuotas writes RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers, lists of RFC
// 9651) where a limit of the caller was asked: what is left, and in how many seconds it is full again.
// Limits that all callers share are not told: what is left of them is nobody's. An upstream's own lines,
// and those of the owner of the user, stand beside these: lines of a list are one list.
func (x *exchange) writeQuotas() {
	if x.quotaCount == 0 {
		return
	}
	h := &x.ctx.Response.Header
	add := h.AddBytesKV
	if x.refusal != nil && x.owner == nil { // nobody else has said anything
		add = h.SetCanonical
	}
	x.buf = x.appendPolicies(x.buf[:0])
	add(headerQuotaPolicy, x.buf)
	x.buf = x.appendQuotas(x.buf[:0])
	add(headerQuota, x.buf)
}

// appendPolicies appends the value of RateLimit-Policy.
func (x *exchange) appendPolicies(buf []byte) []byte {
	for i := range x.quotas[:x.quotaCount] {
		if i > 0 {
			buf = append(buf, ", "...)
		}
		buf = append(buf, x.quotas[i].limit.policy...)
	}
	return buf
}

// appendQuotas appends the value of RateLimit.
func (x *exchange) appendQuotas(buf []byte) []byte {
	for i := range x.quotas[:x.quotaCount] {
		q := &x.quotas[i]
		if i > 0 {
			buf = append(buf, ", "...)
		}
		buf = append(append(buf, q.limit.item...), ";r="...)
		buf = strconv.AppendInt(buf, q.left, 10)
		buf = append(buf, ";t="...)
		buf = strconv.AppendInt(buf, seconds(q.limit.rate.UntilFull(q.left)), 10)
	}
	return buf
}
