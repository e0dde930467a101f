package backend_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/backend"
	"headgate.example/backend/accounts"
	"headgate.example/lib/auth"
	"headgate.example/lib/store"
)

type session struct {
	Token     string
	ExpiresAt int64 `json:"expires_at"`
	User      struct {
		ID, Name string
		Roles    []string
	}
}

func account(name, password string) map[string]string {
	return map[string]string{"name": name, "password": password}
}

func TestRegisterLoginLogout(t *testing.T) {
	s := newShop(t)
	a := s.call(nobody, "POST", "/api/register", account("Alice", "correct horse")).want(201, "")
	var made session
	a.into(&made)
	if made.User.Name != "alice" || made.User.ID != "a1" || made.User.Roles == nil {
		t.Fatalf("registered as %+v", made.User)
	}
	cookie := a.header.Get("Set-Cookie")
	for _, part := range []string{auth.CookieName + "=" + made.Token, "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=86400"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("cookie %q lacks %q", cookie, part)
		}
	}
	verifier, err := auth.NewVerifier(s.config.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := verifier.Verify(made.Token, time.Now())
	if err != nil || claims.User != "a1" || claims.Name != "alice" || claims.ExpiresAt.UnixMilli() != made.ExpiresAt {
		t.Fatalf("the token says %+v, %v", claims, err)
	}
	s.call(nobody, "POST", "/api/register", account("ALICE", "another one")).want(409, "conflict")
	s.call(nobody, "POST", "/api/login", account("aLiCe", "correct horse")).want(200, "")
	s.call(nobody, "POST", "/api/login", account("alice", "wrong horse")).want(401, "unauthenticated")
	s.call(nobody, "POST", "/api/login", account("nobody", "wrong horse")).want(401, "unauthenticated")
	out := s.call(nobody, "POST", "/api/logout", nil).want(204, "")
	if cookie := out.header.Get("Set-Cookie"); !strings.Contains(cookie, "Max-Age=0") {
		t.Errorf("signing out sets %q", cookie)
	}
}

// The first session is of a time before its account: an operator who disables the account at once voids it.
func TestFirstSessionIsOlderThanItsAccount(t *testing.T) {
	s := newShop(t)
	for _, name := range []string{"ann", "ben", "cid", "dan", "eve"} {
		var made session
		s.call(nobody, "POST", "/api/register", account(name, "correct horse")).want(201, "").into(&made)
		user, err := s.ledger.UserByName(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if issued := s.issued(made.Token); issued > user.CreatedAt.UnixMilli() {
			t.Errorf("%s: issued at %d, made at %d", name, issued, user.CreatedAt.UnixMilli())
		}
	}
}

func TestAccountInput(t *testing.T) {
	s := newShop(t)
	for _, c := range []struct {
		body  any
		field string
	}{
		{account("a", "long enough"), "name"},
		{account(strings.Repeat("a", 33), "long enough"), "name"},
		{account("has space", "long enough"), "name"},
		{account("ünï", "long enough"), "name"},
		{account("fine", "short"), "password"},
		{account("fine", strings.Repeat("x", 129)), "password"},
		{map[string]any{"name": "fine"}, "password"},
		{map[string]any{"name": 7, "password": "long enough"}, "name"},
		{map[string]any{"name": "fine", "password": "long enough", "admin": true}, "admin"},
	} {
		wantField(t, s.call(nobody, "POST", "/api/register", c.body), c.field)
	}
	for _, body := range []string{"", "{", "[]", "null", `{"name":"a`, strings.Repeat("[", 5000)} {
		s.call(nobody, "POST", "/api/register", body).want(400, "invalid_request")
	}
	s.call(nobody, "POST", "/api/register", strings.Repeat("x", 40_000)).want(413, "body_too_large")
}

// A flood of sign-ins is told overloaded; it neither queues without end nor takes the memory.
func TestLoginFlood(t *testing.T) {
	s := newShop(t, func(c *backend.Config) {
		c.Accounts.Hashes, c.Accounts.HashQueue, c.Accounts.HashWait = 1, 4, 10*time.Second
	})
	var overloaded, refused, other atomic.Int64
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			switch a := s.call(nobody, "POST", "/api/login", account("nobody", "wrong horse")); a.Code {
			case "overloaded":
				overloaded.Add(1)
			case "unauthenticated":
				refused.Add(1)
			default:
				other.Add(1)
			}
		})
	}
	all.Wait()
	if overloaded.Load() == 0 || refused.Load() == 0 || other.Load() != 0 {
		t.Fatalf("%d overloaded, %d refused, %d else: want some of the first two only", overloaded.Load(), refused.Load(), other.Load())
	}
}

// A disabled account is answered as a wrong password is, and whoever is still signed in cannot change its password.
func TestDisabledAccount(t *testing.T) {
	s := newShop(t)
	s.call(nobody, "POST", "/api/register", account("ann", "correct horse")).want(201, "")
	disable := func(disabled bool) {
		t.Helper()
		if _, err := s.ledger.ChangeUser(t.Context(), "ann", func(u *store.User) error { u.Disable(disabled); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	disable(true)
	s.call(nobody, "POST", "/api/login", account("ann", "correct horse")).want(401, "unauthenticated")
	s.call(nobody, "POST", "/api/register", account("ann", "correct horse")).want(409, "conflict")
	change := map[string]string{"old_password": "correct horse", "new_password": "another horse"}
	s.call(alice, "POST", "/api/password", change).want(403, "forbidden")
	disable(false)
	s.call(nobody, "POST", "/api/login", account("ann", "correct horse")).want(200, "")
}

// Operators' accounts have the names that people can sign in by, and no others.
func TestNamesOfAccounts(t *testing.T) {
	s := newShop(t)
	book := accounts.New(s.ledger, nil, auth.NewPasswords(0))
	for _, name := range []string{"a", "ab", "A.b_c-9", strings.Repeat("x", 32), strings.Repeat("x", 33), "has space", "ünï", "a\n", "a/b", ""} {
		_, err := book.Create(t.Context(), name, "correct horse", nil)
		code := s.call(nobody, "POST", "/api/login", account(name, "correct horse")).Code
		if errors.Is(err, accounts.ErrName) != (code == "invalid_request") || err != nil && !errors.Is(err, accounts.ErrName) {
			t.Errorf("%q: made by an operator: %v; signing in: %q", name, err, code)
		}
	}
}
