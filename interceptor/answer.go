package interceptor

import (
	"errors"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"strconv"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
)

// handle serves one request. It is the outermost handler.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	x := s.exchanges.Get().(*exchange)
	x.reset(ctx, s.plan.Load())
	x.began = s.now()
	x.mono = s.mono(x.began)
	x.wall = s.sales.Wall(x.began.UnixMilli())
	x.nameRequest(s.process, s.requests.Add(1))
	x.address, x.https = x.plan.clientAddress(ctx)
	defer s.finish(x)
	s.runChain(x)
}

// finish answers what was refused, counts and logs, and recovers panics: fasthttp would end the process.
func (s *Server) finish(x *exchange) {
	x.admission.End()
	if x.pressing {
		s.pressing.Leave(x.pressKey)
	}
	if x.polling {
		s.polling.Leave(x.pressKey)
	}
	if fault := recover(); fault != nil {
		s.figures.panics.Inc()
		s.rt.Log.Error("panic in a handler", "request", string(x.id[:]), "panic", fault, "stack", string(debug.Stack()))
		x.ctx.Response.Reset()
		x.ctx.SetConnectionClose()
		x.clearRefusal()
		x.refuse(s, problem.Internal, "")
	}
	resp := &x.ctx.Response
	if x.problem.Code != "" {
		s.writeProblem(resp, x)
		x.code = string(x.problem.Code)
	}
	resp.Header.SetBytesV(auth.HeaderRequestID, x.id[:])
	x.writeQuotas()
	if s.draining.Load() {
		x.ctx.SetConnectionClose()
	}
	figures := s.figures.none
	if x.route != nil {
		figures = x.route.figures
	}
	status := resp.StatusCode()
	s.figures.count(figures, x.code, status)
	s.log.write(x, status, s.now())
	x.reset(nil, nil)
	s.exchanges.Put(x)
}

// writeProblem writes the exchange's refusal.
func (s *Server) writeProblem(resp *fasthttp.Response, x *exchange) {
	p := &x.problem
	if p.Code.Waits() {
		p.RetryAfter = jitter(max(1, x.retryAfter))
	}
	x.buf = setProblem(resp, p, x.buf[:0])
}

// setProblem writes a refusal with its headers; buf is scratch.
func setProblem(resp *fasthttp.Response, p *problem.Problem, buf []byte) []byte {
	resp.SetStatusCode(p.Status)
	resp.Header.SetContentType(problem.MediaType)
	resp.Header.Set("Cache-Control", "no-store")
	resp.Header.Set(problem.HeaderCode, string(p.Code))
	if seconds := p.RetrySeconds(); seconds > 0 {
		buf = strconv.AppendInt(buf[:0], int64(seconds), 10)
		resp.Header.SetBytesV("Retry-After", buf)
	}
	buf = p.AppendJSON(buf[:0])
	resp.SetBody(buf)
	return buf
}

// jitter adds up to as much again, and a second at least: equal waits would make the next stampede.
func jitter(seconds int) int { return seconds + rand.IntN(seconds+1) }

// parseError answers a request that fasthttp could not read. The connection is closed after it.
func (s *Server) parseError(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var network *net.OpError
	ctx.Response.Reset()
	p := problem.New(problem.InvalidRequest, "The request cannot be read.")
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		p = problem.New(problem.BodyTooLarge, "")
	case errors.As(err, &small):
		p.Detail, p.Status = "The request's header is too large.", fasthttp.StatusRequestHeaderFieldsTooLarge
	case errors.As(err, &network) && network.Timeout():
		p.Detail, p.Status = "The request did not arrive in time.", fasthttp.StatusRequestTimeout
	}
	setProblem(&ctx.Response, p, nil)
	var x exchange
	x.nameRequest(s.process, s.requests.Add(1))
	ctx.Response.Header.SetBytesV(auth.HeaderRequestID, x.id[:])
	ctx.SetConnectionClose()
	s.figures.count(s.figures.none, string(p.Code), p.Status)
}
