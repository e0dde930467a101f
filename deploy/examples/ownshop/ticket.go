package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

// ticket is the counter's word that units are held for an order.
type ticket struct {
	Order    string `json:"order"`
	Sale     string `json:"sale"`
	User     string `json:"user"`
	Quantity int    `json:"quantity"`
}

var errTicket = errors.New("not a ticket of the edge's")

// verify reads a ticket: v1.<key id>.<base64url JSON>.<base64url HMAC-SHA256 over all before its dot>.
func verify(secrets map[string]string, text string) (t ticket, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 4 || parts[0] != "v1" || secrets[parts[1]] == "" {
		return t, errTicket
	}
	mac := hmac.New(sha256.New, []byte(secrets[parts[1]]))
	mac.Write([]byte(strings.Join(parts[:3], ".")))
	if !hmac.Equal([]byte(base64.RawURLEncoding.EncodeToString(mac.Sum(nil))), []byte(parts[3])) {
		return t, errTicket
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return t, errTicket
	}
	return t, json.Unmarshal(payload, &t)
}
