package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"sync"

	"headgate.example/lib/config"
)

// MinSymmetricSecretBytes is the least length of a SymmetricKey's secret.
const MinSymmetricSecretBytes = 16

// SymmetricKey signs and verifies tickets or hops with HMAC-SHA256.
type SymmetricKey struct {
	ID     string        `yaml:"id"`     // 1 to 32 of A-Z a-z 0-9 _ -
	Secret config.Secret `yaml:"secret"` // at least MinSymmetricSecretBytes bytes
}

// ValidateKeys checks the keys of a Keyring; field is where the config holds them.
func ValidateKeys(p *config.Problems, field string, keys []SymmetricKey) {
	if len(keys) < 1 || len(keys) > MaxKeys {
		p.Addf(field, "must name 1 to %d keys, names %d", MaxKeys, len(keys))
	}
	seen := make(map[string]bool, len(keys))
	for i, k := range keys {
		at := p.In(fmt.Sprintf("%s[%d]", field, i))
		var wrong *keyError
		if errors.As(k.check(), &wrong) {
			at.Addf(wrong.field, "%s", wrong.reason)
		}
		if seen[k.ID] {
			at.Addf("id", "%q is the id of an earlier key", k.ID)
		}
		seen[k.ID] = true
	}
}

func (k *SymmetricKey) check() error {
	if err := checkKeyID(k.ID); err != nil {
		return err
	}
	if n := len(k.Secret.Reveal()); n < MinSymmetricSecretBytes {
		return keyErrorf("secret", "must be at least %d bytes, is %d", MinSymmetricSecretBytes, n)
	}
	return nil
}

// Keyring holds the keys of tickets or of hops. The first signs, all verify. It is immutable and safe
// for concurrent use.
type Keyring struct {
	keys map[string]*macKey
	sign *macKey
}

// macKey keeps HMACs that are keyed already: keying one costs as much as a short message.
type macKey struct {
	id   string
	pool sync.Pool // of *keyedMAC
}

// keyedMAC is an HMAC with room for what goes in and comes out of it.
type keyedMAC struct {
	hash.Hash
	text []byte
	sum  [macBytes]byte
}

func newMACKey(id string, secret []byte) *macKey {
	key := &macKey{id: id}
	key.pool.New = func() any { return &keyedMAC{Hash: hmac.New(sha256.New, secret)} }
	return key
}

const macBytes = sha256.Size

// NewKeyring takes 1 to MaxKeys keys.
func NewKeyring(keys []SymmetricKey) (*Keyring, error) {
	if len(keys) < 1 || len(keys) > MaxKeys {
		return nil, fmt.Errorf("keys: must be 1 to %d, are %d", MaxKeys, len(keys))
	}
	ring := &Keyring{keys: make(map[string]*macKey, len(keys))}
	for i := range keys {
		if err := keys[i].check(); err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if ring.keys[keys[i].ID] != nil {
			return nil, fmt.Errorf("keys[%d]: id: %q is used twice", i, keys[i].ID)
		}
		key := newMACKey(keys[i].ID, []byte(keys[i].Secret.Reveal()))
		ring.keys[key.id] = key
		if ring.sign == nil {
			ring.sign = key
		}
	}
	return ring, nil
}

// SigningKey is the id of the key that signs.
func (r *Keyring) SigningKey() string { return r.sign.id }

// Derive makes a key of 32 bytes for another use out of one of the ring's keys: the HMAC over a label and
// parts, each with its length, so that no two lists of parts share a key. It gives nil when there is no
// key of that id.
func (r *Keyring) Derive(keyID, label string, parts ...string) []byte {
	key := r.keys[keyID]
	if key == nil {
		return nil
	}
	mac := key.pool.Get().(*keyedMAC) //nolint:forcetypeassert // nothing else is put
	defer key.pool.Put(mac)
	mac.Reset()
	fmt.Fprintf(mac, "derive %d:%s\n", len(label), label) // a domain of its own: no ticket or hop begins so
	for _, part := range parts {
		fmt.Fprintf(mac, "%d:%s\n", len(part), part)
	}
	return mac.Sum(nil)
}

// appendMAC appends the base64url of the HMAC over text.
func (k *macKey) appendMAC(dst, text []byte) []byte {
	mac := k.pool.Get().(*keyedMAC)          //nolint:forcetypeassert // nothing else is put
	mac.text = append(mac.text[:0], text...) // a slice that went into an interface would be allocated by every caller
	mac.Reset()
	mac.Write(mac.text)
	dst = base64.RawURLEncoding.AppendEncode(dst, mac.Sum(mac.sum[:0]))
	k.pool.Put(mac)
	return dst
}

// macMatches compares a base64url HMAC in constant time. Comparing the encoded forms also refuses
// every encoding but the canonical one.
func (k *macKey) macMatches(text []byte, encoded string) bool {
	var buf [64]byte
	return hmac.Equal(k.appendMAC(buf[:0], text), []byte(encoded))
}
