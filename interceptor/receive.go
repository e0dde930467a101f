package interceptor

import (
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/proxy"
	"headgate.example/lib/problem"
)

// chunkedLength is what fasthttp gives for the length of a chunked body.
const chunkedLength = -1

// maxMalformed bounds the headers of which something is noted. Those of clients who hang up at that moment stay
// until their place is used again.
const maxMalformed = 1024

// malformed notes what is wrong with headers, by their place in memory. It is safe for concurrent use.
type malformed struct {
	some atomic.Bool // most of the time there is none
	mu   sync.Mutex
	of   map[*fasthttp.RequestHeader]error
}

// note keeps what is wrong with a header. At the bound all others are forgotten, whose answers then say less.
func (m *malformed) note(header *fasthttp.RequestHeader, wrong error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil || len(m.of) >= maxMalformed {
		m.of = make(map[*fasthttp.RequestHeader]error)
	}
	m.of[header] = wrong
	m.some.Store(true)
}

// take gives what was noted of a header, and forgets it; nil: nothing.
func (m *malformed) take(header *fasthttp.RequestHeader) error {
	if !m.some.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	wrong := m.of[header]
	delete(m.of, header)
	m.some.Store(len(m.of) > 0)
	return wrong
}

func (m *malformed) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.of)
}

// boundBody bounds a request's body before any of it is read. Of a chunked one with a header that will be
// refused hardly anything is read. What is wrong with it is kept for parseError, which comes next and finds
// the header emptied, or for findRoute.
func (s *Server) boundBody(header *fasthttp.RequestHeader) fasthttp.RequestConfig {
	s.malformed.take(header) // of another request, which was never answered
	if header.ContentLength() == chunkedLength {
		if _, err := proxy.CheckHeader(header); err != nil {
			s.malformed.note(header, err)
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
