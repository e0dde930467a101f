package problem

import (
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// MediaType is the content type of a Problem's body (RFC 9457).
const MediaType = "application/problem+json"

// HeaderCode is the header that repeats the code.
const HeaderCode = "Headgate-Code"

// TypeBase and a code make a problem's type. It identifies, it is not meant to be fetched.
const TypeBase = "https://headgate.example/problems/"

// DefaultRetryAfter is what New sets, in seconds, where Retry-After is due.
const DefaultRetryAfter = 1

// FieldProblem is one wrong field of a request.
type FieldProblem struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// Problem is one refusal as its caller sees it.
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Code     Code   `json:"code"`
	Detail   string `json:"detail,omitempty"`   // a safe sentence on this occurrence
	Instance string `json:"instance,omitempty"` // the request's id
	OrderID  string `json:"order_id,omitempty"`
	Ticket   string `json:"ticket,omitempty"`
	OpensAt  int64  `json:"opens_at,omitempty"` // milliseconds since 1970
	// RetryAfter is in seconds. It is told, as a header too, with status 429 and 503 only, and is at
	// least 1 there.
	RetryAfter int            `json:"retry_after,omitempty"`
	Held       *int64         `json:"held,omitempty"` // units that may return
	Left       *int64         `json:"left,omitempty"` // units that are left
	Errors     []FieldProblem `json:"errors,omitempty"`

	cause error
}

// New makes a problem; the detail must be safe to show, and may be empty.
func New(code Code, detail string) *Problem {
	p := &Problem{Title: code.Title(), Status: code.Status(), Code: code, Detail: detail}
	if r := code.row(); r != nil {
		p.Type = r.uri
	} else {
		p.Type = TypeBase + string(code)
	}
	if p.waits() {
		p.RetryAfter = DefaultRetryAfter
	}
	return p
}

// Newf is New with a format.
func Newf(code Code, format string, args ...any) *Problem {
	return New(code, fmt.Sprintf(format, args...))
}

// Because keeps the cause for the operator's log and gives p back. The caller never sees it.
func (p *Problem) Because(cause error) *Problem {
	p.cause = cause
	return p
}

// Error is code and detail, for logs.
func (p *Problem) Error() string {
	text := string(p.Code)
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if p.cause != nil {
		text += " (" + p.cause.Error() + ")"
	}
	return text
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.cause }

// GetStatus is the HTTP status, as huma asks for it.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is the media type, as huma asks for it.
func (p *Problem) ContentType(string) string { return MediaType }

// MarshalJSON gives what AppendJSON appends.
func (p *Problem) MarshalJSON() ([]byte, error) { return p.AppendJSON(nil), nil }

func (p *Problem) waits() bool {
	return p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable
}

// RetrySeconds is the value of Retry-After: at least 1 with status 429 and 503, else 0 for none.
func (p *Problem) RetrySeconds() int {
	if !p.waits() {
		return 0
	}
	return max(p.RetryAfter, 1)
}

// AppendJSON appends the body. It allocates only when dst is too short.
func (p *Problem) AppendJSON(dst []byte) []byte { return p.AppendRest(p.AppendHead(dst)) }

// AppendHead appends the beginning of the body: what all problems of one code and status have in common,
// so that whoever refuses often may keep it.
func (p *Problem) AppendHead(dst []byte) []byte {
	dst = appendString(append(dst, `{"type":`...), p.Type)
	dst = appendString(append(dst, `,"title":`...), p.Title)
	dst = strconv.AppendInt(append(dst, `,"status":`...), int64(p.Status), 10)
	return appendString(append(dst, `,"code":`...), string(p.Code))
}

// AppendRest appends what follows AppendHead.
func (p *Problem) AppendRest(dst []byte) []byte {
	dst = appendMember(dst, `,"detail":`, p.Detail)
	dst = appendMember(dst, `,"instance":`, p.Instance)
	dst = appendMember(dst, `,"order_id":`, p.OrderID)
	dst = appendMember(dst, `,"ticket":`, p.Ticket)
	if p.OpensAt != 0 {
		dst = strconv.AppendInt(append(dst, `,"opens_at":`...), p.OpensAt, 10)
	}
	if seconds := p.RetrySeconds(); seconds > 0 {
		dst = strconv.AppendInt(append(dst, `,"retry_after":`...), int64(seconds), 10)
	}
	if p.Held != nil {
		dst = strconv.AppendInt(append(dst, `,"held":`...), *p.Held, 10)
	}
	if p.Left != nil {
		dst = strconv.AppendInt(append(dst, `,"left":`...), *p.Left, 10)
	}
	for i, e := range p.Errors {
		if i == 0 {
			dst = append(dst, `,"errors":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `{"field":`...), e.Field)
		dst = appendString(append(dst, `,"reason":`...), e.Reason)
		dst = append(dst, '}')
	}
	if len(p.Errors) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// WriteHTTP answers with the problem. Headers that were set before stay.
func (p *Problem) WriteHTTP(w http.ResponseWriter) {
	body := p.AppendJSON(make([]byte, 0, 512))
	h := w.Header()
	h.Set("Content-Type", MediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set(HeaderCode, string(p.Code))
	if seconds := p.RetrySeconds(); seconds > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // the caller is gone when this fails
}

func appendMember(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	return appendString(append(dst, name...), text)
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string. Characters that HTML could trip over are escaped too, since
// bodies are seen in browsers; broken UTF-8 becomes U+FFFD.
func appendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(text); {
		c := text[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(text[i:])
			dst = appendRune(dst, r)
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f || c == '<' || c == '>' || c == '&':
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

func appendRune(dst []byte, r rune) []byte {
	if r == '\u2028' || r == '\u2029' { // line ends to JavaScript
		return append(dst, '\\', 'u', '2', '0', '2', hexDigits[r&15])
	}
	return utf8.AppendRune(dst, r)
}
