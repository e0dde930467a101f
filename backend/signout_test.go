package backend_test

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/backend/accounts"
	"headgate.example/backend/revocations"
	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/service/servicetest"
)

// revokedBefore gives what the counter says of a user's tokens; 0: nothing.
func (s *shop) revokedBefore(user string) (before int64) {
	s.t.Helper()
	rules, err := s.counter.Rules(s.t.Context(), 0)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range rules.Changes {
		if r.Kind == client.RuleToken && r.Value == user {
			before = r.Before
		}
	}
	return before
}

func (s *shop) issued(token string) int64 {
	s.t.Helper()
	verifier, err := auth.NewVerifier(s.config.Tokens)
	if err != nil {
		s.t.Fatal(err)
	}
	claims, err := verifier.Verify(token, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return claims.IssuedAt.UnixMilli()
}

func TestSignOutEverywhere(t *testing.T) {
	s := newShop(t)
	now := time.Now().UnixMilli()
	s.call(nobody, "POST", "/api/logout/everywhere", nil).want(401, "unauthenticated")
	a := s.call(alice, "POST", "/api/logout/everywhere", nil).want(204, "")
	if before := s.revokedBefore(alice.user); before <= now {
		t.Errorf("tokens from before %d are void, it is %d", before, now)
	}
	if a.header.Get("Set-Cookie") == "" {
		t.Error("the browser keeps its cookie")
	}
	if s.revokedBefore(bob.user) != 0 {
		t.Error("somebody else was signed out")
	}
	var out struct {
		User   string
		Before int64
	}
	s.call(alice, "POST", "/api/admin/users/a2/revoke", nil).want(403, "forbidden")
	s.call(root, "POST", "/api/admin/users/a2/revoke", nil).want(200, "").into(&out)
	if out.User != bob.user || out.Before != s.revokedBefore(bob.user) || out.Before == 0 {
		t.Errorf("revoked %+v, the counter says %d", out, s.revokedBefore(bob.user))
	}
	revocation := func(user string) map[string]string { return map[string]string{"user": user} }
	s.call(alice, "POST", "/api/admin/revocations", revocation("a/3")).want(403, "forbidden")
	s.call(root, "POST", "/api/admin/revocations", revocation("a 3")).want(400, "invalid_request")
	s.call(root, "POST", "/api/admin/revocations", revocation("a/3")).want(200, "").into(&out)
	if out.User != "a/3" || out.Before != s.revokedBefore("a/3") || out.Before == 0 {
		t.Errorf("revoked %+v, the counter says %d", out, s.revokedBefore("a/3"))
	}
	s.counter.Fail(client.ErrUnavailable)
	s.call(alice, "POST", "/api/logout/everywhere", nil).want(503, "unavailable")
}

// Accounts by the thousand cannot take the places that operators' bans need.
func TestSignOutsLeaveRoomForBans(t *testing.T) {
	s := newShop(t)
	s.stop()
	for i := range revocations.Room {
		if err := s.counter.Revoke(t.Context(), "u"+strconv.Itoa(i), time.Now().UnixMilli()); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	servicetest.Eventually(t, 30*time.Second, "buyers are refused", func() bool {
		return s.call(alice, "POST", "/api/logout/everywhere", nil).Code == "overloaded"
	})
	s.call(nobody, "POST", "/api/register", account("alice", "correct horse")).want(201, "")
	s.call(alice, "POST", "/api/password", map[string]string{"old_password": "correct horse", "new_password": "battery staple"}).want(503, "overloaded")
	s.call(root, "POST", "/api/admin/bans", map[string]any{"kind": "user", "value": "u1"}).want(201, "")
	s.call(root, "POST", "/api/admin/users/a5/revoke", nil).want(200, "")
}

func TestPasswordChange(t *testing.T) {
	s := newShop(t)
	var old, fresh session
	s.call(nobody, "POST", "/api/register", account("alice", "correct horse")).want(201, "").into(&old)
	change := func(as who, from, to string) *answer {
		return s.call(as, "POST", "/api/password", map[string]string{"old_password": from, "new_password": to})
	}
	change(nobody, "correct horse", "battery staple").want(401, "unauthenticated")
	change(who{user: "u000042"}, "correct horse", "battery staple").want(403, "forbidden") // a token without an account
	change(who{user: "a01"}, "correct horse", "battery staple").want(403, "forbidden")
	change(bob, "correct horse", "battery staple").want(404, "not_found")
	wantField(t, change(alice, "correct horse", "short"), "new_password")
	change(alice, "wrong horse", "battery staple").want(403, "forbidden")
	if s.revokedBefore("a1") != 0 {
		t.Fatal("a refused change signed somebody out")
	}
	// With the counter away the old tokens could not be voided: nothing changes.
	s.counter.Fail(client.ErrUnavailable)
	change(alice, "correct horse", "battery staple").want(503, "unavailable")
	s.counter.Fail(nil)
	s.call(nobody, "POST", "/api/login", account("alice", "correct horse")).want(200, "")

	a := change(alice, "correct horse", "battery staple").want(200, "")
	a.into(&fresh)
	before := s.revokedBefore("a1")
	if before <= s.issued(old.Token) {
		t.Errorf("the old token, issued at %d, is not void: before %d", s.issued(old.Token), before)
	}
	if s.issued(fresh.Token) < before {
		t.Errorf("the new token, issued at %d, is void already: before %d", s.issued(fresh.Token), before)
	}
	if fresh.User.ID != "a1" || a.header.Get("Set-Cookie") == "" {
		t.Errorf("the new session: %+v", fresh)
	}
	s.call(nobody, "POST", "/api/login", account("alice", "correct horse")).want(401, "unauthenticated")
	s.call(nobody, "POST", "/api/login", account("alice", "battery staple")).want(200, "")
	change(alice, "correct horse", "once more it is").want(403, "forbidden")
}

// Who signs in with the old password while it is changed gets nothing that outlives the change, however
// long the check of the password takes.
func TestPasswordChangeVoidsSignInsUnderWay(t *testing.T) {
	s := newShop(t)
	s.call(nobody, "POST", "/api/register", account("alice", "correct horse")).want(201, "")
	var group sync.WaitGroup
	var mu sync.Mutex
	var tokens []string
	for range 3 { // so that at each moment some wait to be checked
		group.Go(func() {
			for {
				a := s.call(nobody, "POST", "/api/login", account("alice", "correct horse"))
				if a.status != 200 {
					return
				}
				var got session
				a.into(&got)
				mu.Lock()
				tokens = append(tokens, got.Token)
				mu.Unlock()
			}
		})
	}
	s.call(alice, "POST", "/api/password", map[string]string{"old_password": "correct horse", "new_password": "battery staple"}).want(200, "")
	group.Wait()
	before := s.revokedBefore("a1")
	for _, token := range tokens {
		if at := s.issued(token); at >= before {
			t.Errorf("a session of the old password, issued at %d, is not void: before %d", at, before)
		}
	}
}

// TestPasswordChangeMeetsOperator: who changes a password while an operator takes a role from the account, or disables it,
// gets no session that has what was taken.
func TestPasswordChangeMeetsOperator(t *testing.T) {
	for _, c := range []struct {
		name   string
		at     int // the password change's first revocation, before the password changes, or its second, after
		change func(*accounts.Book) error
	}{
		{"role, early", 1, func(b *accounts.Book) error { _, err := b.Revoke(t.Context(), "alice", "admin"); return err }},
		{"role, late", 2, func(b *accounts.Book) error { _, err := b.Revoke(t.Context(), "alice", "admin"); return err }},
		{"disabled, early", 1, func(b *accounts.Book) error { _, err := b.Disable(t.Context(), "alice"); return err }},
		{"disabled, late", 2, func(b *accounts.Book) error { _, err := b.Disable(t.Context(), "alice"); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t)
			book := accounts.New(s.ledger, s.counter, auth.NewPasswords(0))
			if _, err := book.Create(t.Context(), "alice", "correct horse", []string{"admin", "press"}); err != nil {
				t.Fatal(err)
			}
			s.stop()
			calls := 0
			s.meddle = func() {
				if calls++; calls == c.at {
					if err := c.change(accounts.New(s.ledger, s.counter, auth.NewPasswords(0))); err != nil {
						t.Error(err)
					}
				}
			}
			s.start()
			a := s.call(alice, "POST", "/api/password", map[string]string{"old_password": "correct horse", "new_password": "battery staple"})
			if calls < c.at {
				t.Fatalf("%d revocations", calls)
			}
			if strings.HasPrefix(c.name, "disabled") {
				a.want(409, "conflict")
				return
			}
			var fresh session
			a.want(200, "").into(&fresh)
			if !slices.Equal(fresh.User.Roles, []string{"press"}) && s.issued(fresh.Token) >= s.revokedBefore("a1") {
				t.Errorf("the new session has %v, and holds", fresh.User.Roles)
			}
		})
	}
}
