package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// HopSkew is how far the sender's clock and the receiver's may be apart, network time included.
const HopSkew = 30 * time.Second

// MaxHopBytes bounds the header's value.
const MaxHopBytes = 160

const nonceBytes = 16

// Why a hop's signature is refused.
var (
	ErrHopMalformed = errors.New("the hop signature is malformed")
	ErrHopKey       = errors.New("the hop is signed with an unknown key")
	ErrHopSignature = errors.New("the hop's signature is wrong")
	ErrHopTime      = errors.New("the hop was signed too long ago, or clocks differ by more than 30 s")
)

// Hop is a request between our own programs, with the identity that its sender has verified. All
// fields are signed. Strings and Body are only read.
//
// A signed hop can be replayed, exactly as it was, for as long as HopSkew allows (60 s at the very
// most). Whoever can record hops can therefore repeat a request, but not change one; order taking is
// idempotent by its ticket's order id, so that a repeated hop takes no second order. There is no cache
// of nonces: it would have to hold a minute of peak traffic on each receiver. (Between edges nothing can be
// replayed: there a signed hop only opens a link, whose records are sealed and numbered.)
type Hop struct {
	Method string
	Path   string // with the query, as sent
	Body   []byte
	User   string
	Name   string
	Roles  string // comma separated
	From   string // the sending node; "" when it has no name
	Hops   int    // how many hops between edges the request has made
}

// appendTo writes what is signed: a domain word, then each part with its length before it, so that no
// two hops share a text.
func (h *Hop) appendTo(dst []byte, keyID, millis, nonce string) []byte {
	dst = append(dst, "headgate-hop-v1\n"...)
	sum := sha256.Sum256(h.Body)
	for _, part := range [...]string{keyID, millis, nonce, h.Method, h.Path, h.User, h.Name, h.Roles, h.From} {
		dst = strconv.AppendInt(dst, int64(len(part)), 10)
		dst = append(dst, ':')
		dst = append(dst, part...)
		dst = append(dst, '\n')
	}
	dst = strconv.AppendInt(dst, int64(h.Hops), 10)
	dst = append(dst, '\n')
	return append(dst, sum[:]...)
}

// SignHop gives the value of HeaderHop: `v1.<key id>.<unix ms>.<nonce>.<base64url(HMAC-SHA256)>`.
func (r *Keyring) SignHop(h Hop, now time.Time) string {
	var raw [nonceBytes]byte
	_, _ = rand.Read(raw[:]) // never fails: the program ends when the system has no randomness
	return r.signHop(h, now, base64.RawURLEncoding.EncodeToString(raw[:]))
}

func (r *Keyring) signHop(h Hop, now time.Time, nonce string) string {
	millis := strconv.FormatInt(now.UnixMilli(), 10)

	text := make([]byte, 0, MaxHopBytes)
	text = append(text, signatureVersion+"."...)
	text = append(text, r.sign.id...)
	text = append(text, '.')
	text = append(text, millis...)
	text = append(text, '.')
	text = append(text, nonce...)
	text = append(text, '.')
	var buf [512]byte
	return string(r.sign.appendMAC(text, h.appendTo(buf[:0], r.sign.id, millis, nonce)))
}

// VerifyHop checks the value of HeaderHop against the request that it came with. Errors are
// ErrHopMalformed, ErrHopKey, ErrHopSignature and ErrHopTime.
func (r *Keyring) VerifyHop(header string, h Hop, now time.Time) error {
	if len(header) > MaxHopBytes {
		return ErrHopMalformed
	}
	parts := strings.SplitN(header, ".", 6)
	if len(parts) != 5 || parts[0] != signatureVersion || len(parts[3]) != base64.RawURLEncoding.EncodedLen(nonceBytes) {
		return ErrHopMalformed
	}
	millis, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || millis <= 0 || millis > maxMillis {
		return ErrHopMalformed
	}
	key := r.keys[parts[1]]
	if key == nil {
		return ErrHopKey
	}
	var buf [512]byte
	if !key.macMatches(h.appendTo(buf[:0], parts[1], parts[2], parts[3]), parts[4]) {
		return ErrHopSignature
	}
	if age := now.Sub(time.UnixMilli(millis)); age > HopSkew || age < -HopSkew {
		return ErrHopTime
	}
	return nil
}
