package interceptor

import (
	"errors"
	"net"
	"runtime/debug"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/proxy"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
)

// handle serves one request. It is the outermost handler.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	defer s.contain(ctx)
	if s.opensLink(ctx) {
		return
	}
	x := s.exchanges.Get().(*exchange) //nolint:forcetypeassert // nothing else is put
	x.ctx = ctx
	s.begin(x)
	defer s.finish(x)
	x.readOrigin()
	s.runChain(x)
}

// numbersAtOnce is how many request numbers a pooled exchange draws at a time.
const numbersAtOnce = 64

// begin gives an exchange its plan, times and name.
func (s *Server) begin(x *exchange) {
	x.plan = s.plan.Load()
	if x.began = x.ctx.Time(); s.injected || x.began.IsZero() { // the HTTP server has read the clock; that of a hop has not
		x.began = s.now()
	}
	x.mono = s.mono(x.began)
	x.wall = s.sales.Wall(x.began.UnixMilli())
	if x.number++; x.number > x.lastOwn { // numbers come in blocks, so that processors need not agree on each
		x.lastOwn = s.requests.Add(numbersAtOnce)
		x.number = x.lastOwn - numbersAtOnce + 1
	}
	x.nameRequest(s.process, x.number)
}

// contain is the last resort against panics, which finish itself may cause: fasthttp would end the process.
// It answers in the simplest way there is.
func (s *Server) contain(ctx *fasthttp.RequestCtx) {
	if fault := recover(); fault != nil {
		s.answerPanic(ctx, fault)
	}
}

func (s *Server) answerPanic(ctx *fasthttp.RequestCtx, fault any) {
	var x exchange
	x.nameRequest(s.process, s.requests.Add(1))
	s.notePanic(string(x.id[:]), fault)
	ctx.Response.Reset()
	setProblem(&ctx.Response, problem.New(problem.Internal, ""), nil)
	ctx.Response.Header.SetCanonical(headerRequestID, x.id[:])
	ctx.SetConnectionClose()
}

func (s *Server) notePanic(request string, fault any) {
	s.figures.panics.Inc()
	s.rt.Log.Error("panic in a handler", "request", request, "panic", fault, "stack", string(debug.Stack()))
}

// finish answers what was refused, counts and logs. A panic of a stage ends here, as a refusal.
func (s *Server) finish(x *exchange) {
	fault := recover()
	if fault == nil && x.suspended {
		return
	}
	x.section.Leave()
	x.admission.End()
	if x.pressing {
		s.pressing.Leave(x.pressKey)
	}
	if x.polling {
		s.polling.Leave(x.pressKey)
	}
	if fault != nil {
		s.notePanic(string(x.id[:]), fault)
		x.ctx.Response.Reset()
		x.ctx.SetConnectionClose()
		x.clearRefusal()
		x.refuse(s, problem.Internal, "")
	}
	resp := &x.ctx.Response
	if x.problem.Code != "" {
		x.code = string(x.problem.Code)
	}
	if x.problem.Code == "" || !x.writeRefusal() {
		resp.Header.SetCanonical(headerRequestID, x.id[:])
		x.writeQuotas()
	}
	x.tellCrossOrigin()
	s.tellOwner(x)
	if s.draining.Load() && x.hop == nil {
		x.ctx.SetConnectionClose()
	}
	status := resp.StatusCode()
	if x.hop == nil { // one that hopped is counted where it arrived
		s.countAnswer(x, status)
	}
	s.note(x)
	s.log.write(x, status, s.clock)
	if x.hop != nil {
		x.hop.code = x.code
	}
	x.reset()
	s.exchanges.Put(x)
}

func (s *Server) countAnswer(x *exchange, status int) {
	figures := s.figures.none
	if x.route != nil {
		figures = x.route.figures
	}
	if x.refusal != nil {
		s.figures.countLabel(figures, x.refusal.label, x.cell)
	} else {
		s.figures.count(figures, x.code, status, x.cell)
	}
}

// statusOf is the status of a malformed header.
func statusOf(wrong error) int {
	if malformed := (*proxy.MalformedError)(nil); errors.As(wrong, &malformed) {
		return malformed.Status
	}
	return fasthttp.StatusBadRequest
}

// parseError answers a request that fasthttp could not read. The connection is closed after it.
func (s *Server) parseError(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var network *net.OpError
	defer s.contain(ctx)
	if conn, ok := ctx.Conn().(*clientConn); ok && !conn.spoken {
		_ = conn.Close() // who has asked nothing takes an answer for that to his next question
		return
	}
	ctx.Response.Reset()
	p := problem.New(problem.InvalidRequest, "The request cannot be read.")
	noted := s.malformed.take(&ctx.Request.Header)
	switch {
	case errors.As(err, &small):
		p.Detail, p.Status = "The request's header is too large.", fasthttp.StatusRequestHeaderFieldsTooLarge
	case noted != nil: // see boundBody
		p.Detail, p.Status = noted.Error(), statusOf(noted)
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		p = problem.New(problem.BodyTooLarge, "")
	case errors.As(err, &network) && network.Timeout():
		p.Detail, p.Status = "The request did not arrive in time.", fasthttp.StatusRequestTimeout
	}
	if p.Code == problem.InvalidRequest && p.Status != fasthttp.StatusRequestTimeout { // slow is not malformed
		s.chargeUnread(ctx.RemoteAddr())
	}
	setProblem(&ctx.Response, p, nil)
	var x exchange
	x.nameRequest(s.process, s.requests.Add(1))
	ctx.Response.Header.SetBytesV(auth.HeaderRequestID, x.id[:])
	ctx.SetConnectionClose()
	s.figures.count(s.figures.none, string(p.Code), p.Status, 0)
}
