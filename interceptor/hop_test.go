package interceptor

import (
	"io"
	"net/http"
	"testing"
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/sale"
)

// vouched answers 200 when the hop signature fits the request as it arrived, as our backend checks it.
func vouched(t *testing.T, e *edge) http.HandlerFunc {
	t.Helper()
	hops, err := auth.NewKeyring(e.cfg.HopKeys)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		hop := auth.Hop{Method: r.Method, Path: r.RequestURI, Body: body, User: r.Header.Get(auth.HeaderUser),
			Name: r.Header.Get(auth.HeaderName), Roles: r.Header.Get(auth.HeaderRoles), From: r.Header.Get(auth.HeaderFrom)}
		if err := hops.VerifyHop(r.Header.Get(auth.HeaderHop), hop, e.clock.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
		}
	}
}

// What is signed is what arrives, however a request is spelt.
func TestHopSignatureFitsWhatArrives(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Limits.UserBucket.Burst = 1000 })
	e.shop.handle(vouched(t, e))
	for _, target := range []string{
		"/api/orders", "/api/orders?", "/api/orders??", "/api/orders?limit=5", "/api/orders?x=%", "/api/orders?x=a;b&&", "/api/orders?a?b",
		"/api/orders/a:b", "/api/orders/%20", "/api/orders/%3b", "/api/orders/a+b%2B", "/api/orders/%E4%BD%A0", "/api/orders/(x)'", "/api/orders/1?",
	} {
		a := e.raw("GET " + target + " HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nAuthorization: Bearer " + e.token("a1") + "\r\n\r\n")
		if len(a) < 12 || a[9:12] != "200" {
			t.Errorf("%s: %s", target, a)
		}
	}
}

// A name with spaces at its ends loses them on the wire: it must not cost its owner the identity.
func TestHopSignatureFitsAnyName(t *testing.T) {
	e := newEdge(t, nil)
	e.shop.handle(vouched(t, e))
	signer, err := auth.NewSigner(e.cfg.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", " ", " Ann", "Ann  ", "Ann B", "\u00a0Ann\u00a0", "安", "\u2028Ann", `"Ann"`} {
		token, _, err := signer.SignFor("a1", name, nil, e.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		if a := e.send("GET", "/api/orders", "", "Authorization", "Bearer "+token); a.status != 200 {
			t.Errorf("name %q: %d %s", name, a.status, a.text)
		}
	}
}

// A request is signed when it is sent: by then it may have waited in its route's queue, and for the counter,
// for about as long as a signature holds.
func TestHopSignatureIsOfWhenItIsSent(t *testing.T) {
	e := newEdge(t, nil)
	e.counter.change(func() {
		e.counter.onCall = func(command string, _ sale.OrderID) {
			if command == "RESERVE" {
				e.clock.advance(auth.HopSkew + time.Second)
			}
		}
	})
	e.accepted(e.buy("a1"))
	hops, err := auth.NewKeyring(e.cfg.HopKeys)
	if err != nil {
		t.Fatal(err)
	}
	r, body := e.shop.last()
	hop := auth.Hop{Method: r.Method, Path: r.RequestURI, Body: []byte(body), User: "a1", Name: "Name of a1", From: e.cfg.Self}
	if err := hops.VerifyHop(r.Header.Get(auth.HeaderHop), hop, e.clock.Now()); err != nil {
		t.Error(err)
	}
}
