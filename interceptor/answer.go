package interceptor

import (
	"errors"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"strconv"

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

// begin gives an exchange its plan, times and name.
func (s *Server) begin(x *exchange) {
	x.plan = s.plan.Load()
	if x.began = x.ctx.Time(); s.injected || x.began.IsZero() { // the HTTP server has read the clock; that of a hop has not
		x.began = s.now()
	}
	x.mono = s.mono(x.began)
	x.wall = s.sales.Wall(x.began.UnixMilli())
	x.number = s.requests.Add(1)
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
		x.writeProblem()
		x.code = string(x.problem.Code)
	}
	resp.Header.SetCanonical(headerRequestID, x.id[:])
	x.writeQuotas()
	x.tellCrossOrigin()
	s.tellOwner(x)
	if s.draining.Load() && x.hop == nil {
		x.ctx.SetConnectionClose()
	}
	figures := s.figures.none
	if x.route != nil {
		figures = x.route.figures
	}
	status := resp.StatusCode()
	if x.refusal != nil {
		s.figures.countLabel(figures, x.refusal.label)
	} else {
		s.figures.count(figures, x.code, status)
	}
	s.note(x)
	s.log.write(x, status, s.clock)
	if x.hop != nil {
		x.hop.code = x.code
	}
	x.reset()
	s.exchanges.Put(x)
}

// refusal is what all refusals with one code have in common.
type refusal struct {
	problem problem.Problem
	head    []byte // of the body
	code    []byte
	waits   bool
	label   int // in figures
}

// newRefusals prepares the refusals of every code.
func newRefusals(f *figures) map[problem.Code]*refusal {
	all := make(map[problem.Code]*refusal)
	for _, code := range problem.Codes() {
		p := problem.New(code, "")
		all[code] = &refusal{problem: *p, head: p.AppendHead(nil), code: []byte(code), waits: code.Waits(), label: f.codes[string(code)]}
	}
	return all
}

// The names and values of headers that are written often, in the form in which they go out. Read only.
var (
	headerCacheControl = []byte("Cache-Control")
	headerCode         = []byte(problem.HeaderCode)
	headerRequestID    = []byte(auth.HeaderRequestID)
	headerRetryAfter   = []byte("Retry-After")
	headerQuota        = []byte("Ratelimit")
	headerQuotaPolicy  = []byte("Ratelimit-Policy")
	noStore            = []byte("no-store")
)

// writeProblem writes the exchange's refusal.
func (x *exchange) writeProblem() {
	if x.writeFallback() {
		return
	}
	p, resp := &x.problem, &x.ctx.Response
	if x.refusal.waits {
		p.RetryAfter = jitter(max(1, x.retryAfter))
	}
	x.buf = setHeader(resp, p, x.refusal.code, x.buf)
	if p.Status == x.refusal.problem.Status {
		x.buf = p.AppendRest(append(x.buf[:0], x.refusal.head...))
	} else {
		x.buf = p.AppendJSON(x.buf[:0])
	}
	resp.SetBody(x.buf)
}

// setProblem writes a refusal with its headers; buf is scratch.
func setProblem(resp *fasthttp.Response, p *problem.Problem, buf []byte) {
	buf = setHeader(resp, p, []byte(p.Code), buf)
	resp.SetBody(p.AppendJSON(buf[:0]))
}

func setHeader(resp *fasthttp.Response, p *problem.Problem, code, buf []byte) []byte {
	resp.SetStatusCode(p.Status)
	resp.Header.SetContentType(problem.MediaType)
	resp.Header.SetCanonical(headerCacheControl, noStore)
	resp.Header.SetCanonical(headerCode, code)
	if seconds := p.RetrySeconds(); seconds > 0 {
		buf = strconv.AppendInt(buf[:0], int64(seconds), 10)
		resp.Header.SetCanonical(headerRetryAfter, buf)
	}
	return buf
}

// jitter adds up to as much again, and a second at least: equal waits would make the next stampede.
func jitter(seconds int) int { return seconds + rand.IntN(seconds+1) }

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
	s.figures.count(s.figures.none, string(p.Code), p.Status)
}
