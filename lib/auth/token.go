package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"headgate.example/lib/sale"
)

// Bounds of tokens.
const (
	MaxTokenBytes = 4096
	MaxNameBytes  = 128 // a buyer's name, as shown
	MaxRoles      = 16
	MaxRoleBytes  = 32
)

// Why a token is refused. All of them mean that the caller is not signed in.
var (
	ErrTokenMalformed   = errors.New("the token is malformed")
	ErrTokenKey         = errors.New("the token is signed with an unknown key")
	ErrTokenAlgorithm   = errors.New("the token's algorithm is not that of its key")
	ErrTokenSignature   = errors.New("the token's signature is wrong")
	ErrTokenExpired     = errors.New("the token is expired")
	ErrTokenNotYetValid = errors.New("the token is not valid yet")
)

// Claims are what a token says. Times have millisecond precision.
type Claims struct {
	User      string   // sale.CheckUser holds
	Name      string   // shown to people; at most MaxNameBytes
	Roles     []string // each 1 to MaxRoleBytes of A-Z a-z 0-9 _ -
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// HasRole reports whether the claims hold a role.
func (c *Claims) HasRole(role string) bool {
	for _, r := range c.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// RoleList is the roles as HeaderRoles carries them.
func (c *Claims) RoleList() string { return strings.Join(c.Roles, ",") }

func (c *Claims) check() error {
	if err := sale.CheckUser(c.User); err != nil {
		return err
	}
	if len(c.Name) > MaxNameBytes || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl) {
		return fmt.Errorf("name: must be at most %d bytes of UTF-8 without control characters", MaxNameBytes)
	}
	if err := CheckRoles(c.Roles); err != nil {
		return err
	}
	if !c.ExpiresAt.After(c.IssuedAt) {
		return errors.New("exp: must be later than iat")
	}
	return nil
}

// CheckRoles says what is wrong with the roles of a token, or of an account, for which tokens are signed.
func CheckRoles(roles []string) error {
	if len(roles) > MaxRoles {
		return fmt.Errorf("roles: must be at most %d", MaxRoles)
	}
	for _, role := range roles {
		if len(role) < 1 || len(role) > MaxRoleBytes || !plainID(role) {
			return fmt.Errorf("roles: each must be 1 to %d of A-Z a-z 0-9 _ -", MaxRoleBytes)
		}
	}
	return nil
}

// wireClaims are Claims as a token's JSON holds them (RFC 7519).
type wireClaims struct {
	Subject   string   `json:"sub"`
	Name      string   `json:"name,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	IssuedAt  *millis  `json:"iat,omitempty"`
	NotBefore *millis  `json:"nbf,omitempty"`
	ExpiresAt *millis  `json:"exp,omitempty"`
}

// millis is a NumericDate: seconds since 1970, here with three decimals.
type millis int64

const maxMillis = math.MaxInt64 / 1_000_000 // what a time in nanoseconds can still hold

// MarshalJSON writes seconds with three decimals.
func (m millis) MarshalJSON() ([]byte, error) {
	text := strconv.AppendInt(nil, int64(m)/1000, 10)
	return fmt.Appendf(text, ".%03d", int64(m)%1000), nil
}

// UnmarshalJSON reads seconds, whole or with a fraction.
func (m *millis) UnmarshalJSON(text []byte) error {
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(seconds > 0 && seconds < maxMillis/1000) {
		return errors.New("want a time in seconds since 1970")
	}
	*m = millis(math.Round(seconds * 1000))
	return nil
}

func (m *millis) date() (*jwt.NumericDate, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // how jwt.Claims says that a claim is absent
	}
	return &jwt.NumericDate{Time: time.UnixMilli(int64(*m))}, nil
}

// These make wireClaims a jwt.Claims.
func (c *wireClaims) GetExpirationTime() (*jwt.NumericDate, error) { return c.ExpiresAt.date() }
func (c *wireClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.IssuedAt.date() }
func (c *wireClaims) GetNotBefore() (*jwt.NumericDate, error)      { return c.NotBefore.date() }
func (c *wireClaims) GetIssuer() (string, error)                   { return "", nil }
func (c *wireClaims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *wireClaims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// Verifier checks tokens. It is immutable and safe for concurrent use.
type Verifier struct {
	keys    map[string]*tokenKey
	plain   map[string]*macKey // of HS256 keys, by the token's header
	methods []string
}

// NewVerifier takes the keys of a config. An error names the key and field, never the key material.
func NewVerifier(c TokenConfig) (*Verifier, error) {
	v := &Verifier{keys: make(map[string]*tokenKey, len(c.Keys)), plain: make(map[string]*macKey), methods: []string{HS256, EdDSA}}
	if len(c.Keys) < 1 || len(c.Keys) > MaxKeys {
		return nil, fmt.Errorf("token keys: must be 1 to %d, are %d", MaxKeys, len(c.Keys))
	}
	for i := range c.Keys {
		key, err := c.Keys[i].parse()
		if err != nil {
			return nil, fmt.Errorf("token key %d: %w", i, err)
		}
		if v.keys[key.id] != nil {
			return nil, fmt.Errorf("token key %d: id: %q is used twice", i, key.id)
		}
		v.keys[key.id] = key
		if secret, ok := key.verify.([]byte); ok && key.method.Alg() == HS256 {
			mac := newMACKey(key.id, secret)
			for _, header := range plainHeaders(key.id) {
				v.plain[header] = mac
			}
		}
	}
	return v, nil
}

// Verify checks a token against the time now and gives its claims. A token needs a known key id, that
// key's algorithm, a user and an expiry; there is no leeway. It is refused with one of the ErrToken
// errors. A clock that runs behind the signer's refuses fresh tokens only by `nbf`: an `iat` ahead of
// now is accepted.
func (v *Verifier) Verify(token string, now time.Time) (Claims, error) {
	if len(token) > MaxTokenBytes {
		return Claims{}, fmt.Errorf("%w: it has more than %d bytes", ErrTokenMalformed, MaxTokenBytes)
	}
	if !spelt(token) {
		return Claims{}, ErrTokenMalformed
	}
	if claims, decided, err := v.verifyPlain(token, now); decided {
		return claims, err
	}
	return v.parse(token, now)
}

// parse is Verify by the general parser, for a token of bounded length that is spelt well.
func (v *Verifier) parse(token string, now time.Time) (Claims, error) {
	wire := &wireClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods(v.methods), jwt.WithStrictDecoding(), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }))
	parsed, err := parser.ParseWithClaims(token, wire, v.keyOf)
	if err != nil {
		return Claims{}, refusalOf(parsed, err)
	}
	claims := Claims{User: wire.Subject, Name: wire.Name, Roles: wire.Roles, ExpiresAt: time.UnixMilli(int64(*wire.ExpiresAt))}
	if wire.IssuedAt != nil {
		claims.IssuedAt = time.UnixMilli(int64(*wire.IssuedAt))
	}
	if err := claims.check(); err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrTokenMalformed, err)
	}
	return claims, nil
}

// spelt reports whether a token holds base64url and dots only. Go's decoder skips line breaks, and one
// token with many spellings would fill whatever remembers tokens.
func spelt(token string) bool {
	for i := range len(token) {
		c := token[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

// keyOf finds the key that a token names and checks that the token uses it as it is meant.
func (v *Verifier) keyOf(t *jwt.Token) (any, error) {
	if _, critical := t.Header["crit"]; critical { // RFC 7515, 4.1.11: what is not understood is refused
		return nil, ErrTokenMalformed
	}
	id, ok := t.Header["kid"].(string)
	if !ok || id == "" {
		return nil, ErrTokenKey
	}
	key := v.keys[id]
	switch {
	case key == nil:
		return nil, ErrTokenKey
	case key.method.Alg() != t.Method.Alg():
		return nil, ErrTokenAlgorithm
	}
	return key.verify, nil
}

// refusalOf maps the parser's error to one of ours.
func refusalOf(t *jwt.Token, err error) error {
	for _, own := range []error{ErrTokenKey, ErrTokenAlgorithm, ErrTokenMalformed} {
		if errors.Is(err, own) {
			return own
		}
	}
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed) || t == nil:
		return ErrTokenMalformed
	case t.Method == nil || t.Method.Alg() != HS256 && t.Method.Alg() != EdDSA:
		return ErrTokenAlgorithm
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return ErrTokenSignature
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrTokenExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return ErrTokenNotYetValid
	default: // a required claim is missing
		return ErrTokenMalformed
	}
}

// Signer makes tokens. It is immutable and safe for concurrent use.
type Signer struct {
	key      *tokenKey
	lifetime time.Duration
}

// NewSigner takes the signing key of a config.
func NewSigner(c TokenConfig) (*Signer, error) {
	if c.Lifetime <= 0 || c.Lifetime > MaxTokenLifetime {
		return nil, fmt.Errorf("token lifetime: must be above 0 and at most %s, is %s", MaxTokenLifetime, c.Lifetime)
	}
	if c.SigningKey == "" {
		return nil, errors.New("signing_key: is empty: this program cannot sign tokens")
	}
	for i := range c.Keys {
		if c.Keys[i].ID != c.SigningKey {
			continue
		}
		key, err := c.Keys[i].parse()
		if err != nil {
			return nil, fmt.Errorf("token key %d: %w", i, err)
		}
		if key.sign == nil {
			return nil, fmt.Errorf("signing_key: key %q has no private_key", key.id)
		}
		return &Signer{key: key, lifetime: c.Lifetime}, nil
	}
	return nil, fmt.Errorf("signing_key: %q is not the id of one of the keys", c.SigningKey)
}

// Sign makes a token of claims with both times set. An error names the claim that is wrong.
func (s *Signer) Sign(c Claims) (string, error) {
	if err := c.check(); err != nil {
		return "", err
	}
	issued, expires := millis(c.IssuedAt.UnixMilli()), millis(c.ExpiresAt.UnixMilli())
	if issued <= 0 || expires > maxMillis {
		return "", errors.New("iat: must be a time since 1970")
	}
	token := jwt.NewWithClaims(s.key.method, &wireClaims{
		Subject: c.User, Name: c.Name, Roles: c.Roles, IssuedAt: &issued, ExpiresAt: &expires,
	})
	token.Header["kid"] = s.key.id
	text, err := token.SignedString(s.key.sign)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return text, nil
}

// SignFor makes a token that begins now and lives as long as the config says.
func (s *Signer) SignFor(user, name string, roles []string, now time.Time) (string, Claims, error) {
	issued := time.UnixMilli(now.UnixMilli())
	c := Claims{User: user, Name: name, Roles: roles, IssuedAt: issued, ExpiresAt: issued.Add(s.lifetime)}
	text, err := s.Sign(c)
	return text, c, err
}

var _ json.Unmarshaler = (*millis)(nil)
