package interceptor

import (
	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/proxy"
	"headgate.example/lib/problem"
)

// chunkedLength is what fasthttp gives for the length of a chunked body.
const chunkedLength = -1

// boundBody bounds a request's body before any of it is read. Of a chunked one with a header that will be
// refused hardly anything is read. What is wrong with it is kept for parseError, which comes next and finds
// the header emptied, or for findRoute.
func (s *Server) boundBody(header *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if header.ContentLength() == chunkedLength {
		if _, err := proxy.CheckHeader(header); err != nil {
			s.malformed.Store(header, err)
			return fasthttp.RequestConfig{MaxRequestBodySize: 1}
		}
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: s.plan.Load().maxBody}
}

// expect decides whether a client that asks first is told to send the body: not when the request is refused
// by its header, its target or the length of its body. Who may ask is decided when the body is here.
func (s *Server) expect(ctx *fasthttp.RequestCtx) (status int) {
	defer func() {
		if fault := recover(); fault != nil {
			s.answerPanic(ctx, fault)
			status = ctx.Response.StatusCode()
		}
	}()
	x := s.exchanges.Get().(*exchange) //nolint:forcetypeassert // nothing else is put
	x.ctx = ctx
	s.begin(x)
	x.readOrigin()
	refused := s.findRoute(x)
	if !refused && ctx.Request.Header.ContentLength() > x.route.maxBody {
		refused = x.refuse(s, problem.BodyTooLarge, "")
	}
	if !refused {
		x.reset()
		s.exchanges.Put(x)
		return fasthttp.StatusContinue
	}
	x.endedBy = stageRoute
	s.finish(x)
	return ctx.Response.StatusCode()
}
