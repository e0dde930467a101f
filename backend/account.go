package backend

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"headgate.example/backend/revocations"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/store"
)

// accountInput is what registering and signing in send. Names are kept in lower case.
type accountInput struct {
	Body struct {
		Name     string `json:"name" minLength:"2" maxLength:"32" pattern:"^[A-Za-z0-9._-]+$" patternDescription:"letters, digits, dot, underscore and hyphen" doc:"Lower and upper case are the same."`
		Password string `json:"password" minLength:"8" maxLength:"128"`
	}
}

// accountOutput is a session: the token in the body for programs, and as a cookie for browsers.
type accountOutput struct {
	SetCookie    http.Cookie `header:"Set-Cookie"`
	CacheControl string      `header:"Cache-Control"`
	Body         struct {
		Token     string      `json:"token"`
		ExpiresAt int64       `json:"expires_at" doc:"Milliseconds since 1970."`
		User      accountView `json:"user"`
	}
}

type accountView struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

type logoutOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

// accounts registers people and signs them in.
type accounts struct {
	store     *store.Store
	counter   revocations.Revoker
	voided    *revocations.Keeper
	log       *slog.Logger
	passwords *auth.Passwords
	signer    *auth.Signer
	config    AccountsConfig
	now       func() time.Time
	hashing   atomic.Int64 // sign-ins that hash or wait to
}

// register gives a session of the time before the account was made: an operator who disables it at once voids it.
func (a *accounts) register(ctx context.Context, in *accountInput) (*accountOutput, error) {
	var hash string
	err := a.bounded(ctx, func(ctx context.Context) (err error) {
		hash, err = a.passwords.HashPassword(ctx, in.Body.Password)
		return err
	})
	if errors.Is(err, auth.ErrPasswordForm) {
		return nil, invalid("password", auth.ErrPasswordForm.Error())
	}
	if err != nil {
		return nil, err
	}
	began := a.now()
	user := store.User{Name: strings.ToLower(in.Body.Name), PasswordHash: hash}
	if err := a.store.CreateUser(ctx, &user); errors.Is(err, store.ErrDuplicate) {
		return nil, problem.New(problem.Conflict, "This name is taken.")
	} else if err != nil {
		return nil, ledgerFailed(err)
	}
	return a.session(&user, began)
}

// login answers a wrong name or a disabled account as it answers a wrong password, after the same work. The session is of the time
// before the account was read: the check takes a while, and a password that is changed meanwhile voids it.
func (a *accounts) login(ctx context.Context, in *accountInput) (*accountOutput, error) {
	began := a.now()
	user, err := a.store.UserByName(ctx, strings.ToLower(in.Body.Name))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, ledgerFailed(err)
	}
	if user.Disabled() {
		user = store.User{}
	}
	err = a.bounded(ctx, func(ctx context.Context) error {
		return a.passwords.CheckPassword(ctx, user.PasswordHash, in.Body.Password)
	})
	switch {
	case errors.Is(err, auth.ErrPassword):
		return nil, problem.New(problem.Unauthenticated, "Name or password is wrong.")
	case errors.Is(err, auth.ErrPasswordHash):
		return nil, problem.New(problem.Internal, "").Because(err)
	case err != nil:
		return nil, err
	}
	return a.session(&user, began)
}

// bounded runs work that hashes a password: so many may wait, each so long.
func (a *accounts) bounded(ctx context.Context, work func(context.Context) error) error {
	busy := problem.New(problem.Overloaded, "Too many people sign in at this moment. Try again shortly.")
	busy.RetryAfter = 2
	if a.hashing.Add(1) > int64(a.config.HashQueue) {
		a.hashing.Add(-1)
		return busy
	}
	defer a.hashing.Add(-1)
	waiting, cancel := context.WithTimeout(ctx, a.config.HashWait)
	defer cancel()
	err := work(waiting)
	if err != nil && waiting.Err() != nil {
		return busy.Because(err)
	}
	return err
}

// session signs a token of the given time: when what it is given for was read, or what revoke gave.
func (a *accounts) session(user *store.User, issued time.Time) (*accountOutput, error) {
	roles := user.RoleList()
	token, claims, err := a.signer.SignFor(user.UserID(), user.Name, roles, issued)
	if err != nil {
		return nil, problem.New(problem.Internal, "").Because(err)
	}
	out := &accountOutput{SetCookie: a.cookie(token, claims.ExpiresAt.Sub(claims.IssuedAt)), CacheControl: "no-store"}
	out.Body.Token, out.Body.ExpiresAt = token, claims.ExpiresAt.UnixMilli()
	out.Body.User = accountView{ID: claims.User, Name: user.Name, Roles: roles}
	return out, nil
}

// logout makes the browser drop its cookie. The token itself lives on until it expires or the user's
// tokens are revoked: see logoutEverywhere.
func (a *accounts) logout(context.Context, *struct{}) (*logoutOutput, error) {
	return &logoutOutput{SetCookie: a.cookie("", -time.Second)}, nil
}

func (a *accounts) cookie(token string, life time.Duration) http.Cookie {
	return http.Cookie{
		Name: auth.CookieName, Value: token, Path: "/", MaxAge: int(life / time.Second),
		HttpOnly: true, Secure: a.config.CookieSecure, SameSite: http.SameSiteStrictMode,
	}
}
