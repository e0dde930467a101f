package interceptor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/coordinator"
	"headgate.example/interceptor/proxy"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
)

// buildRequest makes the request to the upstream: allowed headers, the identity that was verified
// here, and the signature over all of it.
func (s *Server) buildRequest(x *exchange, req *fasthttp.Request, target, body []byte) {
	from := &x.ctx.Request.Header
	req.Header.SetMethodBytes(from.Method())
	req.SetRequestURIBytes(target)
	proxy.CopyRequestHeaders(&req.Header, from, x.route.ForwardHeaders)
	if len(body) > 0 {
		req.SetBody(body)
	}
	hop := auth.Hop{Method: string(from.Method()), Path: string(target), Body: body, From: x.plan.cfg.Self}
	if x.identity != nil {
		hop.User, hop.Roles = x.identity.User, x.identity.RoleList
		hop.Name = strings.Trim(x.identity.Name, " ") // as its header arrives
	}
	h := &req.Header
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	set(auth.HeaderUser, hop.User)
	set(auth.HeaderName, hop.Name)
	set(auth.HeaderRoles, hop.Roles)
	set(auth.HeaderFrom, hop.From)
	h.Set(auth.HeaderHops, "0")
	h.SetBytesV(auth.HeaderRequestID, x.id[:])
	if x.given != nil {
		h.SetBytesV(headerGivenID, x.given)
	}
	h.Set(auth.HeaderHop, x.plan.hops.SignHop(hop, s.now())) // it may have waited long
	h.Set("X-Forwarded-For", x.address.String())
	h.SetBytesV("X-Forwarded-Host", from.Host())
	if x.https {
		h.Set("X-Forwarded-Proto", "https")
	} else {
		h.Set("X-Forwarded-Proto", "http")
	}
}

// forward passes a request that is no order to its upstream and the answer back.
func (s *Server) forward(x *exchange) bool {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	s.buildRequest(x, req, x.target, x.ctx.Request.Body())
	up := x.route.upstream
	err := x.ask(up, req, resp)
	if other := x.route.fallback; err != nil && other != nil && (x.isRead() || errors.Is(err, proxy.ErrNotSent)) {
		s.figures.fallbacks.Inc()
		resp.Reset()
		up, err = other, x.ask(other, req, resp)
	}
	if err != nil {
		x.cause = fmt.Errorf("upstream %s: %w", up.Name(), err)
		if refused := (*proxy.RefusedError)(nil); errors.As(err, &refused) {
			return s.refuseUpstream(x, refused.Verdict, refused.Wait)
		}
		if x.isRead() || errors.Is(err, proxy.ErrNotSent) {
			return s.refuseUpstream(x, proxy.Away, 0)
		}
		return x.refuse(s, problem.UnknownOutcome, "The shop did not answer in time: it is not known whether this was done.")
	}
	s.passBack(x, resp)
	return true
}

// ask sends a request that is no order to an upstream. What changes nothing may be sent twice.
func (x *exchange) ask(up *proxy.Upstream, req *fasthttp.Request, resp *fasthttp.Response) error {
	if x.isRead() {
		return up.DoSafe(x.route.lane, req, resp, x.route.timeout)
	}
	return up.Do(x.route.lane, req, resp, x.route.timeout)
}

// refuseUpstream refuses what no address of the upstream may be given at the moment.
func (s *Server) refuseUpstream(x *exchange, verdict proxy.Verdict, wait time.Duration) bool {
	x.away = true
	if verdict == proxy.Busy {
		return x.refuseFor(s, problem.Overloaded, wait, "The shop has too much to do at the moment.")
	}
	return x.refuseFor(s, problem.Unavailable, wait, "The shop does not answer at the moment.")
}

// passBack copies an upstream's answer, and sees to it that who must wait is told how long.
func (s *Server) passBack(x *exchange, resp *fasthttp.Response) {
	out := &x.ctx.Response
	out.SkipBody = x.ctx.Request.Header.IsHead()
	proxy.CopyResponse(out, resp)
	status := resp.StatusCode()
	if (status == fasthttp.StatusTooManyRequests || status == fasthttp.StatusServiceUnavailable) && !tellsToWait(out.Header.Peek("Retry-After")) {
		out.Header.Set("Retry-After", strconv.Itoa(jitter(1)))
	}
	x.code = string(resp.Header.Peek(problem.HeaderCode))
}

// tellsToWait reports whether a Retry-After holds a client off at all: it is a date, or a second or more.
func tellsToWait(retryAfter []byte) bool {
	if seconds, err := strconv.Atoi(string(retryAfter)); err == nil {
		return seconds >= 1
	}
	_, err := fasthttp.ParseHTTPDate(retryAfter)
	return err == nil
}

// orderForwarder hands one order to the route's upstream. It lives as long as the purchase.
type orderForwarder struct {
	s    *Server
	x    *exchange
	resp *fasthttp.Response
	fate coordinator.Fate
}

// errTicketedStatus is the cause of an outcome that the upstream's status does not tell.
var errTicketedStatus = errors.New("the status tells neither that it was taken nor that it was not")

// Forward implements coordinator.Upstream.
func (f *orderForwarder) Forward(ctx context.Context, o coordinator.Order) coordinator.Outcome {
	outcome := f.forward(ctx, o)
	f.fate = outcome.Fate
	return outcome
}

func (f *orderForwarder) forward(ctx context.Context, o coordinator.Order) coordinator.Outcome {
	s, x := f.s, f.x
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	if form := &x.route.Order; form.ShopForm {
		s.buildRequest(x, req, x.target, x.ctx.Request.Body())
	} else {
		var scratch [128]byte
		body := append(append(append(scratch[:0], `{"`...), form.field()...), `":`...)
		s.buildRequest(x, req, x.path, append(strconv.AppendInt(body, o.Quantity, 10), '}'))
		req.Header.SetContentType("application/json")
	}
	req.Header.Set(auth.HeaderTicket, o.Ticket)

	timeout := x.route.timeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	up := x.route.upstream
	err := up.DoOrder(&x.admission, req, f.resp, timeout)
	status, says := f.resp.StatusCode(), string(f.resp.Header.Peek(auth.HeaderOutcome))
	switch {
	case errors.Is(err, proxy.ErrNotSent):
		return notSent(up.Name(), err)
	case err != nil:
		return coordinator.Outcome{Fate: coordinator.Unknown, Cause: fmt.Errorf("upstream %s: %w", up.Name(), err)}
	case says == auth.OutcomeRefused:
		return coordinator.Outcome{Fate: coordinator.Refused, Reply: f.resp}
	case status >= 200 && status < 300, says == auth.OutcomeTaken && status < 400:
		return coordinator.Outcome{Fate: coordinator.Taken}
	}
	return coordinator.Outcome{Fate: coordinator.Unknown, Cause: fmt.Errorf("upstream %s: status %d: %w", up.Name(), status, errTicketedStatus)}
}

// notSent is the outcome of an order that no address has seen.
func notSent(upstream string, err error) coordinator.Outcome {
	o := coordinator.Outcome{Fate: coordinator.NotSent, Cause: fmt.Errorf("upstream %s: %w", upstream, err)}
	if refused := (*proxy.RefusedError)(nil); errors.As(err, &refused) {
		o.RetryAfter = refused.Wait
		if refused.Verdict == proxy.Busy {
			o.Code = problem.Overloaded
		}
	}
	return o
}

// reserve carries an order through its two phases. The work has a deadline of its own: a buyer who
// hangs up does not cut it in half.
func (s *Server) reserve(x *exchange) bool {
	if !x.isOrder() {
		return false
	}
	resp := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(resp)
	ctx, cancel := context.WithTimeout(s.work, x.route.purchase)
	defer cancel()
	saleID, user := string(x.parameter), x.identity.User
	began := time.Now()
	forwarder := &orderForwarder{s: s, x: x, resp: resp}
	a := x.plan.coordinator.Buy(ctx, forwarder, coordinator.Request{
		Sale: saleID, User: user, Quantity: x.form.quantity, Stated: x.form.stated, Key: x.form.key, Ticket: x.form.ticket,
	})
	s.figures.purchases.UpdateDuration(began)
	switch now := s.sales.Wall(s.now().UnixMilli()); {
	case a.Reserved:
		s.seen.Add(x.pressKey, now)
		s.asked.Drop(askedKey(x.pressKey, x.since)) // what it refused before says nothing of this order
	case a.CounterSaid && a.Code != problem.LimitReached: // which says that there are orders, under other keys
		s.asked.Add(askedKey(x.pressKey, x.since), now)
	}
	switch {
	case a.Accepted && x.route.Order.ShopAnswer && forwarder.fate == coordinator.Taken:
		s.passBack(x, resp)
		x.ctx.Response.Header.Set(headerOrderID, a.Order.String())
		x.code, x.order = labelAccepted, a.Order
	case a.Accepted:
		x.accept(a.Order.String())
		x.order = a.Order
	case a.Reply != nil && resp.StatusCode() >= 400:
		s.passBack(x, resp)
	case a.Reply != nil: // it said that it did not take the order, with a status that means success
		x.cause = fmt.Errorf("upstream %s: refused the order with status %d", x.route.upstream.Name(), resp.StatusCode())
		return x.refuse(s, problem.Unavailable, "The shop did not take the order.")
	default:
		switch {
		case a.CounterSaid && a.Code == problem.SoldOut:
			s.sales.Dry(saleID, *a.Held, x.mono)
		case a.CounterSaid && a.Code == problem.NotFound:
			s.sales.Absent(saleID, x.mono)
		}
		x.fill(s, &a)
		x.away = forwarder.fate == coordinator.NotSent && a.Code != problem.UnknownOutcome
	}
	return true
}

// headerOrderID names the order beside a shop's own answer.
const headerOrderID = "Headgate-Order-Id"

// ordersPath and an order's id are where our backend tells what became of it.
const ordersPath = "/api/orders/"

// accept answers 202.
func (x *exchange) accept(order string) {
	resp := &x.ctx.Response
	resp.SetStatusCode(fasthttp.StatusAccepted)
	resp.Header.SetContentType("application/json")
	resp.Header.Set("Cache-Control", "no-store")
	if x.plan.ordersAreRead {
		resp.Header.Set("Location", ordersPath+order)
	}
	resp.Header.Set(headerOrderID, order)
	x.buf = append(append(append(x.buf[:0], `{"order_id":"`...), order...), `","status":"queued"}`...)
	resp.SetBody(x.buf)
	x.code = labelAccepted
}
