package proxy

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
)

// judge says what an answer tells of the address that gave it. An upstream that says of an order that
// it was certainly not taken, or that gives its refusal a code, is well: it knows what it does. A 4xx
// is the buyer's matter, since otherwise buyers could open a breaker for everybody.
func judge(lane Lane, resp *fasthttp.Response) (outcome, time.Duration) {
	status := resp.StatusCode()
	code := resp.Header.Peek(problem.HeaderCode)
	if lane == Orders {
		switch refused := string(resp.Header.Peek(auth.HeaderOutcome)) == auth.OutcomeRefused; {
		case refused && status == fasthttp.StatusServiceUnavailable && (len(code) == 0 || string(code) == string(problem.Overloaded)):
			return outcomeFull, retryAfter(resp)
		case refused && status == fasthttp.StatusServiceUnavailable:
			return outcomeRefuses, retryAfter(resp)
		case !refused && status >= 500:
			return outcomeFailed, 0
		}
		return outcomeOK, 0
	}
	switch status {
	case fasthttp.StatusInternalServerError, fasthttp.StatusBadGateway, fasthttp.StatusGatewayTimeout:
		return outcomeFailed, 0
	case fasthttp.StatusServiceUnavailable:
		if len(code) == 0 {
			return outcomeFailed, 0
		}
	}
	return outcomeOK, 0
}

// retryAfter reads the seconds of Retry-After; 0 when it has none.
func retryAfter(resp *fasthttp.Response) time.Duration {
	seconds, err := strconv.Atoi(string(resp.Header.Peek("Retry-After")))
	if err != nil || seconds < 0 || seconds > 1e6 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
