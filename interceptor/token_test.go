package interceptor

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
)

func (e *edge) as(token string) answer {
	e.t.Helper()
	return e.send("GET", "/api/orders", "", "Authorization", "Bearer "+token)
}

func TestTwoKeysLiveDuringRotation(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	newKey := auth.TokenKey{ID: "t2", Algorithm: auth.EdDSA, PublicKey: base64.StdEncoding.EncodeToString(public)}
	e := newEdge(t, func(c *Config) { c.Tokens.Keys = append(c.Tokens.Keys, newKey) })
	newKey.PublicKey, newKey.PrivateKey = "", config.Secret(base64.StdEncoding.EncodeToString(private.Seed()))
	signing := auth.TokenConfig{Keys: []auth.TokenKey{newKey}, SigningKey: "t2", Lifetime: time.Hour}
	for name, token := range map[string]string{"old": e.token("a1"), "new": signToken(t, signing, "a2", e.clock.Now())} {
		if a := e.as(token); a.status != 200 {
			t.Errorf("%s key: %d %s", name, a.status, a.text)
		}
	}
	// The public key, which everybody may know, used as an HMAC secret.
	for _, secret := range []string{string(public), e.cfg.Tokens.Keys[1].PublicKey} {
		forged := forge(t, map[string]any{"alg": "HS256", "kid": "t2", "typ": "JWT"}, "root", e.clock.Now(), secret)
		e.refused(e.as(forged), 401, "unauthenticated")
	}
}

// forge makes a token by hand.
func forge(t *testing.T, header map[string]any, user string, now time.Time, secret string) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(header) + "." + part(map[string]any{"sub": user, "iat": now.Unix(), "exp": now.Unix() + 3600})
	if secret == "" {
		return signed + "."
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestTokensThatAreNone(t *testing.T) {
	e := newEdge(t, nil)
	now := e.clock.Now()
	good := forge(t, map[string]any{"alg": "HS256", "kid": "t1"}, "a1", now, tokenSecret)
	if a := e.as(good); a.status != 200 {
		t.Fatalf("a token made by hand is refused: %d %s", a.status, a.text)
	}
	for name, token := range map[string]string{
		"none":           forge(t, map[string]any{"alg": "none", "kid": "t1"}, "a1", now, ""),
		"None":           forge(t, map[string]any{"alg": "None", "kid": "t1"}, "a1", now, ""),
		"no key id":      forge(t, map[string]any{"alg": "HS256"}, "a1", now, tokenSecret),
		"unknown key id": forge(t, map[string]any{"alg": "HS256", "kid": "t9"}, "a1", now, tokenSecret),
		"wrong secret":   forge(t, map[string]any{"alg": "HS256", "kid": "t1"}, "a1", now, "x"+tokenSecret),
		"cut":            good[:len(good)-2],
		"nonsense":       "abc",
		"expired":        forge(t, map[string]any{"alg": "HS256", "kid": "t1"}, "a1", now.Add(-2*time.Hour), tokenSecret),
		"long":           good + string(make([]byte, 0)) + longText(auth.MaxTokenBytes),
	} {
		a := e.as(token)
		e.refused(a, 401, "unauthenticated")
		if a.header.Get("Www-Authenticate") != "Bearer" {
			t.Errorf("%s: no challenge", name)
		}
	}
	e.refused(e.send("GET", "/api/orders", "", "Authorization", "Basic YTpi"), 401, "unauthenticated")
	e.refused(e.send("GET", "/api/orders", ""), 401, "unauthenticated")
	if e.shop.seen() != 1 {
		t.Errorf("%d requests were forwarded", e.shop.seen())
	}
}

func longText(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = 'a'
	}
	return string(text)
}

func TestExpiryAndRevocationReachCachedTokens(t *testing.T) {
	e := newEdge(t, nil)
	token, other := e.token("a1"), e.token("a2")
	for range 2 {
		if a := e.as(token); a.status != 200 {
			t.Fatal(a.text)
		}
	}
	e.as(other)
	e.counter.rule(client.Rule{Kind: client.RuleToken, Value: "a1", Before: e.clock.Now().UnixMilli() + 1})
	e.fresh()
	a := e.as(token)
	e.refused(a, 401, "unauthenticated")
	if a.body.Detail != "The token is revoked: sign in again." {
		t.Errorf("detail %q", a.body.Detail)
	}
	e.clock.advance(time.Millisecond)
	if a := e.as(e.token("a1")); a.status != 200 {
		t.Errorf("a token from after the revocation: %d %s", a.status, a.text)
	}
	e.clock.advance(24 * time.Hour)
	e.refused(e.as(other), 401, "unauthenticated")
}

func TestOptionalTokens(t *testing.T) {
	e := newEdge(t, nil)
	for token, user := range map[string]string{"": "", "Bearer " + e.token("a1"): "a1", "Bearer nonsense": "", "Basic x": ""} {
		headers := []string{"Authorization", token}
		if token == "" {
			headers = nil
		}
		if a := e.send("GET", "/api/sales", "", headers...); a.status != 200 {
			t.Errorf("%q: %d %s", token, a.status, a.text)
		}
		if r, _ := e.shop.last(); r.Header.Get(auth.HeaderUser) != user {
			t.Errorf("%q: forwarded as %q", token, r.Header.Get(auth.HeaderUser))
		}
	}
	if a := e.send("POST", "/api/login", "{}", "Authorization", "Bearer nonsense"); a.status != 200 {
		t.Errorf("login with an old token: %d %s", a.status, a.text)
	}
}

func TestCookieWritesNeedTheShopsOrigin(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Limits.UserInterval.Every = time.Millisecond })
	cookie := "x=1; headgate_token=" + e.token("a1")
	host := e.server.Addr()
	if a := e.send("GET", "/api/orders", "", "Cookie", cookie); a.status != 200 {
		t.Errorf("reading with the cookie: %d %s", a.status, a.text)
	}
	for _, origin := range []string{"", "null", "http://evil.example", "http://" + host + ".evil.example", "https://" + host + "/x", "ftp://" + host, host} {
		headers := []string{"Cookie", cookie}
		if origin != "" {
			headers = append(headers, "Origin", origin)
		}
		e.refused(e.send("POST", "/api/sales/1/orders", "", headers...), 403, "forbidden")
	}
	e.accepted(e.send("POST", "/api/sales/1/orders", "", "Cookie", cookie, "Origin", "http://"+host))
	e.clock.advance(time.Second)
	e.refused(e.send("POST", "/api/sales/1/orders", "", "Cookie", cookie, "Origin", "https://"+host), 409, "already_ordered")
}

// Signing out and in sets the session cookie: no foreign page may have that done, with or without the
// cookie (which a browser keeps off requests of foreign pages).
func TestForeignPagesDoNotSignAnybodyOutOrIn(t *testing.T) {
	e := newEdge(t, nil)
	host := e.server.Addr()
	cookie := "headgate_token=" + e.token("a1")
	for _, target := range []string{"/api/logout", "/api/login", "/api/register"} {
		e.refused(e.send("POST", target, "", "Origin", "http://evil.example"), 403, "forbidden")
		e.refused(e.send("POST", target, "", "Origin", "null"), 403, "forbidden")
		e.refused(e.send("POST", target, "", "Cookie", cookie), 403, "forbidden")
		for _, headers := range [][]string{nil, {"Origin", "http://" + host}, {"Origin", "http://" + host, "Cookie", cookie}} {
			if a := e.send("POST", target, "", headers...); a.status != 200 {
				t.Errorf("%s with %v: %d %s", target, headers, a.status, a.text)
			}
		}
	}
	if a := e.send("GET", "/", "", "Origin", "http://evil.example", "Cookie", cookie); a.status != 200 {
		t.Errorf("reading: %d %s", a.status, a.text)
	}
}

// A route that admits anybody may sign in, too: without a valid token it is as one that looks at none.
func TestForeignPagesDoNotSignInByOptionalRoutes(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		for i := range c.Routes {
			if c.Routes[i].Name == "login" {
				c.Routes[i].Auth = AuthOptional
			}
		}
	})
	own := "http://" + e.server.Addr()
	for _, headers := range [][]string{
		{"Origin", "http://evil.example"}, {"Origin", "null"}, {"Cookie", "headgate_token=stale"},
		{"Origin", "http://evil.example", "Cookie", "headgate_token=stale"}, {"Origin", "http://evil.example", "Authorization", "Bearer stale"},
	} {
		e.refused(e.send("POST", "/api/login", "{}", headers...), 403, "forbidden")
	}
	for _, headers := range [][]string{nil, {"Origin", own}, {"Origin", own, "Cookie", "headgate_token=stale"}, {"Authorization", "Bearer stale"},
		{"Origin", "http://evil.example", "Authorization", "Bearer " + e.token("a1")}} {
		if a := e.send("POST", "/api/login", "{}", headers...); a.status != 200 {
			t.Errorf("%v: %d %s", headers, a.status, a.text)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"https://shop.example", "shop.example", true}, {"https://SHOP.example", "shop.example", true},
		{"https://shop.example", "shop.example:443", true}, {"http://shop.example:80", "shop.example", true},
		{"https://shop.example:8443", "shop.example", false}, {"https://shop.example", "shop.example:80", false},
		{"https://", "", false}, {"", "", false},
	} {
		if got := sameOrigin([]byte(c.origin), []byte(c.host)); got != c.want {
			t.Errorf("%q to %q: %v", c.origin, c.host, got)
		}
	}
}

func TestRoles(t *testing.T) {
	e := newEdge(t, nil)
	e.refused(e.send("GET", "/api/admin/sales", "", "Authorization", "Bearer "+e.token("a1")), 403, "forbidden")
	e.refused(e.send("GET", "/api/admin/sales", "", "Authorization", "Bearer "+e.token("a1", "operator")), 403, "forbidden")
	e.refused(e.send("GET", "/api/admin/sales", ""), 401, "unauthenticated")
	if a := e.send("GET", "/api/admin/sales", "", "Authorization", "Bearer "+e.token("a1", "operator", "admin")); a.status != 200 {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestBlacklist(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.TrustedProxies = []string{"127.0.0.0/8"} })
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a1"})
	e.counter.rule(client.Rule{Kind: client.RuleAddress, Value: "203.0.113.0/24"})
	e.fresh()
	e.refused(e.buy("a1"), 403, "blacklisted")
	if a := e.as(e.token("a1")); a.status != 200 {
		t.Errorf("a banned user cannot read the own orders: %d", a.status)
	}
	e.refused(e.send("GET", "/", "", "X-Forwarded-For", "198.51.100.1, 203.0.113.7"), 403, "blacklisted")
	if a := e.send("GET", "/", "", "X-Forwarded-For", "203.0.113.7, 198.51.100.1"); a.status != 200 {
		t.Errorf("what the client wrote itself was believed: %d", a.status)
	}
	e.refused(e.send("GET", "/", "", "X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "203.0.113.7, 127.0.0.9"), 403, "blacklisted")
	e.counter.change(func() { e.counter.away = client.ErrUnavailable })
	e.refused(e.buy("a1"), 403, "blacklisted") // the last known rules hold while the counter is away
	e.counter.change(func() { e.counter.away = nil })
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a1", Removed: true})
	e.fresh()
	e.accepted(e.buy("a1"))
}
