package route

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

// MaxTargetBytes bounds a request target.
const MaxTargetBytes = 4096

// What is wrong with a request target. The texts are meant for the caller.
var (
	ErrTargetLength   = errors.New("request target: must be 1 to 4096 bytes")
	ErrTargetForm     = errors.New("request target: must be a path that starts with a slash")
	ErrTargetByte     = errors.New("request target: holds a byte that must be percent-encoded or is not allowed")
	ErrTargetEscape   = errors.New("request target: a percent sign must be followed by two hex digits")
	ErrTargetEncoding = errors.New("request target: letters, digits, - . _ ~ / \\ % and control bytes must not be percent-encoded")
	ErrTargetUTF8     = errors.New("request target: what is percent-encoded must be UTF-8")
	ErrTargetSegment  = errors.New("request target: empty segments and dot segments are not allowed")
)

// Canonical splits a raw request target, as it stood in the request line, into path and query. The
// path is in the only form accepted: absolute, without empty, "." or ".." segments, and with
// percent-encoding only of bytes that need it. Both slices are parts of target.
func Canonical(target []byte) (path, query []byte, err error) {
	if len(target) == 0 || len(target) > MaxTargetBytes {
		return nil, nil, ErrTargetLength
	}
	if target[0] != '/' {
		return nil, nil, ErrTargetForm // absolute-form, authority-form, "*"
	}
	path = target
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i+1:]
		for _, c := range query {
			if c <= ' ' || c >= 0x7f || c == '#' {
				return nil, nil, ErrTargetByte
			}
		}
	}
	if err := checkPath(path); err != nil {
		return nil, nil, err
	}
	return path, query, nil
}

func checkPath(path []byte) error {
	foreign := false // bytes beyond ASCII
	start := 1       // of the current segment
	for i := 1; i < len(path); i++ {
		switch c := path[i]; {
		case c == '/':
			if emptyOrDots(path[start:i]) {
				return ErrTargetSegment
			}
			start = i + 1
		case c == '%':
			if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return ErrTargetEscape
			}
			decoded := unhex(path[i+1])<<4 | unhex(path[i+2])
			if !mayBeEncoded(decoded) {
				return ErrTargetEncoding
			}
			foreign = foreign || decoded >= utf8.RuneSelf
			i += 2
		case !plain[c]:
			return ErrTargetByte
		}
	}
	// The last segment may be empty: "/" and "/assets/".
	if last := path[start:]; len(last) > 0 && emptyOrDots(last) {
		return ErrTargetSegment
	}
	if foreign && !decodesToUTF8(path) {
		return ErrTargetUTF8 // overlong forms of a slash among them
	}
	return nil
}

// decodesToUTF8 reports whether a path whose escapes are well formed stands for UTF-8.
func decodesToUTF8(path []byte) bool {
	var room [MaxTargetBytes]byte
	text := room[:0]
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			c = unhex(path[i+1])<<4 | unhex(path[i+2])
			i += 2
		}
		text = append(text, c)
	}
	return utf8.Valid(text)
}

func emptyOrDots(segment []byte) bool {
	return len(segment) == 0 || segment[0] == '.' && (len(segment) == 1 || len(segment) == 2 && segment[1] == '.')
}

// isUnreserved reports whether c never needs percent-encoding (RFC 3986).
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// plain are the bytes that may stand for themselves in a path segment (pchar of RFC 3986, without ";"). Read only.
var plain = func() (set [256]bool) {
	for c := range set {
		set[c] = isUnreserved(byte(c)) || strings.IndexByte("!$&'()*+,=:@", byte(c)) >= 0
	}
	return set
}()

// mayBeEncoded reports whether a byte may stand in a path as %XX: it may need to, and it is none that
// some server between here and the upstream could take for structure. Patterns hold unreserved
// characters only, so that no two spellings of a path fit different routes.
func mayBeEncoded(c byte) bool {
	return c >= ' ' && c != 0x7f && !isUnreserved(c) && c != '/' && c != '\\' && c != '%'
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}
