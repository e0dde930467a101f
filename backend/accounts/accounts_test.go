package accounts_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.example/backend/accounts"
	"headgate.example/backend/internal/countertest"
	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

type world struct {
	*accounts.Book
	ledger    *store.Store
	counter   *countertest.Counter
	passwords *auth.Passwords
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{counter: countertest.New(time.Now()), passwords: auth.NewPasswords(0)}
	w.ledger = storetest.Open(t, store.Config{Driver: store.SQLite, Path: filepath.Join(t.TempDir(), "ledger.db"), MaxConnections: 2})
	w.Book = accounts.New(w.ledger, w.counter, w.passwords)
	return w
}

// voided is the time before which a user's tokens are void; 0: none is.
func (w *world) voided(t *testing.T, user string) int64 {
	t.Helper()
	rules, err := w.counter.Rules(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules.Changes {
		if r.Kind == client.RuleToken && r.Value == user {
			return r.Before
		}
	}
	return 0
}

func TestCreate(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.Create(ctx, "Ops", "correct horse", []string{"admin", "buyer", "admin"})
	if err != nil {
		t.Fatal(err)
	}
	found, err := w.ledger.UserByName(ctx, "ops")
	if err != nil || found != made || found.Roles != "admin,buyer" || w.passwords.CheckPassword(ctx, found.PasswordHash, "correct horse") != nil {
		t.Fatalf("made %+v, %v", found, err)
	}
	if at := w.voided(t, made.UserID()); at != 0 {
		t.Errorf("a new account has nothing to void, and yet its tokens of before %d are", at)
	}
	for name, c := range map[string]struct {
		name, password string
		roles          []string
		want           error
	}{
		"taken":          {name: "OPS", password: "correct horse", want: store.ErrDuplicate},
		"a space":        {name: "o ps", password: "correct horse", want: accounts.ErrName},
		"too short":      {name: "o", password: "correct horse", want: accounts.ErrName},
		"short password": {name: "fine", password: "short", want: auth.ErrPasswordForm},
		"a comma":        {name: "fine", password: "correct horse", roles: []string{"admin,buyer"}},
		"an empty role":  {name: "fine", password: "correct horse", roles: []string{""}},
		"long roles":     {name: "fine", password: "correct horse", roles: manyRoles()},
	} {
		if _, err := w.Create(ctx, c.name, c.password, c.roles); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := w.ledger.UserByName(ctx, "fine"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a refused account is in the ledger: %v", err)
	}
}

// manyRoles are few enough for a token, and too long for the ledger's column together.
func manyRoles() (roles []string) {
	for i := range auth.MaxRoles {
		roles = append(roles, strings.Repeat(string(rune('a'+i)), auth.MaxRoleBytes))
	}
	return roles
}

// Every change is in the ledger first and voids the tokens of before after it, so that nobody keeps a token with what
// was taken, nor gets one in between.
func TestChangesVoidTokens(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.Create(ctx, "ann", "correct horse", []string{"buyer"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func() (store.User, error)
		holds  func(store.User) bool
	}{
		"grant": {func() (store.User, error) { return w.Grant(ctx, "Ann", "admin", "buyer") },
			func(u store.User) bool { return slices.Contains(u.RoleList(), "admin") }},
		"revoke": {func() (store.User, error) { return w.Revoke(ctx, "ann", "admin") },
			func(u store.User) bool { return u.Roles == "buyer" }},
		"disable":  {func() (store.User, error) { return w.Disable(ctx, "ann") }, func(u store.User) bool { return u.Disabled() }},
		"enable":   {func() (store.User, error) { return w.Enable(ctx, "ann") }, func(u store.User) bool { return !u.Disabled() }},
		"password": {func() (store.User, error) { return w.SetPassword(ctx, "ann", "another horse") }, func(u store.User) bool { return w.passwords.CheckPassword(ctx, u.PasswordHash, "another horse") == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			if err := w.counter.Unban(ctx, client.RuleToken, made.UserID()); err != nil {
				t.Fatal(err)
			}
			began, err := w.ledger.Now(ctx)
			if err != nil {
				t.Fatal(err)
			}
			w.counter.Fail(client.ErrUnavailable)
			_, err = c.change()
			w.counter.Fail(nil)
			found, readErr := w.ledger.UserByName(ctx, "ann")
			if !errors.Is(err, accounts.ErrTokens) || readErr != nil || !c.holds(found) {
				t.Fatalf("without the counter: %v; %+v, %v", err, found, readErr)
			}
			if at := w.voided(t, made.UserID()); at != 0 {
				t.Fatalf("voided before %d by a counter that was away", at)
			}
			if _, err := c.change(); err != nil { // the same again
				t.Fatal(err)
			}
			after, err := w.ledger.Now(ctx)
			if err != nil {
				t.Fatal(err)
			}
			at := w.voided(t, made.UserID())
			if at <= began.UnixMilli() || at > after.UnixMilli()+1 {
				t.Errorf("tokens of before %d are void, want those of this very moment, %d to %d by the ledger's clock, too", at, began.UnixMilli(), after.UnixMilli())
			}
		})
	}
	if _, err := w.Grant(ctx, "nobody", "admin"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an account that there is not: %v", err)
	}
}

// A new password does not let anybody into a disabled account.
func TestDisabledStaysSo(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if _, err := w.Create(ctx, "ann", "correct horse", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Disable(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	if u, err := w.SetPassword(ctx, "ann", "another horse"); err != nil || !u.Disabled() {
		t.Fatalf("%+v, %v", u, err)
	}
	u, err := w.Enable(ctx, "ann")
	if err != nil || w.passwords.CheckPassword(ctx, u.PasswordHash, "another horse") != nil {
		t.Fatalf("enabled again: %+v, %v", u, err)
	}
	var names []string
	if err := w.List(ctx, func(u *store.User) { names = append(names, u.Name) }); err != nil || !slices.Equal(names, []string{"ann"}) {
		t.Errorf("listed %v, %v", names, err)
	}
}
