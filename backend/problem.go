package backend

import (
	"errors"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// inner is huma.Context under a name that, embedded, does not hide the method Context.
type inner = huma.Context

// statusContext lets the transformer below decide the status: huma answers 422 where we answer 400.
type statusContext struct {
	inner
	status int
}

func (c *statusContext) Unwrap() huma.Context { return c.inner }

func (c *statusContext) SetStatus(status int) {
	if c.status != 0 {
		status = c.status
	}
	c.inner.SetStatus(status)
}

func withStatus(ctx huma.Context, next func(huma.Context)) { next(&statusContext{inner: ctx}) }

// asProblem is huma's hook for every answer. Errors, huma's own included, become problems with their
// headers; everything else passes.
func (s *Server) asProblem(ctx huma.Context, _ string, v any) (any, error) {
	var p *problem.Problem
	switch e := v.(type) {
	case *problem.Problem:
		p = e
	case *huma.ErrorModel:
		p = s.fromHuma(e)
	default:
		return v, nil
	}
	p.Instance = cleanID(ctx.Header(auth.HeaderRequestID))
	if cause := errors.Unwrap(p); cause != nil && p.Status >= 500 {
		s.log.Warn("a request failed", "code", string(p.Code), "error", cause, "operation", ctx.Operation().OperationID, "request", p.Instance)
	}
	s.metrics.refused(p.Code)
	if sc, ok := ctx.(*statusContext); ok {
		sc.status = p.Status
	}
	ctx.SetHeader("Content-Type", problem.MediaType)
	ctx.SetHeader("Cache-Control", "no-store")
	ctx.SetHeader(problem.HeaderCode, string(p.Code))
	if seconds := p.RetrySeconds(); seconds > 0 {
		ctx.SetHeader("Retry-After", itoa(int64(seconds)))
	}
	return p, nil
}

// fromHuma turns an error of the framework into ours, naming each wrong field. What a handler failed
// with by accident is logged and not shown.
func (s *Server) fromHuma(m *huma.ErrorModel) *problem.Problem {
	code := problem.FromStatus(m.Status)
	if code == problem.Internal {
		for _, detail := range m.Errors {
			s.log.Error("a request failed for a reason that no handler named", "error", detail.Message)
		}
		return problem.New(code, "")
	}
	p := problem.New(code, m.Detail)
	for _, detail := range m.Errors {
		if detail == nil || len(p.Errors) >= 20 {
			continue
		}
		p.Errors = append(p.Errors, fieldOf(detail))
	}
	if len(p.Errors) > 0 {
		p.Detail = p.Errors[0].Field + ": " + p.Errors[0].Reason
	}
	return p
}

// fieldOf names the field as the caller wrote it: without the word body, and a missing one by its own
// name instead of its parent's.
func fieldOf(detail *huma.ErrorDetail) problem.FieldProblem {
	field := strings.TrimPrefix(strings.TrimPrefix(detail.Location, "body"), ".")
	if rest, missing := strings.CutPrefix(detail.Message, "expected required property "); missing {
		name, _, _ := strings.Cut(rest, " ")
		if field != "" {
			name = field + "." + name
		}
		return problem.FieldProblem{Field: name, Reason: "is missing"}
	}
	if field == "" {
		field = "body"
	}
	return problem.FieldProblem{Field: field, Reason: detail.Message}
}

// problemOf is the problem in an error that is known to hold one.
func problemOf(err error) *problem.Problem {
	var p *problem.Problem
	if errors.As(err, &p) {
		return p
	}
	return problem.New(problem.Internal, "").Because(err)
}

// invalid refuses one field of a request.
func invalid(field, reason string) *problem.Problem {
	p := problem.New(problem.InvalidRequest, field+": "+reason)
	p.Errors = []problem.FieldProblem{{Field: field, Reason: reason}}
	return p
}

// ledgerFailed turns an error of the store into a refusal.
func ledgerFailed(err error) error {
	var field *sale.FieldError
	var known *problem.Problem
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &field):
		return invalid(field.Field, field.Reason)
	case errors.Is(err, store.ErrNotFound):
		return problem.New(problem.NotFound, "")
	case errors.Is(err, store.ErrDuplicate):
		return problem.New(problem.Conflict, "It exists already.")
	}
	return problem.New(problem.Unavailable, "The ledger cannot be reached. Try again shortly.").Because(err)
}

// counterFailed turns an error of the counter's client into a refusal.
func counterFailed(err error) error {
	var conflict *client.ConflictError
	var request *client.RequestError
	switch {
	case errors.Is(err, client.ErrNoSale), errors.Is(err, client.ErrNoOrder):
		return problem.New(problem.NotFound, "")
	case errors.Is(err, client.ErrBusy):
		return problem.New(problem.Overloaded, "The counter is busy. Try again shortly.").Because(err)
	case errors.Is(err, client.ErrForbidden):
		return problem.New(problem.Internal, "").Because(err) // our own password is wrong
	case errors.As(err, &conflict):
		return problem.New(problem.Conflict, "Somebody else changed this meanwhile.").Because(err)
	case errors.As(err, &request):
		return invalid(request.Field, request.Reason)
	case errors.Is(err, client.ErrUnknown):
		return problem.New(problem.Unavailable, "The counter did not answer; it may have been done. Repeating it is safe.").Because(err)
	}
	return problem.New(problem.Unavailable, "The counter cannot be reached. Try again shortly.").Because(err)
}
