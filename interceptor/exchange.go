package interceptor

import (
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/coordinator"
	"headgate.example/interceptor/peers"
	"headgate.example/interceptor/proxy"
	"headgate.example/interceptor/strikes"
	"headgate.example/interceptor/tokens"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// requestIDBytes is the length of a request id: 8 hex digits of the process, 12 of the request.
const requestIDBytes = 20

// exchange is one request on its way through the chain. It is pooled: its byte slices belong to the
// RequestCtx, and nothing of it may be kept beyond the handler.
type exchange struct {
	ctx   *fasthttp.RequestCtx
	plan  *plan // what the config said when the request began
	began time.Time
	mono  int64 // nanoseconds since the server was opened
	wall  int64 // the counter's clock, milliseconds

	number        uint64 // of the request at this node
	lastOwn       uint64 // the last number of the block that this exchange gives out: see begin
	cell          uint32 // of counters
	id            [requestIDBytes]byte
	route         *boundRoute   // nil before the stage route
	absent        proxy.Present // headers that the request does not have, as far as is known
	target        []byte        // path and query, as received, checked, and sent on
	path          []byte
	authorization []byte // the header's value, if it was received
	parameter     []byte // the text at {name} in the route's path
	address       netip.Addr
	https         bool   // a trusted proxy said so
	given         []byte // what a trusted proxy calls the request; nil: nothing

	key       uint64        // of the user, with an identity
	since     int64         // since when this node remembers who ordered, counter's clock, ms; 0: not asked yet
	owner     *peers.Owner  // that served it by a hop; nil: this node
	section   peers.Section // left once the user's budgets were taken from
	hop       *hopCall      // that brought the request; nil: a buyer did
	next      int           // the stage at which the chain goes on
	suspended bool          // the chain stands still before next, which would wait

	identity  *tokens.Identity // nil without a valid token
	form      orderForm
	retry     bool            // may be a retry: local marks do not apply
	admission proxy.Admission // of a new order, to the upstream
	away      bool            // refused because the upstream was certainly not reached: the route may have an answer to that
	pressing  bool            // counted in Server.pressing, by pressKey
	beside    bool            // another press of this user in this sale is under way
	polling   bool            // counted in Server.polling, by pressKey
	pressKey  uint64

	refusal    *refusal        // what refused; nil while nothing does
	problem    problem.Problem // what is said of it; Code is "" while nothing refuses
	units      int64           // what problem.Held or Left points to
	retryAfter int             // seconds; the least that Retry-After says
	offence    strikes.Offence // what a refusal is charged with

	quotas     [maxQuotas]quota
	quotaCount int

	endedBy string // the stage
	code    string // the metric's label of the answer
	order   sale.OrderID
	cause   error

	buf   []byte // scratch
	frame []byte // of a hop
}

// orderForm is what a press of the buy button says.
type orderForm struct {
	quantity int64
	stated   bool
	key      string
	ticket   *auth.Ticket
}

// reset forgets the request.
func (x *exchange) reset() {
	*x = exchange{buf: x.buf[:0], frame: x.frame[:0], number: x.number, lastOwn: x.lastOwn, cell: x.cell}
}

// refuse notes a refusal; the text must be safe to show. It always gives true.
func (x *exchange) refuse(s *Server, code problem.Code, detail string) bool {
	x.refusal = s.refusals[code]
	x.problem = x.refusal.problem
	x.problem.Detail = detail
	return true
}

// refuseStrike is refuse for what counts as a strike, unless the stage is in shadow.
func (x *exchange) refuseStrike(s *Server, offence strikes.Offence, code problem.Code, detail string) bool {
	x.offence = offence
	return x.refuse(s, code, detail)
}

// refuseFor is refuse with the least time to wait.
func (x *exchange) refuseFor(s *Server, code problem.Code, wait time.Duration, detail string) bool {
	x.retryAfter = int((wait + time.Second - 1) / time.Second)
	return x.refuse(s, code, detail)
}

// clearRefusal undoes refuse, in shadow mode.
func (x *exchange) clearRefusal() {
	x.refusal, x.problem = nil, problem.Problem{}
	x.retryAfter, x.offence = 0, strikes.None
	x.away = false
}

// peek gives a header's value, without looking for one that is known to be absent.
func (x *exchange) peek(header proxy.Present, name string) []byte {
	if x.absent&header != 0 {
		return nil
	}
	return x.ctx.Request.Header.Peek(name)
}

// isOrder reports whether the route takes orders.
func (x *exchange) isOrder() bool { return x.route.kind == KindReserve }

// isRead reports whether the method changes nothing.
func (x *exchange) isRead() bool {
	h := &x.ctx.Request.Header
	return h.IsGet() || h.IsHead()
}

// fill takes a coordinator's answer over as a refusal.
func (x *exchange) fill(s *Server, a *coordinator.Answer) {
	x.refuse(s, a.Code, a.Detail)
	x.problem.Ticket = a.Ticket
	x.problem.OpensAt = a.OpensAt
	x.problem.Held, x.problem.Left = a.Held, a.Left
	if a.Order != 0 {
		x.problem.OrderID = a.Order.String()
	}
	x.order, x.cause = a.Order, a.Cause
	if a.RetryAfter > 0 {
		x.retryAfter = int((a.RetryAfter + time.Second - 1) / time.Second)
	}
}

// nameRequest gives the exchange its id.
func (x *exchange) nameRequest(process [4]byte, number uint64) {
	var raw [requestIDBytes / 2]byte
	copy(raw[:4], process[:])
	for i := range 6 {
		raw[4+i] = byte(number >> (8 * (5 - i)))
	}
	hex.Encode(x.id[:], raw[:])
}
