// Package problem is the one table of refusals: each has a stable code, an HTTP status and a safe
// sentence, and looks alike in body, header, log and metric. It also names the errors of the counter's
// RESP protocol, and maps the counter's refusal words to codes.
//
// A Problem is RFC 9457's application/problem+json. What went wrong inside belongs to the operator's
// log: keep it as the Problem's cause, it is never shown to the caller.
//
// The package must not know a program or a router; it fits net/http, fasthttp (AppendJSON) and huma
// (GetStatus, ContentType).
package problem
