package interceptor

import (
	"strconv"
	"time"
)

// writeFallback writes the route's own answer to a request whose upstream was certainly not reached, in
// the place of the refusal. It reports whether there is one.
func (x *exchange) writeFallback() bool {
	if !x.away || x.route.Fallback == nil || x.route.Fallback.Upstream != "" {
		return false
	}
	f, resp := x.route.Fallback, &x.ctx.Response
	status := f.Status
	if status == 0 {
		status = 503
	}
	resp.SetStatusCode(status)
	resp.Header.SetContentType("application/json")
	if f.ContentType != "" {
		resp.Header.SetContentType(f.ContentType)
	}
	resp.Header.SetCanonical(headerCacheControl, noStore)
	if status >= 400 {
		resp.Header.SetCanonical(headerCode, x.refusal.code)
	}
	if status == 429 || status == 503 {
		wait := jitter(max(1, x.retryAfter))
		if f.RetryAfter > 0 {
			wait = int((f.RetryAfter + time.Second - 1) / time.Second)
		}
		x.buf = strconv.AppendInt(x.buf[:0], int64(wait), 10)
		resp.Header.SetCanonical(headerRetryAfter, x.buf)
	}
	resp.SetBodyString(f.Body)
	return true
}
