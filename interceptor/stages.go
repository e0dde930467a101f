package interceptor

import (
	"bytes"
	"errors"
	"strings"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/proxy"
	"headgate.example/interceptor/route"
	"headgate.example/interceptor/salestate"
	"headgate.example/interceptor/strikes"
	"headgate.example/interceptor/tokens"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// findRoute checks the request's form and finds its route.
func (s *Server) findRoute(x *exchange) bool {
	header := &x.ctx.Request.Header
	found, err := proxy.CheckHeader(header)
	if err != nil {
		s.malformed.take(header)
		x.ctx.SetConnectionClose() // who misreads where a request ends misreads the next one
		x.refuseStrike(s, strikes.Malformed, problem.InvalidRequest, err.Error())
		x.problem.Status = statusOf(err)
		return true
	}
	x.absent, x.authorization = ^found.Present, found.Authorization
	x.target = header.RequestURI()
	path, query, err := route.Canonical(x.target)
	if err != nil {
		return x.refuseStrike(s, strikes.Malformed, problem.InvalidRequest, err.Error())
	}
	if len(query) == 0 {
		x.target = path // a lone "?" is not sent on, so that it must not be signed either
	}
	number, parameter := x.plan.table.Find(header.Method(), path)
	switch number {
	case route.NoPath:
		return x.refuse(s, problem.NotFound, "")
	case route.NoMethod:
		if s.preflight(x, path) {
			return true
		}
		x.ctx.Response.Header.Set("Allow", strings.Join(x.plan.table.Methods(path), ", "))
		return x.refuse(s, problem.MethodNotAllowed, "")
	}
	x.route, x.path, x.parameter = &x.plan.routes[number], path, parameter
	if len(x.ctx.Request.Body()) > x.route.maxBody {
		return x.refuse(s, problem.BodyTooLarge, "")
	}
	return false
}

var bearer = []byte("Bearer ")

// checkToken finds out who is asking.
func (s *Server) checkToken(x *exchange) bool {
	header := &x.ctx.Request.Header
	if x.route.auth == AuthNone {
		return s.checkOrigin(x)
	}
	token, fromCookie := x.authorization, false
	if token == nil { // where the header was not received: see CheckHeader
		token = x.peek(proxy.HasAuthorization, "Authorization")
	}
	if len(token) > 0 {
		if len(token) <= len(bearer) || !bytes.EqualFold(token[:len(bearer)], bearer) {
			return s.noIdentity(x, strikes.BadToken, "Authorization: must be Bearer and a token.")
		}
		token = token[len(bearer):]
	} else {
		token, fromCookie = sessionCookie(header), true
	}
	if len(token) == 0 {
		return s.noIdentity(x, strikes.None, "")
	}
	if len(token) > auth.MaxTokenBytes {
		return s.noIdentity(x, strikes.BadToken, "The token is too long.")
	}
	identity, err := x.plan.tokens.Verify(token, x.began)
	if err != nil {
		return s.noIdentity(x, tokenOffence(err), tokenDetail(err))
	}
	if fromCookie && !x.isRead() && !x.ownPage(header.Peek("Origin"), header.Host()) {
		return x.refuse(s, problem.Forbidden, foreignOrigin)
	}
	if !s.rules.Known() && (len(x.route.Roles) > 0 || !x.isRead()) {
		return x.refuse(s, problem.Unavailable, "It is not known at the moment which sign-ins are revoked.")
	}
	x.identity, x.key = identity, s.hasher.User(identity.User)
	return false
}

// sessionCookie is the token of a browser. Of two, one was planted by a neighbouring domain, and which one
// cannot be told: neither is believed.
func sessionCookie(header *fasthttp.RequestHeader) (token []byte) {
	found := 0
	for name, value := range header.Cookies() {
		if string(name) == auth.CookieName {
			token = value
			found++
		}
	}
	if found > 1 {
		return nil
	}
	return token
}

const foreignOrigin = "Origin: a write with the session cookie must come from the shop's own page."

// checkOrigin refuses writes of foreign pages where nobody has to be known: signing in and out sets the
// session cookie, which browsers keep off the request of a foreign page but take from its answer.
// Programs, which send neither Origin nor cookie, pass.
func (s *Server) checkOrigin(x *exchange) bool {
	if x.isRead() {
		return false
	}
	header := &x.ctx.Request.Header
	origin := header.Peek("Origin")
	if len(origin) == 0 && len(header.Cookie(auth.CookieName)) == 0 || x.ownPage(origin, header.Host()) {
		return false
	}
	return x.refuse(s, problem.Forbidden, foreignOrigin)
}

// noIdentity refuses, unless the route admits anybody: then it is as one that looks at no token.
func (s *Server) noIdentity(x *exchange, offence strikes.Offence, detail string) bool {
	if x.route.auth == AuthOptional {
		return s.checkOrigin(x)
	}
	x.ctx.Response.Header.Set("Www-Authenticate", "Bearer")
	return x.refuseStrike(s, offence, problem.Unauthenticated, detail)
}

// tokenOffence is what a refused token is charged with: one that was once valid, or will be, is no offence.
func tokenOffence(err error) strikes.Offence {
	if errors.Is(err, auth.ErrTokenExpired) || errors.Is(err, auth.ErrTokenNotYetValid) || errors.Is(err, tokens.ErrRevoked) {
		return strikes.None
	}
	return strikes.BadToken
}

func tokenDetail(err error) string {
	switch {
	case errors.Is(err, auth.ErrTokenExpired):
		return "The token is expired: sign in again."
	case errors.Is(err, tokens.ErrRevoked):
		return "The token is revoked: sign in again."
	default:
		return "The token is not valid."
	}
}

// ownPage reports whether an Origin is the shop's, or that of a page that the route trusts like it.
func (x *exchange) ownPage(origin, host []byte) bool {
	return sameOrigin(origin, host) || x.route.cors.mayWrite(origin)
}

var schemeEnd = []byte("://")

// sameOrigin reports whether an Origin names the host that the request was sent to.
func sameOrigin(origin, host []byte) bool {
	scheme, rest, ok := bytes.Cut(origin, schemeEnd)
	if !ok || len(rest) == 0 {
		return false
	}
	port := ""
	switch {
	case string(scheme) == "http":
		port = ":80"
	case string(scheme) == "https":
		port = ":443"
	default:
		return false
	}
	return bytes.EqualFold(withoutPort(rest, port), withoutPort(host, port))
}

func withoutPort(host []byte, port string) []byte {
	if n := len(host) - len(port); n > 0 && string(host[n:]) == port {
		return host[:n]
	}
	return host
}

// checkRoles admits to the route whoever has one of its roles.
func (s *Server) checkRoles(x *exchange) bool {
	if len(x.route.Roles) == 0 {
		return false
	}
	for _, role := range x.route.Roles {
		if x.identity != nil && x.identity.HasRole(role) {
			return false
		}
	}
	return x.refuse(s, problem.Forbidden, "")
}

// readOrderForm reads an order's sale, quantity, key and ticket.
func (s *Server) readOrderForm(x *exchange) bool {
	if !x.isOrder() {
		return false
	}
	if sale.CheckSaleID(string(x.parameter)) != nil {
		return x.refuse(s, problem.NotFound, "There is no such sale.")
	}
	var err error
	if x.form.quantity, x.form.stated, err = x.route.Order.readQuantity(x.ctx); err != nil {
		var wrong *formError
		errors.As(err, &wrong)
		return s.refuseField(x, wrong.field, wrong.reason)
	}
	if key := x.peek(proxy.HasKey, "Idempotency-Key"); len(key) > 0 {
		x.form.key = string(key)
		var wrong *sale.FieldError
		if errors.As(sale.CheckKey(x.form.key), &wrong) {
			return s.refuseField(x, "Idempotency-Key", wrong.Reason)
		}
	}
	if ticket := x.peek(proxy.HasTicket, auth.HeaderTicket); len(ticket) > 0 && s.readTicket(x, ticket) {
		return true
	}
	x.pressKey = s.hasher.UserInSale(x.identity.User, x.parameter)
	x.pressing, x.beside = true, s.pressing.Enter(x.pressKey) > 0
	x.retry = x.form.ticket != nil || x.form.key != "" || s.seen.Has(x.pressKey)
	return false
}

// readTicket checks a retry's ticket: it must be ours, and this user's in this sale.
func (s *Server) readTicket(x *exchange, text []byte) bool {
	ticket, err := x.plan.tickets.VerifyTicket(string(text))
	switch {
	case err != nil:
		s.refuseField(x, auth.HeaderTicket, "is not a ticket of this shop, or was changed; try again without it")
		x.offence = strikes.ForgedTicket
		return true
	case ticket.User != x.identity.User:
		s.refuseField(x, auth.HeaderTicket, "belongs to another user")
		x.offence = strikes.ForgedTicket
		return true
	case ticket.Sale != string(x.parameter):
		return s.refuseField(x, auth.HeaderTicket, "belongs to another sale")
	case x.form.key != "" && x.form.key != ticket.Key:
		return s.refuseField(x, "Idempotency-Key", "is not the one that the ticket was given for; leave it out")
	}
	x.form.ticket = &ticket
	return false
}

// refuseField refuses a malformed request and names the field.
func (s *Server) refuseField(x *exchange, field, reason string) bool {
	x.refuseStrike(s, strikes.Malformed, problem.InvalidRequest, field+": "+reason)
	x.problem.Errors = []problem.FieldProblem{{Field: field, Reason: reason}}
	return true
}

// checkSaleState refuses new orders that the counter would refuse, as far as this node knows. Of two
// presses at the same instant one may have just taken the last unit: the other is not refused here.
func (s *Server) checkSaleState(x *exchange) bool {
	if !x.isOrder() || x.retry {
		return false
	}
	v := s.sales.Look(x.parameter, x.mono, x.wall)
	switch {
	case v.Knowledge == salestate.Stale:
		return x.refuse(s, problem.Unavailable, "The state of the sale is not known at the moment.")
	case v.Knowledge == salestate.Missing && v.Code != "":
		return x.refuse(s, v.Code, "There is no such sale.")
	case v.Knowledge == salestate.Missing && s.newSales.Allow(x.began):
		return false // perhaps opened a moment ago: the counter knows
	case v.Knowledge == salestate.Missing:
		// No 404: the sale may have been opened since the last fetch.
		return x.refuse(s, problem.Unavailable, "This sale is not known here, or not yet.")
	case v.Code == "" || x.beside:
		return false
	case v.Code == problem.NotOpen && x.wall < v.Since: // nobody can have ordered yet
	case !s.peers.Owns(x.key) || s.mayHaveOrdered(x, v.Since): // only the owner knows whether the user has
		return false
	}
	x.refuse(s, v.Code, "")
	x.problem.OpensAt = v.OpensAt
	if v.Code == problem.SoldOut {
		x.units = v.Held
		x.problem.Held = &x.units
	}
	return true
}

// mayHaveOrdered reports whether the user may have an order in this sale without this node knowing: the
// sale is older than what the node remembers, which forgets when it restarts, when an owner dies whose users
// it takes over, and when more than max_tracked_users/2 others have ordered, and the counter has not refused
// the user since. A local refusal would then be false, so that the counter is asked, once. It is asked after
// Owns.
func (s *Server) mayHaveOrdered(x *exchange, sale int64) bool {
	until, forgot := s.seen.ForgotUntil(x.pressKey)
	since := s.peers.Since(x.key)
	if (sale < since || forgot && sale <= until) && !s.asked.Has(askedKey(x.pressKey, since)) {
		return true
	}
	// The user may have been handed over since readOrderForm looked: marks come before the node becomes the
	// owner, and go after it is the owner no more.
	return !s.peers.Alone() && (s.seen.Has(x.pressKey) || !s.peers.Owns(x.key))
}

// checkBackpressure holds new orders off, before anything is reserved for them, while no address of the
// upstream would take them: it said that it is full, or its circuit breakers are open, or it is away.
func (s *Server) checkBackpressure(x *exchange) bool {
	if !x.isOrder() || x.retry {
		return false
	}
	admission, verdict, wait := x.route.upstream.Admit()
	if verdict != proxy.Admitted {
		return s.refuseUpstream(x, verdict, wait)
	}
	x.admission = admission
	return false
}
