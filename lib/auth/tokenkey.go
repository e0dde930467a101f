package auth

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate.example/lib/config"
)

// The algorithms of token keys.
const (
	HS256 = "HS256"
	EdDSA = "EdDSA"
)

// Bounds of token keys.
const (
	MinTokenSecretBytes = 32 // of an HS256 secret
	MaxKeys             = 16 // of one kind, valid at once
	MaxTokenLifetime    = 366 * 24 * time.Hour
)

// TokenKey is one key that tokens are signed or verified with. A token names its key by id, and the
// key says the algorithm; the token's own word on it must agree.
type TokenKey struct {
	ID        string `yaml:"id"`        // 1 to 32 of A-Z a-z 0-9 _ -
	Algorithm string `yaml:"algorithm"` // HS256 or EdDSA
	// Secret is the HS256 key, at least MinTokenSecretBytes bytes.
	Secret config.Secret `yaml:"secret,omitempty"`
	// PrivateKey is the EdDSA key: PKCS #8 in PEM, or the 32 byte seed in base64. Only where tokens
	// are signed.
	PrivateKey config.Secret `yaml:"private_key,omitempty"`
	// PublicKey is the EdDSA key that verifies: PKIX in PEM, or 32 bytes in base64. It may be left
	// out beside a private key.
	PublicKey string `yaml:"public_key,omitempty"`
}

// TokenConfig is how a program verifies tokens, and perhaps signs them.
type TokenConfig struct {
	Keys       []TokenKey    `yaml:"keys"`        // all of them verify
	SigningKey string        `yaml:"signing_key"` // the id of the key that signs; empty: this program signs none
	Lifetime   time.Duration `yaml:"lifetime"`    // of tokens that are signed
}

// DefaultTokenConfig has no keys, and tokens that live for 24 hours.
func DefaultTokenConfig() TokenConfig { return TokenConfig{Lifetime: 24 * time.Hour} }

// Validate checks each key and that the signing key can sign.
func (c *TokenConfig) Validate(p *config.Problems) {
	if len(c.Keys) < 1 || len(c.Keys) > MaxKeys {
		p.Addf("keys", "must name 1 to %d keys, names %d", MaxKeys, len(c.Keys))
	}
	if c.Lifetime < time.Second || c.Lifetime > MaxTokenLifetime {
		p.Addf("lifetime", "must be 1s to %s, is %s", MaxTokenLifetime, c.Lifetime)
	}
	seen := make(map[string]bool, len(c.Keys))
	signs := false
	for i := range c.Keys {
		k, at := &c.Keys[i], p.In(fmt.Sprintf("keys[%d]", i))
		if seen[k.ID] {
			at.Addf("id", "%q is the id of an earlier key", k.ID)
		}
		seen[k.ID] = true
		parsed, err := k.parse()
		var wrong *keyError
		if errors.As(err, &wrong) {
			at.Addf(wrong.field, "%s", wrong.reason)
		}
		if k.ID == c.SigningKey {
			signs = true
			if err == nil && parsed.sign == nil {
				p.Addf("signing_key", "key %q has no private_key to sign with", k.ID)
			}
		}
	}
	if c.SigningKey != "" && !signs {
		p.Addf("signing_key", "%q is not the id of one of the keys", c.SigningKey)
	}
}

// keyError names the field of a key that is wrong. It never holds key material.
type keyError struct{ field, reason string }

func (e *keyError) Error() string { return e.field + ": " + e.reason }

func keyErrorf(field, format string, args ...any) error {
	return &keyError{field, fmt.Sprintf(format, args...)}
}

// tokenKey is a TokenKey ready for use. sign is nil where only the public half is known.
type tokenKey struct {
	id     string
	method jwt.SigningMethod
	verify any
	sign   any
}

func (k *TokenKey) parse() (*tokenKey, error) {
	if err := checkKeyID(k.ID); err != nil {
		return nil, err
	}
	switch k.Algorithm {
	case HS256:
		return k.parseHS256()
	case EdDSA:
		return k.parseEdDSA()
	default:
		return nil, keyErrorf("algorithm", "must be %s or %s, is %q", HS256, EdDSA, k.Algorithm)
	}
}

func (k *TokenKey) parseHS256() (*tokenKey, error) {
	secret := []byte(k.Secret.Reveal())
	switch {
	case len(secret) < MinTokenSecretBytes:
		return nil, keyErrorf("secret", "must be at least %d bytes for %s, is %d", MinTokenSecretBytes, HS256, len(secret))
	case bytes.HasPrefix(secret, []byte("-----BEGIN")):
		return nil, keyErrorf("secret", "is a PEM block; an %s secret is shared random text (want algorithm %s?)", HS256, EdDSA)
	case k.PrivateKey != "":
		return nil, keyErrorf("private_key", "belongs to %s; an %s key has a secret", EdDSA, HS256)
	case k.PublicKey != "":
		return nil, keyErrorf("public_key", "belongs to %s; an %s key has a secret", EdDSA, HS256)
	}
	return &tokenKey{id: k.ID, method: jwt.SigningMethodHS256, verify: secret, sign: secret}, nil
}

func (k *TokenKey) parseEdDSA() (*tokenKey, error) {
	if k.Secret != "" {
		return nil, keyErrorf("secret", "belongs to %s; an %s key has a public_key", HS256, EdDSA)
	}
	key := &tokenKey{id: k.ID, method: jwt.SigningMethodEdDSA}
	var public ed25519.PublicKey
	if k.PrivateKey != "" {
		private, err := parsePrivate(k.PrivateKey.Reveal())
		if err != nil {
			return nil, err
		}
		key.sign = private
		public = private.Public().(ed25519.PublicKey) //nolint:forcetypeassert // documented by the standard library
	}
	if k.PublicKey != "" {
		given, err := parsePublic(k.PublicKey)
		if err != nil {
			return nil, err
		}
		if public != nil && !public.Equal(given) {
			return nil, keyErrorf("public_key", "does not belong to private_key; leave it out, or correct one of them")
		}
		public = given
	}
	if public == nil {
		return nil, keyErrorf("public_key", "is missing: an %s key needs it (or private_key, where tokens are signed)", EdDSA)
	}
	key.verify = public
	return key, nil
}

func parsePrivate(text string) (ed25519.PrivateKey, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, keyErrorf("private_key", "its PEM block is not a PKCS #8 key")
		}
		private, ok := parsed.(ed25519.PrivateKey)
		if !ok {
			return nil, keyErrorf("private_key", "must be an Ed25519 key, is %T", parsed)
		}
		return private, nil
	}
	seed, ok := fromBase64(text)
	if !ok || len(seed) != ed25519.SeedSize {
		return nil, keyErrorf("private_key", "must be PKCS #8 in PEM, or the seed of %d bytes in base64", ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func parsePublic(text string) (ed25519.PublicKey, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, keyErrorf("public_key", "its PEM block is not a PKIX public key")
		}
		public, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, keyErrorf("public_key", "must be an Ed25519 key, is %T", parsed)
		}
		return public, nil
	}
	raw, ok := fromBase64(text)
	if !ok || len(raw) != ed25519.PublicKeySize {
		return nil, keyErrorf("public_key", "must be PKIX in PEM, or %d bytes in base64", ed25519.PublicKeySize)
	}
	return raw, nil
}

// fromBase64 reads either alphabet, padded or not, as people paste keys.
func fromBase64(text string) ([]byte, bool) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	raw, err := base64.RawURLEncoding.DecodeString(text)
	return raw, err == nil
}

// MaxKeyIDBytes bounds a key's id.
const MaxKeyIDBytes = 32

func checkKeyID(id string) error {
	if len(id) < 1 || len(id) > MaxKeyIDBytes || !plainID(id) {
		return keyErrorf("id", "must be 1 to %d of A-Z a-z 0-9 _ -, is %q", MaxKeyIDBytes, id)
	}
	return nil
}

func plainID(text string) bool {
	for i := range len(text) {
		c := text[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
