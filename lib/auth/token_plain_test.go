package auth

import (
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// agree checks that a token read by hand says what the parser says of it, whenever that decides at all.
func agree(t *testing.T, v *Verifier, token string, at time.Time) (decided bool) {
	t.Helper()
	if len(token) > MaxTokenBytes || !spelt(token) {
		return false
	}
	plain, decided, plainErr := v.verifyPlain(token, at)
	if !decided {
		return false
	}
	parsed, err := v.parse(token, at)
	if !errors.Is(plainErr, err) || !errors.Is(err, plainErr) {
		t.Errorf("%q: by hand %v, by the parser %v", token, plainErr, err)
	}
	if err == nil && !reflect.DeepEqual(plain, parsed) {
		t.Errorf("%q: by hand %+v, by the parser %+v", token, plain, parsed)
	}
	return true
}

// plainClaims are claims as JSON, with whether they are read by hand.
var plainClaims = []struct { // read only
	text  string
	plain bool
}{
	{`{"sub":"u1","name":"Ann","roles":["buyer","admin"],"iat":1790000000.000,"exp":1790000100.123}`, true},
	{`{"sub":"u1","exp":1790000001}`, true},
	{`{"exp":1790000001,"iat":1789999999,"sub":"u1"}`, true},
	{`{"sub":"u1","name":"王小明","iat":1790000000.000,"exp":1790000100.000}`, true},
	{`{"sub":"u1","exp":1790000000.123}`, true}, // expired this very moment
	{`{"sub":"u1","exp":1000000000}`, true},
	{`{"sub":"u1","name":"","exp":1790000100}`, true},
	{`{"sub":"u1","name":"A\u006en","exp":1790000100}`, false},
	{`{"sub":"u1", "exp":1790000100}`, false},
	{`{"sub":"u1","exp":1790000100,"sub":"u2"}`, false},
	{`{"Sub":"u1","exp":1790000100}`, false},
	{`{"sub":"u1","exp":1790000100,"nbf":1790000099}`, false},
	{`{"sub":"u1","exp":1790000100,"aud":"shop"}`, false},
	{`{"sub":"u1","exp":"1790000100"}`, false},
	{`{"sub":"u1","exp":1.7900001e9}`, false},
	{`{"sub":"u1","exp":1790000100.1}`, false},
	{`{"sub":"u1","exp":1790000100.1234}`, false},
	{`{"sub":"u1","exp":01790000100}`, false},
	{`{"sub":"u1","exp":17900001000}`, false},
	{`{"sub":"u1","exp":}`, false},
	{`{"sub":"u1","roles":[],"exp":1790000100}`, false},
	{`{"sub":"u1","roles":null,"exp":1790000100}`, false},
	{`{"sub":null,"exp":1790000100}`, false},
	{`{"sub":"u1"}`, false},
	{`{"exp":1790000100}`, false},
	{`{"sub":"u1","exp":1790000100}x`, false},
	{`{"sub":"u1","exp":1790000100`, false},
	{`{"sub":"u1","name":"` + "\xff" + `","exp":1790000100}`, false},
	{`{"sub":"u1","name":"` + strings.Repeat("x", 600) + `","exp":1790000100}`, false},
	{`{}`, false},
	{``, false},
}

func TestPlainTokensAreReadAsTheParserReadsThem(t *testing.T) {
	v := mustVerifier(t, rotation(t))
	for _, c := range plainClaims {
		token := forge(t, jwt.SigningMethodHS256, []byte(hsSecret), map[string]any{"kid": "old"}, c.text)
		if plain := agree(t, v, token, now); plain != c.plain {
			t.Errorf("%s: read by hand: %v", c.text, plain)
		}
		for _, wrong := range []string{token[:len(token)-1], token + "A", token[:len(token)-2] + "__", strings.Replace(token, ".", ".A", 1), token[1:], token + strings.Repeat("A", 100), token + token[len(token)-43:]} {
			agree(t, v, wrong, now)
		}
	}
	if token := forge(t, jwt.SigningMethodHS256, []byte(hsSecret), map[string]any{"kid": "another"}, plainClaims[0].text); agree(t, v, token, now) {
		t.Error("a token of an unknown key is read by hand")
	}
}

// What Signer makes is what is read by hand: the fast way must not fall out of use unseen.
func TestSignedTokensAreReadByHand(t *testing.T) {
	c := rotation(t)
	c.SigningKey = "old"
	token, claims, err := mustSigner(t, c).SignFor("u1", "王小明", []string{"buyer"}, now)
	if err != nil || !agree(t, mustVerifier(t, c), token, now) {
		t.Errorf("%+v is not read by hand: %v", claims, err)
	}
}

// Claims and signatures of any form: read by hand, they are what the parser makes of them.
func FuzzPlainTokens(f *testing.F) {
	for _, c := range plainClaims {
		f.Add(c.text, uint8(0), uint8(0))
	}
	f.Add(plainClaims[0].text, uint8(200), uint8(1))
	v := mustVerifier(f, rotation(f))
	headers := maps.Keys(v.plain)
	f.Fuzz(func(t *testing.T, claims string, at, change uint8) {
		for header := range headers {
			text := header + "." + strictBase64.EncodeToString([]byte(claims))
			token := text + "." + string(v.plain[header].appendMAC(nil, []byte(text)))
			agree(t, v, token, now)
			broken := []byte(token)
			broken[int(at)*len(broken)/256] += change
			agree(t, v, token+string(broken[:int(change)*len(broken)/256]), now)
			agree(t, v, string(broken), now)
		}
	})
}
