package rehearse

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// Bounds of the client.
const (
	maxBody     = 64 << 10
	dialTimeout = 3 * time.Second
	idleConn    = 20 * time.Second // shorter than what edges and balancers keep
)

// answer is what a request got, reduced to what the API promises.
type answer struct {
	status     int // 0: none
	code       string
	order      sale.OrderID
	state      sale.OrderState // of a looked-up order
	ticket     string
	page       string // where to pay
	retryAfter time.Duration
	opensAt    int64  // milliseconds since 1970
	cookie     string // to be sent from now on: name=value
	broken     string // what it breaks of the API's promises
	failure    string // why there is none
}

// definite reports a word of Headgate's own: a yes, or a refusal with a code.
func (a *answer) definite() bool { return a.status != 0 && a.broken == "" && !a.foreign() }

// foreign reports an answer that is none of Headgate's, such as a balancer's 502.
func (a *answer) foreign() bool { return a.status >= 300 && a.code == "" }

// what names the answer for a table.
func (a *answer) what() string {
	switch {
	case a.status == 0:
		return "no answer"
	case a.broken != "":
		return "broken answer"
	case a.code != "":
		return strconv.Itoa(a.status) + " " + a.code
	}
	return strconv.Itoa(a.status)
}

// httpClient carries the requests of all buyers over kept connections.
type httpClient struct {
	http    *fasthttp.HostClient
	base    string
	timeout time.Duration
}

func newHTTPClient(edge string, connections int, timeout time.Duration) (*httpClient, error) {
	base, err := url.Parse(strings.TrimSuffix(edge, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.Path != "" {
		return nil, fmt.Errorf("edge: want http://host:port or https://host, got %q", edge)
	}
	address, secure := base.Host, base.Scheme == "https"
	if base.Port() == "" {
		address = net.JoinHostPort(base.Hostname(), map[bool]string{false: "80", true: "443"}[secure])
	}
	return &httpClient{
		base: base.String(), timeout: timeout,
		http: &fasthttp.HostClient{
			Addr: address, IsTLS: secure, TLSConfig: &tls.Config{ServerName: base.Hostname(), MinVersion: tls.VersionTLS12},
			MaxConns: connections, MaxIdleConnDuration: idleConn, MaxResponseBodySize: maxBody, NoDefaultUserAgentHeader: true,
			ReadTimeout: timeout, WriteTimeout: timeout, MaxIdemponentCallAttempts: 1,
			// A request that may have arrived is the buyer's to repeat, not the client's.
			RetryIfErr: func(*fasthttp.Request, int, error) (bool, bool) { return false, false },
			Dial:       func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, dialTimeout) },
		},
	}, nil
}

func (c *httpClient) close() { c.http.CloseIdleConnections() }

// request is one call of a buyer.
type request struct {
	post   bool
	target string // path, or a whole address of a pay page
	token  string
	ticket string
	cookie string
	body   string
	order  bool // a press: what its answer must have is checked
}

// do sends a request and reads its answer.
func (c *httpClient) do(r *request) answer {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	target := r.target
	if strings.HasPrefix(target, "/") {
		target = c.base + target
	}
	req.SetRequestURI(target)
	if r.post {
		req.Header.SetMethod(fasthttp.MethodPost)
		req.Header.SetContentType("application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.ticket != "" {
		req.Header.Set(auth.HeaderTicket, r.ticket)
	}
	if r.cookie != "" {
		req.Header.Set("Cookie", r.cookie)
	}
	req.SetBodyString(r.body)
	if err := c.http.DoDeadline(req, resp, time.Now().Add(c.timeout)); err != nil {
		return answer{failure: failureOf(err)}
	}
	return readAnswer(resp, r.order)
}

// failureOf names why there is no answer in a few words, so that they can be counted.
func failureOf(err error) string {
	var refused *net.OpError
	var timeout net.Error
	switch {
	case errors.Is(err, fasthttp.ErrTimeout), errors.Is(err, fasthttp.ErrDialTimeout), errors.Is(err, fasthttp.ErrTLSHandshakeTimeout):
		return "timed out"
	case errors.As(err, &refused) && refused.Op == "dial":
		return "cannot connect"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	}
	return "connection lost"
}

// wire is the body of any answer.
type wire struct {
	OrderID string `json:"order_id"`
	Status  any    `json:"status"` // a number in a problem, a word elsewhere
	Code    string `json:"code"`
	Ticket  string `json:"ticket"`
	OpensAt int64  `json:"opens_at"`
	Payment struct {
		Page string `json:"page"`
	} `json:"payment"`
}

func readAnswer(resp *fasthttp.Response, order bool) answer {
	a := answer{status: resp.StatusCode(), cookie: cookieOf(resp)}
	var body wire
	if err := json.Unmarshal(resp.Body(), &body); err != nil {
		if len(resp.Header.Peek(problem.HeaderCode)) > 0 || a.status < 300 {
			a.broken = "the body is not the JSON that the API promises"
		}
		return a // a balancer's page
	}
	a.code, a.ticket, a.page, a.opensAt = body.Code, body.Ticket, body.Payment.Page, body.OpensAt
	if state, ok := body.Status.(string); ok {
		a.state = sale.OrderState(state)
	}
	if id, err := sale.ParseOrderID(body.OrderID); err == nil {
		a.order = id
	}
	if seconds, err := strconv.Atoi(string(resp.Header.Peek("Retry-After"))); err == nil && seconds > 0 {
		a.retryAfter = time.Duration(seconds) * time.Second
	}
	a.broken = a.breaks(string(resp.Header.Peek(problem.HeaderCode)), order)
	return a
}

// breaks tells what an answer lacks that the API promises.
func (a *answer) breaks(header string, order bool) string {
	switch {
	case a.status < 300 && order && (a.status != 202 || a.order == 0 || a.state != sale.Queued):
		return fmt.Sprintf("%d without order id and status queued", a.status)
	case a.status < 300:
		return ""
	case a.code == "":
		return "" // somebody else's answer
	case header != a.code:
		return fmt.Sprintf("code %q in the body, %q in the header", a.code, header)
	case (a.status == 429 || a.status == 503) && a.retryAfter == 0:
		return strconv.Itoa(a.status) + " without Retry-After"
	case a.code == string(problem.AlreadyOrdered) && a.order == 0:
		return "already_ordered without its order"
	case a.code == string(problem.UnknownOutcome) && a.ticket == "" && a.order != 0:
		return "unknown_outcome without its ticket"
	}
	return ""
}

// cookieOf is the cookie that an answer sets, which tells the balancer the right edge.
func cookieOf(resp *fasthttp.Response) string {
	set := resp.Header.Peek("Set-Cookie")
	if len(set) == 0 {
		return ""
	}
	pair, _, _ := strings.Cut(string(set), ";")
	return pair
}
