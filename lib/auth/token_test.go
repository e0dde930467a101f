package auth

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"headgate.example/lib/config"
)

var now = time.UnixMilli(1_790_000_000_123)

const hsSecret = "0123456789abcdef0123456789abcdef"

func edKey(t testing.TB) (private, public string, key ed25519.PrivateKey) {
	t.Helper()
	key = ed25519.NewKeyFromSeed([]byte("headgate test seed of 32 bytes!!"))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	private = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	public = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}))
	return private, public, key
}

// rotation is a config with an old HS256 key and a new EdDSA key, both live.
func rotation(t testing.TB) TokenConfig {
	private, _, _ := edKey(t)
	return TokenConfig{
		Keys: []TokenKey{
			{ID: "old", Algorithm: HS256, Secret: hsSecret},
			{ID: "new", Algorithm: EdDSA, PrivateKey: config.Secret(private)},
		},
		SigningKey: "new",
		Lifetime:   time.Hour,
	}
}

func mustVerifier(t testing.TB, c TokenConfig) *Verifier {
	t.Helper()
	v, err := NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustSigner(t testing.TB, c TokenConfig) *Signer {
	t.Helper()
	s, err := NewSigner(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokensOfBothKeysDuringRotation(t *testing.T) {
	c := rotation(t)
	v := mustVerifier(t, c)
	for _, id := range []string{"old", "new"} {
		c.SigningKey = id
		text, signed, err := mustSigner(t, c).SignFor("a1", "Ann", []string{"admin", "buyer"}, now)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Verify(text, now)
		if err != nil {
			t.Fatalf("key %s: %v", id, err)
		}
		if fmt.Sprint(got) != fmt.Sprint(signed) {
			t.Errorf("key %s: signed %v, read %v", id, signed, got)
		}
		if !got.IssuedAt.Equal(now) || !got.ExpiresAt.Equal(now.Add(time.Hour)) {
			t.Errorf("key %s: times are %v and %v: want milliseconds kept", id, got.IssuedAt, got.ExpiresAt)
		}
		if !got.HasRole("admin") || got.HasRole("adm") || got.RoleList() != "admin,buyer" {
			t.Errorf("key %s: roles are %q", id, got.RoleList())
		}
	}
	// The rotation ends: what the removed key signed is refused.
	c.SigningKey = "old"
	text, _, err := mustSigner(t, c).SignFor("a1", "Ann", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	c.Keys = c.Keys[1:]
	if _, err := mustVerifier(t, c).Verify(text, now); !errors.Is(err, ErrTokenKey) {
		t.Errorf("with the old key removed: %v", err)
	}
}

// forge signs whatever header and claims a forger may think of.
func forge(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, claims string) string {
	t.Helper()
	head := map[string]any{"typ": "JWT", "alg": method.Alg()}
	for k, v := range header {
		if v == nil {
			delete(head, k)
			continue
		}
		head[k] = v
	}
	h, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding
	text := b64.EncodeToString(h) + "." + b64.EncodeToString([]byte(claims))
	sum, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64.EncodeToString(sum)
}

func claimsJSON(more string) string {
	return fmt.Sprintf(`{"sub":"a1","exp":%d%s}`, now.Unix()+60, more)
}

func TestVerifyRefuses(t *testing.T) {
	v := mustVerifier(t, rotation(t))
	_, publicPEM, private := edKey(t)
	public, _ := private.Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	hs, none, ed := jwt.SigningMethodHS256, jwt.SigningMethodNone, jwt.SigningMethodEdDSA
	old := map[string]any{"kid": "old"}
	secret := []byte(hsSecret)
	good := forge(t, hs, secret, old, claimsJSON(""))
	if _, err := v.Verify(good, now); err != nil {
		t.Fatalf("the token that the others are made from: %v", err)
	}
	parts := strings.Split(good, ".")
	with := func(claims string) string { return forge(t, hs, secret, old, claims) }
	for _, c := range []struct {
		name, token string
		want        error
	}{
		{"empty", "", ErrTokenMalformed},
		{"one part", "abc", ErrTokenMalformed},
		{"two parts", parts[0] + "." + parts[1], ErrTokenMalformed},
		{"four parts", good + ".x", ErrTokenMalformed},
		{"not base64", "!" + good, ErrTokenMalformed},
		{"padded", good + "=", ErrTokenMalformed},
		{"line break in the signature", good[:len(good)-3] + "\n" + good[len(good)-3:], ErrTokenMalformed},
		{"signature spelt otherwise", good[:len(good)-1] + string(nextInAlphabet(good[len(good)-1])), ErrTokenMalformed},
		{"too long", good + strings.Repeat("x", MaxTokenBytes), ErrTokenMalformed},
		{"claims are no JSON", with("{"), ErrTokenMalformed},
		{"claims are a list", with("[]"), ErrTokenMalformed},
		{"none", forge(t, none, jwt.UnsafeAllowNoneSignatureType, old, claimsJSON("")), ErrTokenAlgorithm},
		{"None in capitals", forge(t, hs, secret, map[string]any{"kid": "old", "alg": "NONE"}, claimsJSON("")), ErrTokenAlgorithm},
		{"none with a signature", forge(t, hs, secret, map[string]any{"kid": "old", "alg": "none"}, claimsJSON("")), ErrTokenAlgorithm},
		{"unknown algorithm", forge(t, hs, secret, map[string]any{"kid": "old", "alg": "HS1"}, claimsJSON("")), ErrTokenAlgorithm},
		{"HS512 with the right secret", forge(t, jwt.SigningMethodHS512, secret, old, claimsJSON("")), ErrTokenAlgorithm},
		{"algorithm is a number", forge(t, hs, secret, map[string]any{"kid": "old", "alg": 5}, claimsJSON("")), ErrTokenAlgorithm},
		{"public key as HMAC secret, PEM", forge(t, hs, []byte(publicPEM), map[string]any{"kid": "new"}, claimsJSON("")), ErrTokenAlgorithm},
		{"public key as HMAC secret, DER", forge(t, hs, der, map[string]any{"kid": "new"}, claimsJSON("")), ErrTokenAlgorithm},
		{"public key as HMAC secret, raw", forge(t, hs, []byte(public), map[string]any{"kid": "new"}, claimsJSON("")), ErrTokenAlgorithm},
		{"EdDSA under the HMAC key's id", forge(t, ed, private, old, claimsJSON("")), ErrTokenAlgorithm},
		{"no kid", forge(t, hs, secret, nil, claimsJSON("")), ErrTokenKey},
		{"kid is a number", forge(t, hs, secret, map[string]any{"kid": 1}, claimsJSON("")), ErrTokenKey},
		{"unknown kid", forge(t, hs, secret, map[string]any{"kid": "../old"}, claimsJSON("")), ErrTokenKey},
		{"critical header", forge(t, hs, secret, map[string]any{"kid": "old", "crit": []string{"x"}}, claimsJSON("")), ErrTokenMalformed},
		{"wrong secret", forge(t, hs, []byte("x"+hsSecret), old, claimsJSON("")), ErrTokenSignature},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrTokenSignature},
		{"another's claims", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(claimsJSON(`,"name":"x"`))) + "." + parts[2], ErrTokenSignature},
		{"no expiry", with(`{"sub":"a1"}`), ErrTokenMalformed},
		{"expiry is null", with(`{"sub":"a1","exp":null}`), ErrTokenMalformed},
		{"expiry is text", with(`{"sub":"a1","exp":"never"}`), ErrTokenMalformed},
		{"expiry beyond time", with(`{"sub":"a1","exp":1e300}`), ErrTokenMalformed},
		{"negative expiry", with(`{"sub":"a1","exp":-5}`), ErrTokenMalformed},
		{"expired", with(fmt.Sprintf(`{"sub":"a1","exp":%d}`, now.Unix()-1)), ErrTokenExpired},
		{"expired by a millisecond", with(fmt.Sprintf(`{"sub":"a1","exp":%d.122}`, now.Unix())), ErrTokenExpired},
		{"expires now", with(fmt.Sprintf(`{"sub":"a1","exp":%d.123}`, now.Unix())), ErrTokenExpired},
		{"not yet valid", with(claimsJSON(fmt.Sprintf(`,"nbf":%d`, now.Unix()+1))), ErrTokenNotYetValid},
		{"no user", with(fmt.Sprintf(`{"exp":%d}`, now.Unix()+60)), ErrTokenMalformed},
		{"user with a space", with(fmt.Sprintf(`{"sub":"a 1","exp":%d}`, now.Unix()+60)), ErrTokenMalformed},
		{"user with a line break", with(fmt.Sprintf(`{"sub":"a1\nx","exp":%d}`, now.Unix()+60)), ErrTokenMalformed},
		{"name with a line break", with(claimsJSON(`,"name":"x\r\nHeadgate-Roles: admin"`)), ErrTokenMalformed},
		{"role with a comma", with(claimsJSON(`,"roles":["buyer,admin"]`)), ErrTokenMalformed},
		{"roles are text", with(claimsJSON(`,"roles":"admin"`)), ErrTokenMalformed},
		{"issued after its expiry", with(claimsJSON(fmt.Sprintf(`,"iat":%d`, now.Unix()+90))), ErrTokenMalformed},
	} {
		got, err := v.Verify(c.token, now)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error is %v, want %v", c.name, err, c.want)
		}
		if fmt.Sprint(got) != fmt.Sprint(Claims{}) {
			t.Errorf("%s: refused, and yet gives %v", c.name, got)
		}
	}
}

func TestExpiryIsExact(t *testing.T) {
	c := rotation(t)
	text, claims, err := mustSigner(t, c).SignFor("a1", "", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	v := mustVerifier(t, c)
	if _, err := v.Verify(text, claims.ExpiresAt.Add(-time.Millisecond)); err != nil {
		t.Errorf("a millisecond before its end: %v", err)
	}
	if _, err := v.Verify(text, claims.ExpiresAt); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("at its end: %v", err)
	}
	// The signer's clock may be ahead of ours: that alone refuses nobody.
	if _, err := v.Verify(text, now.Add(-time.Minute)); err != nil {
		t.Errorf("issued in our future: %v", err)
	}
}

func TestKeysInEitherForm(t *testing.T) {
	privatePEM, publicPEM, key := edKey(t)
	public, _ := key.Public().(ed25519.PublicKey)
	seed := base64.StdEncoding.EncodeToString(key.Seed())
	signer := mustSigner(t, TokenConfig{Keys: []TokenKey{{ID: "k", Algorithm: EdDSA, PrivateKey: config.Secret(seed)}}, SigningKey: "k", Lifetime: time.Hour})
	text, _, err := signer.SignFor("a1", "", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]TokenKey{
		"public PEM":        {PublicKey: publicPEM},
		"public base64":     {PublicKey: base64.StdEncoding.EncodeToString(public)},
		"public base64url":  {PublicKey: base64.RawURLEncoding.EncodeToString(public)},
		"private PEM":       {PrivateKey: config.Secret(privatePEM)},
		"both that belong":  {PrivateKey: config.Secret(seed), PublicKey: publicPEM},
		"both, either form": {PrivateKey: config.Secret(privatePEM), PublicKey: base64.StdEncoding.EncodeToString(public)},
	} {
		k.ID, k.Algorithm = "k", EdDSA
		if _, err := mustVerifier(t, TokenConfig{Keys: []TokenKey{k}}).Verify(text, now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenConfigValidates(t *testing.T) {
	private, public, key := edKey(t)
	other := base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(make([]byte, 32))[32:])
	hs := TokenKey{ID: "k", Algorithm: HS256, Secret: hsSecret}
	ed := TokenKey{ID: "k", Algorithm: EdDSA, PublicKey: public}
	change := func(k TokenKey, f func(*TokenKey)) []TokenKey { f(&k); return []TokenKey{k} }
	for _, c := range []struct {
		want    string
		keys    []TokenKey
		signing string
	}{
		{"", []TokenKey{hs}, "k"},
		{"", []TokenKey{ed}, ""},
		{"keys: must name 1 to 16 keys, names 0", nil, ""},
		{"keys[0].id: must be 1 to 32", change(hs, func(k *TokenKey) { k.ID = "a b" }), ""},
		{"keys[1].id: \"k\" is the id of an earlier key", []TokenKey{hs, ed}, ""},
		{"keys[0].algorithm: must be HS256 or EdDSA, is \"none\"", change(hs, func(k *TokenKey) { k.Algorithm = "none" }), ""},
		{"keys[0].secret: must be at least 32 bytes for HS256, is 31", change(hs, func(k *TokenKey) { k.Secret = config.Secret(hsSecret[1:]) }), ""},
		{"keys[0].secret: is a PEM block", change(hs, func(k *TokenKey) { k.Secret = config.Secret(public) }), ""},
		{"keys[0].public_key: belongs to EdDSA", change(hs, func(k *TokenKey) { k.PublicKey = public }), ""},
		{"keys[0].private_key: belongs to EdDSA", change(hs, func(k *TokenKey) { k.PrivateKey = config.Secret(private) }), ""},
		{"keys[0].secret: belongs to HS256", change(ed, func(k *TokenKey) { k.Secret = hsSecret }), ""},
		{"keys[0].public_key: is missing", change(ed, func(k *TokenKey) { k.PublicKey = "" }), ""},
		{"keys[0].public_key: must be PKIX in PEM, or 32 bytes", change(ed, func(k *TokenKey) { k.PublicKey = "abcd" }), ""},
		{"keys[0].public_key: its PEM block is not a PKIX public key", change(ed, func(k *TokenKey) { k.PublicKey = private }), ""},
		{"keys[0].private_key: its PEM block is not a PKCS #8 key", change(ed, func(k *TokenKey) { k.PrivateKey = config.Secret(public) }), ""},
		{"keys[0].private_key: must be PKCS #8", change(ed, func(k *TokenKey) { k.PrivateKey = "x" }), ""},
		{"keys[0].public_key: does not belong to private_key", change(ed, func(k *TokenKey) {
			k.PrivateKey, k.PublicKey = config.Secret(base64.StdEncoding.EncodeToString(key.Seed())), other
		}), ""},
		{"signing_key: \"x\" is not the id of one of the keys", []TokenKey{hs}, "x"},
		{"signing_key: key \"k\" has no private_key", []TokenKey{ed}, "k"},
	} {
		conf := TokenConfig{Keys: c.keys, SigningKey: c.signing, Lifetime: time.Hour}
		var p config.Problems
		conf.Validate(&p)
		err := p.Err()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("Validate: %v, want %q", err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), hsSecret[1:]) || strings.Contains(err.Error(), "-----BEGIN")) {
			t.Errorf("the problem holds key material: %v", err)
		}
		// Whoever skips Validate must not get further.
		_, verifierErr := NewVerifier(conf)
		_, signerErr := NewSigner(conf)
		if c.want != "" && verifierErr == nil && signerErr == nil {
			t.Errorf("%q: both a verifier and a signer were made", c.want)
		}
	}
	conf := TokenConfig{Keys: []TokenKey{hs}, Lifetime: -1}
	var p config.Problems
	conf.Validate(&p)
	if err := p.Err(); err == nil || !strings.HasPrefix(err.Error(), "lifetime: ") {
		t.Errorf("a negative lifetime: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	s := mustSigner(t, rotation(t))
	for _, c := range []struct{ name, user, says string }{{"", "", "user"}, {"a\nb", "a1", "name"}, {strings.Repeat("x", 129), "a1", "name"}, {"\xff", "a1", "name"}} {
		if _, _, err := s.SignFor(c.user, c.name, nil, now); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("user %q, name %q: %v", c.user, c.name, err)
		}
	}
	if _, _, err := s.SignFor("a1", "", []string{"a,b"}, now); err == nil {
		t.Error("a role with a comma was signed")
	}
	if _, err := s.Sign(Claims{User: "a1", IssuedAt: now, ExpiresAt: now}); err == nil {
		t.Error("a token without life was signed")
	}
}

func FuzzVerify(f *testing.F) {
	v := mustVerifier(f, rotation(f))
	good := forge(f, jwt.SigningMethodHS256, []byte(hsSecret), map[string]any{"kid": "old"}, claimsJSON(""))
	for _, seed := range []string{good, "", "..", "a.b.c", good + "\r\n", good[:len(good)-1], strings.Repeat(".", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := v.Verify(text, now)
		if err != nil {
			return
		}
		if text != good {
			t.Fatalf("a forged token passes: %q", text)
		}
		if err := claims.check(); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkVerifyHS256(b *testing.B) {
	c := rotation(b)
	c.SigningKey = "old"
	text, _, err := mustSigner(b, c).SignFor("u000001", "Ann", []string{"buyer"}, now)
	if err != nil {
		b.Fatal(err)
	}
	v := mustVerifier(b, c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(text, now); err != nil {
			b.Fatal(err)
		}
	}
}
