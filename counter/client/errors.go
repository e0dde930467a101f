package client

import (
	"errors"
	"fmt"
)

// What a call may fail with, besides the context's own error and the two types below. Use errors.Is.
var (
	// ErrUnavailable: the command certainly was not done; try later.
	ErrUnavailable = errors.New("counter unavailable")
	// ErrUnknown: the command may have happened. Repeat it (RESERVE with the same key) to learn. Also
	// for an answer that no known version of the counter gives.
	ErrUnknown = errors.New("counter outcome unknown")
	// ErrBusy: refused because the counter is overloaded; certainly not done.
	ErrBusy = errors.New("counter busy")
	// ErrNoSale: the counter does not know the sale.
	ErrNoSale = errors.New("no such sale at the counter")
	// ErrNoOrder: the counter does not know the order id.
	ErrNoOrder = errors.New("no such order at the counter")
	// ErrForbidden: the password is missing, wrong, or not allowed this command.
	ErrForbidden = errors.New("counter refuses the password")
)

// ConflictError is the answer to a change of a sale whose revision does not follow the counter's.
type ConflictError struct {
	Revision int64 // the counter's current revision
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("counter is at revision %d of this sale, with other content", e.Revision)
}

// RequestError is a request that the counter finds malformed; repeating it cannot help.
type RequestError struct {
	Field  string // "" when the counter named none
	Reason string
}

func (e *RequestError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}
