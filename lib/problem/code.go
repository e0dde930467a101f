package problem

import "net/http"

// Code names a refusal. Codes are part of the API: never rename one.
type Code string

// The refusals that a caller can meet.
const (
	InvalidRequest   Code = "invalid_request" // the request cannot be understood: correct it, do not repeat it
	Unauthenticated  Code = "unauthenticated" // no token, or one that is not valid (any more)
	Forbidden        Code = "forbidden"       // signed in, but not allowed
	Blacklisted      Code = "blacklisted"     // the user or address is banned
	NotFound         Code = "not_found"       // no such route, sale or order, or another's order
	MethodNotAllowed Code = "method_not_allowed"
	BodyTooLarge     Code = "body_too_large"  // the body is above the route's bound
	SoldOut          Code = "sold_out"        // nothing is left; Held says how many units may return
	Insufficient     Code = "insufficient"    // fewer are left than were asked for; Left says how many
	AlreadyOrdered   Code = "already_ordered" // the buyer has this order; OrderID names it
	LimitReached     Code = "limit_reached"   // the buyer has as many units as one may have
	NotOpen          Code = "not_open"        // OpensAt says when
	NotCancellable   Code = "not_cancellable" // still queued (try again), or final
	Conflict         Code = "conflict"        // somebody else changed it, or it exists already
	Ended            Code = "ended"           // the sale is over
	RateLimited      Code = "rate_limited"    // a budget is used up: wait for Retry-After
	TooSoon          Code = "too_soon"        // the interval between two presses is not over
	Internal         Code = "internal"        // a defect of ours; the log has the cause
	UnknownOutcome   Code = "unknown_outcome" // it may have happened: repeat with OrderID and Ticket
	Overloaded       Code = "overloaded"      // more load than can be served: certainly not done
	Unavailable      Code = "unavailable"     // a part is away: certainly not done
	Paused           Code = "paused"          // the sale is paused
)

// row is what the table knows of a code.
type row struct {
	code   Code
	uri    string // the problem's type, put together by the compiler
	status int
	title  string
}

// table lists every code once. It is only read.
var table = [...]row{
	{InvalidRequest, TypeBase + string(InvalidRequest), http.StatusBadRequest, "The request is not valid."},
	{Unauthenticated, TypeBase + string(Unauthenticated), http.StatusUnauthorized, "Sign in first."},
	{Forbidden, TypeBase + string(Forbidden), http.StatusForbidden, "This is not allowed."},
	{Blacklisted, TypeBase + string(Blacklisted), http.StatusForbidden, "You are blocked from buying."},
	{NotFound, TypeBase + string(NotFound), http.StatusNotFound, "There is nothing here."},
	{MethodNotAllowed, TypeBase + string(MethodNotAllowed), http.StatusMethodNotAllowed, "This method is not supported here."},
	{BodyTooLarge, TypeBase + string(BodyTooLarge), http.StatusRequestEntityTooLarge, "The request body is too large."},
	{SoldOut, TypeBase + string(SoldOut), http.StatusConflict, "Sold out."},
	{Insufficient, TypeBase + string(Insufficient), http.StatusConflict, "Fewer units are left than you asked for."},
	{AlreadyOrdered, TypeBase + string(AlreadyOrdered), http.StatusConflict, "You have ordered this already."},
	{LimitReached, TypeBase + string(LimitReached), http.StatusConflict, "You have bought as many as one person may."},
	{NotOpen, TypeBase + string(NotOpen), http.StatusConflict, "The sale is not open yet."},
	{NotCancellable, TypeBase + string(NotCancellable), http.StatusConflict, "This order cannot be paid or cancelled now."},
	{Conflict, TypeBase + string(Conflict), http.StatusConflict, "This conflicts with the current state."},
	{Ended, TypeBase + string(Ended), http.StatusGone, "The sale has ended."},
	{RateLimited, TypeBase + string(RateLimited), http.StatusTooManyRequests, "Too many requests."},
	{TooSoon, TypeBase + string(TooSoon), http.StatusTooManyRequests, "Too soon after your last try."},
	{Internal, TypeBase + string(Internal), http.StatusInternalServerError, "Something went wrong on our side."},
	{UnknownOutcome, TypeBase + string(UnknownOutcome), http.StatusServiceUnavailable, "We do not know yet whether this worked. Try again with the ticket."},
	{Overloaded, TypeBase + string(Overloaded), http.StatusServiceUnavailable, "Too busy. Try again shortly."},
	{Unavailable, TypeBase + string(Unavailable), http.StatusServiceUnavailable, "Temporarily unavailable. Try again shortly."},
	{Paused, TypeBase + string(Paused), http.StatusServiceUnavailable, "The sale is paused. Try again shortly."},
}

// Codes lists every code, in the order of their status.
func Codes() []Code {
	codes := make([]Code, 0, len(table))
	for i := range table {
		codes = append(codes, table[i].code)
	}
	return codes
}

func (c Code) row() *row {
	for i := range table {
		if table[i].code == c {
			return &table[i]
		}
	}
	return nil
}

// Status is the code's HTTP status; 500 for a code that is not in the table.
func (c Code) Status() int {
	if r := c.row(); r != nil {
		return r.status
	}
	return http.StatusInternalServerError
}

// Title is the code's sentence for people, the same for each occurrence.
func (c Code) Title() string {
	if r := c.row(); r != nil {
		return r.title
	}
	return "Something went wrong on our side."
}

// Waits reports whether answers with this code carry Retry-After: those with status 429 and 503.
func (c Code) Waits() bool {
	status := c.Status()
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// FromStatus gives the code that stands for a status of somebody else's making, such as a router's or
// a framework's. Codes that say more than their status never come out of it.
func FromStatus(status int) Code {
	switch status {
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return Forbidden
	case http.StatusNotFound:
		return NotFound
	case http.StatusMethodNotAllowed:
		return MethodNotAllowed
	case http.StatusConflict:
		return Conflict
	case http.StatusRequestEntityTooLarge:
		return BodyTooLarge
	case http.StatusTooManyRequests:
		return RateLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Unavailable
	}
	if status >= 400 && status < 500 {
		return InvalidRequest
	}
	return Internal
}
