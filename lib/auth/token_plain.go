package auth

import (
	"bytes"
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"
)

// Reading a token's JSON with a general parser costs ten times what its HMAC does. Tokens in the spelling
// that Signer, and nearly everybody else, gives them are therefore read by hand. Whatever is spelt
// otherwise is left to the parser in Verify, whose word this must be in every case (FuzzPlainTokens).

// Bounds of what is read by hand, in bytes.
const (
	maxPlainClaims = 512
	maxPlainToken  = 1024
)

var strictBase64 = base64.RawURLEncoding.Strict() // read only

// plainHeaders are the headers of HS256 tokens that name their key, as encoders spell them.
func plainHeaders(keyID string) []string {
	list := []string{
		`{"alg":"HS256","kid":"` + keyID + `","typ":"JWT"}`,
		`{"alg":"HS256","typ":"JWT","kid":"` + keyID + `"}`,
		`{"typ":"JWT","alg":"HS256","kid":"` + keyID + `"}`,
	}
	for i := range list {
		list[i] = base64.RawURLEncoding.EncodeToString([]byte(list[i]))
	}
	return list
}

// verifyPlain verifies an HS256 token of the usual spelling. Where it does not decide, the parser must.
func (v *Verifier) verifyPlain(token string, now time.Time) (claims Claims, decided bool, err error) {
	first := strings.IndexByte(token, '.')
	last := strings.LastIndexByte(token, '.')
	if len(token) > maxPlainToken || first < 0 || last-first < 2 || last-first-1 > base64.RawURLEncoding.EncodedLen(maxPlainClaims) {
		return Claims{}, false, nil
	}
	key := v.plain[token[:first]]
	if key == nil {
		return Claims{}, false, nil
	}
	var buf [maxPlainToken]byte
	var room [maxPlainClaims]byte
	text := buf[:copy(buf[:], token)]
	n, err := strictBase64.Decode(room[:], text[first+1:last])
	if err != nil {
		return Claims{}, false, nil //nolint:nilerr // the parser says what is wrong
	}
	read := claimsReader{rest: room[:n]}
	if !read.claims(&claims) {
		return Claims{}, false, nil
	}
	switch {
	case !key.macMatches(text[:last], token[last+1:]):
		var sum [macBytes]byte
		signature := text[last+1:]
		if len(signature) != base64.RawURLEncoding.EncodedLen(macBytes) {
			return Claims{}, false, nil
		}
		if _, err := strictBase64.Decode(sum[:], signature); err != nil {
			return Claims{}, false, nil //nolint:nilerr // the parser says what is wrong
		}
		return Claims{}, true, ErrTokenSignature
	case !now.Before(claims.ExpiresAt):
		return Claims{}, true, ErrTokenExpired
	}
	return claims, claims.check() == nil, nil
}

// claimsReader reads the JSON of claims without blanks and escapes, with the members that Claims have, each
// once.
type claimsReader struct{ rest []byte }

func (r *claimsReader) claims(c *Claims) bool {
	var seen [5]bool
	once := func(i int) bool { first := !seen[i]; seen[i] = true; return first }
	if !r.skip("{") {
		return false
	}
	for {
		ok := false
		switch {
		case r.skip(`"sub":`):
			c.User, ok = r.text()
			ok = ok && once(0)
		case r.skip(`"name":`):
			c.Name, ok = r.text()
			ok = ok && once(1)
		case r.skip(`"roles":`):
			c.Roles, ok = r.list()
			ok = ok && once(2)
		case r.skip(`"iat":`):
			c.IssuedAt, ok = r.time()
			ok = ok && once(3)
		case r.skip(`"exp":`):
			c.ExpiresAt, ok = r.time()
			ok = ok && once(4)
		}
		switch {
		case !ok:
			return false
		case r.skip("}"):
			return len(r.rest) == 0 && seen[4]
		case !r.skip(","):
			return false
		}
	}
}

func (r *claimsReader) skip(text string) bool {
	if len(r.rest) < len(text) || string(r.rest[:len(text)]) != text {
		return false
	}
	r.rest = r.rest[len(text):]
	return true
}

func (r *claimsReader) text() (string, bool) {
	if !r.skip(`"`) {
		return "", false
	}
	end := bytes.IndexByte(r.rest, '"')
	if end < 0 {
		return "", false
	}
	raw := r.rest[:end]
	r.rest = r.rest[end+1:]
	for _, c := range raw {
		if c < ' ' || c == '\\' {
			return "", false
		}
	}
	return string(raw), utf8.Valid(raw)
}

func (r *claimsReader) list() (list []string, ok bool) {
	if !r.skip("[") {
		return nil, false
	}
	for {
		text, ok := r.text()
		if !ok || len(list) == MaxRoles {
			return nil, false
		}
		list = append(list, text)
		switch {
		case r.skip("]"):
			return list, true
		case !r.skip(","):
			return nil, false
		}
	}
}

// time reads seconds since 1970, whole or with three decimals.
func (r *claimsReader) time() (time.Time, bool) {
	if len(r.rest) == 0 || r.rest[0] == '0' {
		return time.Time{}, false
	}
	const mostDigits = 10
	seconds, digits := r.number(mostDigits)
	if seconds >= maxMillis/1000 { // in the year 2262
		return time.Time{}, false
	}
	millis := seconds * 1000
	if r.skip(".") {
		fraction, decimals := r.number(3)
		if decimals != 3 {
			return time.Time{}, false
		}
		millis += fraction
	}
	return time.UnixMilli(millis), digits > 0
}

// number reads decimal digits, so many at most.
func (r *claimsReader) number(most int) (value int64, digits int) {
	for len(r.rest) > 0 && digits < most && r.rest[0] >= '0' && r.rest[0] <= '9' {
		value = 10*value + int64(r.rest[0]-'0')
		r.rest = r.rest[1:]
		digits++
	}
	return value, digits
}
