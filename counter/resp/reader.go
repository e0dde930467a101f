package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Limits bound one request. A request beyond one of them is a *ProtocolError.
type Limits struct {
	Args         int // arguments with the command's name
	BulkBytes    int // one argument
	InlineBytes  int // one inline line
	RequestBytes int // a whole request with its framing: what the buffer may grow to
}

// DefaultLimits hold for a peer that has shown a password, or needs none.
func DefaultLimits() Limits {
	return Limits{Args: 1024, BulkBytes: 64 << 10, InlineBytes: 64 << 10, RequestBytes: 256 << 10}
}

// StrangerLimits hold until a peer has shown its password.
func StrangerLimits() Limits {
	return Limits{Args: 16, BulkBytes: 4 << 10, InlineBytes: 4 << 10, RequestBytes: 16 << 10}
}

const (
	firstBufferBytes = 16 << 10
	maxHeaderBytes   = 24 // '*' or '$', a 64-bit number, CR LF, and some
	argsKept         = 64 // a longer argument list is not kept for the next request
)

// ProtocolError is malformed input. The connection answers it once, as an error reply, and closes.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "Protocol error: " + e.Reason }

func protocolError(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// Reader parses the requests of one connection. It is not safe for concurrent use.
//
// Call Fill for one read from the connection, then Next until it says that no whole request is left.
type Reader struct {
	src    io.Reader
	limits Limits
	buf    []byte // buf[start:end] is unread
	start  int
	end    int
	args   [][]byte
	failed error
}

// NewReader reads from src within limits, whose fields must all be positive.
func NewReader(src io.Reader, limits Limits) *Reader {
	return &Reader{src: src, limits: limits, buf: make([]byte, min(firstBufferBytes, limits.RequestBytes))}
}

// SetLimits changes the limits for the requests that Next has not returned yet.
func (r *Reader) SetLimits(limits Limits) { r.limits = limits }

// Buffered is the number of bytes received and not parsed.
func (r *Reader) Buffered() int { return r.end - r.start }

// Fill reads once from the connection. It invalidates all arguments that Next returned. At the end of
// the stream it returns io.EOF, or io.ErrUnexpectedEOF in the middle of a request.
func (r *Reader) Fill() error {
	if r.failed != nil {
		return r.failed
	}
	r.makeRoom()
	if r.end == len(r.buf) {
		r.failed = protocolError("request exceeds %d bytes", r.limits.RequestBytes)
		return r.failed
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil // an error with bytes comes again on the next read
	}
	if errors.Is(err, io.EOF) && r.Buffered() > 0 {
		return io.ErrUnexpectedEOF
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// makeRoom moves the unread bytes to the front, and grows the buffer only when it is full of them.
func (r *Reader) makeRoom() {
	unread := r.end - r.start
	switch {
	case unread == 0 && len(r.buf) > firstBufferBytes:
		r.buf = make([]byte, firstBufferBytes) // a large request has passed: do not keep its buffer
	case unread == len(r.buf) && unread < r.limits.RequestBytes:
		grown := make([]byte, min(2*len(r.buf), r.limits.RequestBytes))
		copy(grown, r.buf[r.start:r.end])
		r.buf = grown
	case r.start > 0:
		copy(r.buf, r.buf[r.start:r.end])
	}
	r.start, r.end = 0, unread
}

// Next parses one request of what Fill has read: its arguments, at least one, and true; or false when
// no whole request is there. The arguments alias the buffer: they are valid until the next call of
// Next or Fill. After an error the Reader stays failed.
func (r *Reader) Next() (args [][]byte, ok bool, err error) {
	if r.failed != nil {
		return nil, false, r.failed
	}
	if cap(r.args) > argsKept {
		r.args = nil
	}
	for r.start < r.end {
		r.args = r.args[:0]
		var used int
		if r.buf[r.start] == '*' {
			used, err = r.parseArray(r.buf[r.start:r.end])
		} else {
			used, err = r.parseInline(r.buf[r.start:r.end])
		}
		if err != nil {
			r.failed = err
			return nil, false, err
		}
		if used == 0 {
			return nil, false, nil
		}
		r.start += used
		if len(r.args) > 0 {
			return r.args, true, nil
		}
	}
	return nil, false, nil
}

// parseArray returns the bytes used, 0 when the request is not complete yet.
func (r *Reader) parseArray(in []byte) (int, error) {
	count, used, err := number(in, "multibulk length", r.limits.Args)
	if err != nil || used == 0 {
		return 0, err
	}
	for range count {
		if used == len(in) {
			return 0, nil
		}
		if in[used] != '$' {
			return 0, protocolError("expected '$', got %q", in[used])
		}
		length, head, err := number(in[used:], "bulk length", r.limits.BulkBytes)
		if err != nil || head == 0 {
			return 0, err
		}
		used += head
		if used+length+2 > r.limits.RequestBytes {
			return 0, protocolError("request exceeds %d bytes", r.limits.RequestBytes)
		}
		if len(in) < used+length+2 {
			return 0, nil
		}
		if in[used+length] != '\r' || in[used+length+1] != '\n' {
			return 0, protocolError("expected CR LF after %d bytes of a bulk string", length)
		}
		r.args = append(r.args, in[used:used+length:used+length])
		used += length + 2
	}
	return used, nil
}

// number reads a type byte, a decimal number of 0 to limit, and CR LF. It returns the bytes used, 0
// when the line is not complete yet.
func number(in []byte, what string, limit int) (n, used int, err error) {
	if len(in) >= 4 && in[2] == '\r' && in[3] == '\n' { // one digit, as mostly
		if n = int(in[1]) - '0'; n >= 0 && n <= 9 && n <= limit {
			return n, 4, nil
		}
		n = 0
	}
	head := in[:min(len(in), maxHeaderBytes)]
	i := 1
	for ; i < len(head) && head[i] >= '0' && head[i] <= '9'; i++ {
		if n = n*10 + int(head[i]-'0'); n > limit {
			return 0, 0, protocolError("%s exceeds %d", what, limit)
		}
	}
	switch {
	case i == len(head) && len(head) < maxHeaderBytes:
		return 0, 0, nil
	case i == 1 || i == len(head) || head[i] != '\r':
		return 0, 0, protocolError("invalid %s", what)
	case i+1 == len(head):
		return 0, 0, nil
	case head[i+1] != '\n':
		return 0, 0, protocolError("invalid %s", what)
	}
	return n, i + 2, nil
}

// parseInline reads one line and splits it at spaces. Quoted words are unescaped in place.
func (r *Reader) parseInline(in []byte) (int, error) {
	end := bytes.IndexByte(in[:min(len(in), r.limits.InlineBytes)], '\n')
	if end < 0 {
		if len(in) >= r.limits.InlineBytes {
			return 0, protocolError("inline request exceeds %d bytes", r.limits.InlineBytes)
		}
		return 0, nil
	}
	rest := bytes.TrimSuffix(in[:end], []byte{'\r'})
	for {
		if rest = bytes.TrimLeft(rest, " \t"); len(rest) == 0 {
			break
		}
		if len(r.args) == r.limits.Args {
			return 0, protocolError("inline request has more than %d words", r.limits.Args)
		}
		word, used, ok := inlineWord(rest)
		if !ok {
			return 0, protocolError("unbalanced quotes in inline request")
		}
		r.args = append(r.args, word)
		rest = rest[used:]
	}
	if len(r.args) > 1 && isHTTP(r.args) {
		return 0, protocolError("this port speaks RESP, not HTTP")
	}
	return end + 1, nil
}

// isHTTP recognises a browser: a page must not be able to send commands in the body of a form.
func isHTTP(args [][]byte) bool {
	return bytes.HasPrefix(args[len(args)-1], []byte("HTTP/1.")) || bytes.EqualFold(args[0], []byte("Host:"))
}

// inlineWord takes one word off the front: plain, "with \n escapes" or 'with \' only'.
func inlineWord(in []byte) (word []byte, used int, ok bool) {
	quote := in[0]
	if quote != '"' && quote != '\'' {
		if used = bytes.IndexAny(in, " \t"); used < 0 {
			used = len(in)
		}
		return in[:used:used], used, true
	}
	word = in[:0]
	for i := 1; i < len(in); i++ {
		c := in[i]
		switch {
		case c == quote:
			if i+1 < len(in) && in[i+1] != ' ' && in[i+1] != '\t' {
				return nil, 0, false // a closing quote ends the word
			}
			return word[:len(word):len(word)], i + 1, true
		case c == '\\' && quote == '"' && i+3 < len(in) && in[i+1] == 'x' && isHex(in[i+2]) && isHex(in[i+3]):
			c = hexValue(in[i+2])<<4 | hexValue(in[i+3])
			i += 3
		case c == '\\' && i+1 < len(in) && (quote == '"' || in[i+1] == '\''):
			i++
			c = unescape(in[i], quote)
		}
		word = append(word, c)
	}
	return nil, 0, false
}

func unescape(c, quote byte) byte {
	if quote == '\'' {
		return c
	}
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}
