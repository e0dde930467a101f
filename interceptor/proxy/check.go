package proxy

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// MaxHeaderLines bounds the headers of a request: many short ones are much work in few bytes.
const MaxHeaderLines = 100

// MalformedError is what is wrong with a request's header. Its text is meant for the caller.
type MalformedError struct {
	Status int // 400, 417 or 431
	reason string
}

func (e *MalformedError) Error() string { return e.reason }

// What CheckHeader refuses with.
var (
	ErrFraming      = &MalformedError{400, "the request must not have both Content-Length and Transfer-Encoding"}
	ErrEncoding     = &MalformedError{400, "Transfer-Encoding: must be chunked"}
	ErrContent      = &MalformedError{400, "Content-Encoding: a request's body must not be encoded"}
	ErrFolding      = &MalformedError{400, "header: a line must not be continued on the next"}
	ErrLineEnd      = &MalformedError{400, "header: lines must end in CR LF"}
	ErrName         = &MalformedError{400, "header: a name must not hold blanks"}
	ErrTwice        = &MalformedError{400, "header: one that may be given once only is given twice"}
	ErrUnwantedBody = &MalformedError{400, "a GET or HEAD request must not have a body"}
	ErrHost         = &MalformedError{400, "Host: must be a host's name or address, and perhaps a port"}
	ErrVersion      = &MalformedError{400, "the request must be HTTP/1.1 or HTTP/1.0"}
	ErrExpectation  = &MalformedError{417, "Expect: only 100-continue is known"}
	ErrTooMany      = &MalformedError{431, "header: more than " + strconv.Itoa(MaxHeaderLines) + " lines"}
)

var (
	chunked  = []byte("chunked")
	proceed  = []byte("100-continue")
	protocol = []byte("HTTP/1.0")
)

// Present says which of some headers a request has.
type Present uint32

// The headers that are looked at, or that may stand in a request once only: of two, somebody else in the
// chain may have believed the other.
const (
	HasLength Present = 1 << iota
	HasTransfer
	HasContent
	HasExpect
	HasOrigin
	HasAuthorization
	HasType
	HasKey // Idempotency-Key
	HasTicket

	// Unknown is given for a request that was not received: it may have any of them.
	Unknown = ^Present(0)
)

// Found is what was found in a header as it was received.
type Found struct {
	Present       Present
	Authorization []byte // its value, part of the header; nil without, or where it is Unknown
}

// known are the names by their length, which tells most apart, in the spelling that most clients use.
var known = [...][]struct {
	name string
	bit  Present
}{
	6:  {{"Expect", HasExpect}, {"Origin", HasOrigin}},
	12: {{"Content-Type", HasType}},
	13: {{"Authorization", HasAuthorization}},
	14: {{"Content-Length", HasLength}},
	15: {{"Idempotency-Key", HasKey}, {"Headgate-Ticket", HasTicket}},
	16: {{"Content-Encoding", HasContent}},
	17: {{"Transfer-Encoding", HasTransfer}},
}

func bitOf(name []byte) Present {
	if len(name) < len(known) {
		for i := range known[len(name)] {
			if k := &known[len(name)][i]; string(name) == k.name || strings.EqualFold(string(name), k.name) {
				return k.bit
			}
		}
	}
	return 0
}

// CheckHeader refuses what fasthttp accepts and other servers read differently, and says which headers there
// are. It looks at the header as it was received. Errors are *MalformedError; after one the connection must be
// closed, since who misreads where a request ends misreads the next one.
func CheckHeader(h *fasthttp.RequestHeader) (Found, error) {
	found, err := checkLines(h.RawHeaders())
	seen := found.Present
	switch {
	case err != nil:
	case seen&HasLength != 0 && seen&HasTransfer != 0:
		err = ErrFraming
	case (h.IsGet() || h.IsHead()) && (h.ContentLength() > 0 || seen&HasTransfer != 0):
		err = ErrUnwantedBody
	case !h.IsHTTP11() && !bytes.Equal(h.Protocol(), protocol):
		err = ErrVersion
	case !validHost(h.Host()):
		err = ErrHost
	}
	if len(h.RawHeaders()) == 0 {
		found.Present = Unknown
	}
	return found, err
}

// checkLines walks over the lines and gives which of the known headers there are.
func checkLines(raw []byte) (found Found, err error) {
	for lines := 0; len(raw) > 0; lines++ {
		end := bytes.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return found, ErrLineEnd
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		if len(line) == 0 {
			break
		}
		switch {
		case line[0] == ' ' || line[0] == '\t':
			return found, ErrFolding
		case lines == MaxHeaderLines:
			return found, ErrTooMany
		}
		colon := nameLength(line)
		if colon < 0 {
			return found, ErrName
		}
		bit := bitOf(line[:colon])
		if bit == 0 {
			continue
		}
		if found.Present&bit != 0 {
			return found, ErrTwice
		}
		found.Present |= bit
		value := trimBlanks(line[colon+1:])
		if bit == HasAuthorization {
			found.Authorization = value
		}
		if err := checkValue(bit, value); err != nil {
			return found, err
		}
	}
	return found, nil
}

// nameLength is where the name of a header line ends; -1: it holds a blank, or there is no end (which
// fasthttp refuses).
func nameLength(line []byte) int {
	for i, c := range line {
		switch c {
		case ':':
			return i
		case ' ':
			return -1
		}
	}
	return -1
}

// trimBlanks cuts off what fasthttp takes for no part of a value.
func trimBlanks(value []byte) []byte {
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for n := len(value); n > 0 && (value[n-1] == ' ' || value[n-1] == '\t'); n-- {
		value = value[:n-1]
	}
	return value
}

func checkValue(bit Present, value []byte) error {
	switch {
	case bit == HasTransfer && !bytes.EqualFold(value, chunked):
		return ErrEncoding
	case bit == HasContent:
		return ErrContent
	case bit == HasExpect && !bytes.EqualFold(value, proceed):
		return ErrExpectation
	}
	return nil
}

// validHost accepts a name, an IPv4 address or an IPv6 address in brackets, and a port.
func validHost(host []byte) bool {
	name := host
	if colon := bytes.LastIndexByte(host, ':'); colon >= 0 && host[len(host)-1] != ']' {
		var port []byte
		name, port = host[:colon], host[colon+1:]
		if n, err := strconv.ParseUint(string(port), 10, 16); err != nil || n == 0 || len(port) > 5 {
			return false
		}
	}
	if len(name) > 2 && name[0] == '[' && name[len(name)-1] == ']' {
		for _, c := range name[1 : len(name)-1] {
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == ':' || c == '.') {
				return false
			}
		}
		return true
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}
	return len(name) > 0
}
