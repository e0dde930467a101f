package signer

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
)

func TestTokensDifferAndAreSigned(t *testing.T) {
	list := New().Many("u", 3)
	seen := map[string]bool{}
	for _, token := range list {
		end := strings.LastIndexByte(token, '.')
		text, signature := token[:end], token[end+1:]
		mac := hmac.New(sha256.New, []byte(Secret))
		mac.Write([]byte(text))
		if encode(mac.Sum(nil)) != signature || seen[token] {
			t.Errorf("%q", token)
		}
		seen[token] = true
	}
}
