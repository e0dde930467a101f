package interceptor

import (
	"log/slog"
	"testing"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/peers"
)

// Whatever a peer sends as a hop is read or refused, on the link's goroutine, where a panic would end the process;
// and what was read is sent as it was read.
func FuzzHopForm(f *testing.F) {
	e := newPreparedEdge(f, slog.New(slog.DiscardHandler), nil, func(*fakeCounter) {}) // the target may not log to f
	whole := pressFrame(e, "u0001")[peers.HopHead:]
	f.Add(whole)
	f.Add(whole[:18])
	f.Add(append(whole[:18:18], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	s := e.server
	f.Fuzz(func(t *testing.T, payload []byte) {
		c := newHopCall().(*hopCall) //nolint:forcetypeassert // it makes nothing else
		x := &exchange{ctx: &c.ctx, hop: c}
		s.begin(x)
		if s.readHop(x, payload) != nil {
			return
		}
		if x.identity == nil || x.identity.User == "" {
			t.Fatalf("%q comes from nobody", payload)
		}
		if s.findRoute(x) {
			return
		}
		sent := appendHop(nil, x)
		again := &exchange{ctx: &newHopCall().(*hopCall).ctx} //nolint:forcetypeassert // it makes nothing else
		s.begin(again)
		if err := s.readHop(again, sent); err != nil || string(again.ctx.Request.Body()) != string(x.ctx.Request.Body()) {
			t.Fatalf("%q is sent as %q: %v", payload, sent, err)
		}
		_ = s.readOrderForm(x)
		if x.pressing {
			s.pressing.Leave(x.pressKey)
		}
	})
}

// The same of answers, with what is told of them.
func FuzzHopAnswer(f *testing.F) {
	var resp fasthttp.Response
	resp.SetStatusCode(409)
	resp.Header.Set("Retry-After", "1")
	resp.Header.Set("Content-Type", "application/problem+json")
	resp.SetBodyString(`{"code":"sold_out"}`)
	f.Add(appendAnswer(nil, &resp, "sold_out"))
	resp.SkipBody = true
	f.Add(appendAnswer(nil, &resp, ""))
	f.Add([]byte{hopVersion, answerNoBody, 0, 200, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var ctx fasthttp.RequestCtx
		x := &exchange{ctx: &ctx}
		if readAnswer(x, payload) != nil {
			return
		}
		if status := ctx.Response.StatusCode(); status < 200 || status > 599 {
			t.Fatalf("%q has status %d", payload, status)
		}
		_ = ctx.Response.String() // as it goes out
	})
}
