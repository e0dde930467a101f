// Package signer makes the tokens of buyers as the backend does, for tests and measurements that run an edge
// without one.
package signer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"time"
)

// The key that edges are configured with (HS256).
const (
	Key    = "k1"
	Secret = "a-secret-for-measurements-only-0123456789"
)

// Signer makes tokens. It is not for concurrent use.
type Signer struct {
	mac    hash.Hash
	header string
	issued time.Time
}

// New makes a Signer whose tokens are issued now.
func New() *Signer {
	return &Signer{mac: hmac.New(sha256.New, []byte(Secret)), issued: time.Now().Truncate(time.Second),
		header: encode([]byte(`{"alg":"HS256","kid":"` + Key + `","typ":"JWT"}`))}
}

func encode(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }

// Token is one of a user, valid for a day.
func (s *Signer) Token(user string) string {
	claims := fmt.Appendf(nil, `{"sub":%q,"name":"Buyer %s","iat":%d.000,"exp":%d.000}`, user, user, s.issued.Unix(), s.issued.Add(24*time.Hour).Unix())
	text := s.header + "." + encode(claims)
	s.mac.Reset()
	s.mac.Write([]byte(text))
	return text + "." + encode(s.mac.Sum(nil))
}

// Many are tokens of count users whose names begin with a prefix.
func (s *Signer) Many(prefix string, count int) []string {
	list := make([]string, count)
	for i := range list {
		list[i] = s.Token(fmt.Sprintf("%s%07d", prefix, i))
	}
	return list
}
