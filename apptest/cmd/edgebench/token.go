//go:build unix

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"time"
)

const (
	tokenKey    = "k1"
	tokenSecret = "a-secret-for-measurements-only-0123456789"
)

// signer makes buyers' tokens as the backend does.
type signer struct {
	mac    hash.Hash
	header string
	issued time.Time
}

func newSigner() *signer {
	return &signer{mac: hmac.New(sha256.New, []byte(tokenSecret)), issued: time.Now().Truncate(time.Second),
		header: encode([]byte(`{"alg":"HS256","kid":"` + tokenKey + `","typ":"JWT"}`))}
}

func encode(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }

// token is one of a user, valid for a day.
func (s *signer) token(user string) string {
	claims := fmt.Appendf(nil, `{"sub":%q,"name":"Buyer %s","iat":%d.000,"exp":%d.000}`, user, user, s.issued.Unix(), s.issued.Add(24*time.Hour).Unix())
	text := s.header + "." + encode(claims)
	s.mac.Reset()
	s.mac.Write([]byte(text))
	return text + "." + encode(s.mac.Sum(nil))
}

// many are tokens of count users whose names begin with a prefix.
func (s *signer) many(prefix string, count int) []string {
	list := make([]string, count)
	for i := range list {
		list[i] = s.token(fmt.Sprintf("%s%07d", prefix, i))
	}
	return list
}
