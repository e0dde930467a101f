package interceptor

import (
	"bytes"
	"math/rand/v2"
	"strconv"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
)

// refusal is what all refusals with one code have in common.
type refusal struct {
	problem problem.Problem
	head    []byte // of the body
	lines   []byte // of the header, from the value of Cache-Control on, without line end: see setLines
	code    []byte
	waits   bool
	label   int // in figures
}

// newRefusals prepares the refusals of every code.
func newRefusals(f *figures) map[problem.Code]*refusal {
	all := make(map[problem.Code]*refusal)
	for _, code := range problem.Codes() {
		p := problem.New(code, "")
		all[code] = &refusal{problem: *p, head: p.AppendHead(nil), code: []byte(code),
			lines: []byte(string(noStore) + "\r\n" + problem.HeaderCode + ": " + string(code)),
			waits: code.Waits(), label: f.codes[string(code)]}
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
	mediaType          = []byte(problem.MediaType)
)

// writeRefusal writes the exchange's refusal, and reports whether that was all of the answer's header: request
// id and quotas too.
func (x *exchange) writeRefusal() (whole bool) {
	if x.writeFallback() {
		return false
	}
	p, resp := &x.problem, &x.ctx.Response
	if x.refusal.waits {
		p.RetryAfter = jitter(max(1, x.retryAfter))
	}
	if whole = x.hop == nil && x.owner == nil; whole {
		x.writeLines()
	} else {
		x.buf = setHeader(resp, p, x.refusal.code, x.buf)
	}
	if p.Status == x.refusal.problem.Status {
		x.buf = p.AppendRest(append(x.buf[:0], x.refusal.head...))
	} else {
		x.buf = p.AppendJSON(x.buf[:0])
	}
	resp.SetBody(x.buf)
	return whole
}

// writeLines writes the header of a refusal, nearly all of which is prepared, in one piece.
func (x *exchange) writeLines() {
	lines := append(x.buf[:0], x.refusal.lines...)
	if seconds := x.problem.RetrySeconds(); seconds > 0 {
		lines = strconv.AppendInt(append(lines, "\r\nRetry-After: "...), int64(seconds), 10)
	}
	lines = append(append(lines, "\r\n"+auth.HeaderRequestID+": "...), x.id[:]...)
	if x.quotaCount > 0 {
		lines = x.appendPolicies(append(lines, "\r\nRatelimit-Policy: "...))
		lines = x.appendQuotas(append(lines, "\r\nRatelimit: "...))
	}
	x.ctx.Response.SetStatusCode(x.problem.Status)
	x.ctx.Response.Header.SetContentTypeBytes(mediaType)
	setLines(&x.ctx.Response.Header, headerCacheControl, lines)
	x.buf = lines
}

// placeholder is what setLines writes over. Read only.
var placeholder = bytes.Repeat([]byte{'-'}, 1024)

// setLines sets a header whose value holds whole further lines. Each header that is set by itself is copied
// three times, searched for line ends, and held against all others; for six of them that is as much as all
// limits together. fasthttp blanks line ends in values, which may be an attacker's: these are none of the
// request's bytes, and are written over a value of the same length.
func setLines(h *fasthttp.ResponseHeader, name, lines []byte) {
	room := placeholder
	if len(lines) > len(room) { // names of limits that are long beyond reason
		room = bytes.Repeat(placeholder[:1], len(lines))
	}
	h.SetCanonical(name, room[:len(lines)])
	copy(h.PeekBytes(name), lines)
}

// setProblem writes a refusal with its headers; buf is scratch.
func setProblem(resp *fasthttp.Response, p *problem.Problem, buf []byte) {
	buf = setHeader(resp, p, []byte(p.Code), buf)
	resp.SetBody(p.AppendJSON(buf[:0]))
}

func setHeader(resp *fasthttp.Response, p *problem.Problem, code, buf []byte) []byte {
	resp.SetStatusCode(p.Status)
	resp.Header.SetContentTypeBytes(mediaType)
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
