package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"headgate.example/backend/revocations"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

type revokeUserInput struct {
	User string `path:"user" maxLength:"64" doc:"For an id with a slash use POST /api/admin/revocations: edges refuse escaped slashes."`
}

type revokeInput struct {
	Body struct {
		User string `json:"user" minLength:"1" maxLength:"64"`
	}
}

type revokeOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		User   string `json:"user"`
		Before int64  `json:"before" doc:"Tokens issued before this are void; milliseconds since 1970."`
	}
}

func (s *Server) revokeUser(ctx context.Context, in *revokeUserInput) (*revokeOutput, error) {
	return s.signOut(ctx, in.User)
}

func (s *Server) revoke(ctx context.Context, in *revokeInput) (*revokeOutput, error) {
	return s.signOut(ctx, in.Body.User)
}

// signOut signs a user out everywhere, for an operator.
func (s *Server) signOut(ctx context.Context, user string) (*revokeOutput, error) {
	if err := sale.CheckUser(user); err != nil {
		return nil, invalid("user", "must be a user id: 1 to 64 printable characters without spaces")
	}
	before, err := s.accounts.revoke(ctx, user)
	if err != nil {
		return nil, counterFailed(err)
	}
	s.log.Info("tokens revoked", "user", user, "before", before.UnixMilli(), "by", identityOf(ctx).User)
	out := &revokeOutput{CacheControl: "no-store"}
	out.Body.User, out.Body.Before = user, before.UnixMilli()
	return out, nil
}

// revoke voids every token of the user that was issued until now. Whoever signs in from the time that it
// gives on, by this clock, gets one that holds.
func (a *accounts) revoke(ctx context.Context, user string) (before time.Time, err error) {
	return revocations.Void(ctx, a.counter, user, a.now())
}

// mayRevoke leaves operators the last places among the counter's rules: whoever makes accounts by the
// thousand could fill them all.
func (a *accounts) mayRevoke() error {
	if a.voided.HasRoom() {
		return nil
	}
	return problem.New(problem.Overloaded, "Too many people sign out everywhere at the moment. Try again later, or ask the shop.")
}

// logoutEverywhere voids every token of the caller, the one that he calls with included.
func (a *accounts) logoutEverywhere(ctx context.Context, _ *struct{}) (*logoutOutput, error) {
	user := identityOf(ctx).User
	if err := a.mayRevoke(); err != nil {
		return nil, err
	}
	if _, err := a.revoke(ctx, user); err != nil {
		return nil, counterFailed(err)
	}
	a.log.Info("tokens revoked", "user", user, "by", user)
	return &logoutOutput{SetCookie: a.cookie("", -time.Second)}, nil
}

type passwordInput struct {
	Body struct {
		OldPassword string `json:"old_password" minLength:"1" maxLength:"128"`
		NewPassword string `json:"new_password" minLength:"8" maxLength:"128"`
	}
}

// changePassword sets another password, signs out everywhere, and gives a new session. Tokens are revoked
// before the change, which also shows that they can be, and after it, for those that were signed in
// between with the old password, or still will be by a check that is under way (see login). So whenever the
// password has changed, no token of before is left.
func (a *accounts) changePassword(ctx context.Context, in *passwordInput) (*accountOutput, error) {
	id, ok := accountID(identityOf(ctx).User)
	if !ok {
		return nil, problem.New(problem.Forbidden, "This sign-in belongs to no account of this shop.")
	}
	user, err := a.store.UserByID(ctx, id)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	if user.Disabled() {
		return nil, problem.New(problem.Forbidden, "This account is disabled.")
	}
	if err := a.mayRevoke(); err != nil {
		return nil, err
	}
	hash, err := a.rehash(ctx, &user, in)
	if err != nil {
		return nil, err
	}
	who := user.UserID()
	if _, err := a.revoke(ctx, who); err != nil {
		return nil, counterFailed(fmt.Errorf("before changing a password: %w", err))
	}
	if err := a.store.SetPasswordHash(ctx, id, user.PasswordHash, hash); errors.Is(err, store.ErrNotFound) {
		return nil, problem.New(problem.Conflict, "The password was changed by somebody else a moment ago.")
	} else if err != nil {
		return nil, ledgerFailed(err)
	}
	a.log.Info("password changed, tokens revoked", "user", who)
	before, err := a.revoke(ctx, who)
	if err != nil {
		p := problem.New(problem.UnknownOutcome, "The password is changed. Sign in with it, and sign out everywhere to be sure that nobody else is.")
		return nil, p.Because(err)
	}
	return a.renewed(ctx, id, hash, before)
}

// renewed is the session after a password change. What it is given for is read anew, and not before the session's own
// time: an operator may have changed the account meanwhile, and whoever changes it from now on voids the session.
func (a *accounts) renewed(ctx context.Context, id int64, hash string, issued time.Time) (*accountOutput, error) {
	time.Sleep(issued.Sub(a.now())) // at most a millisecond, mostly none
	user, err := a.store.UserByID(ctx, id)
	if err != nil {
		return nil, problem.New(problem.UnknownOutcome, "The password is changed. Sign in with it.").Because(err)
	}
	if user.PasswordHash != hash {
		return nil, problem.New(problem.Conflict, "The password was changed, and the account once more by somebody else a moment ago.")
	}
	return a.session(&user, issued)
}

// rehash checks the old password and hashes the new one.
func (a *accounts) rehash(ctx context.Context, user *store.User, in *passwordInput) (hash string, err error) {
	err = a.bounded(ctx, func(ctx context.Context) (err error) {
		if err = a.passwords.CheckPassword(ctx, user.PasswordHash, in.Body.OldPassword); err != nil {
			return err
		}
		hash, err = a.passwords.HashPassword(ctx, in.Body.NewPassword)
		return err
	})
	switch {
	case errors.Is(err, auth.ErrPassword):
		wrong := problem.New(problem.Forbidden, "The old password is wrong.")
		wrong.Errors = []problem.FieldProblem{{Field: "old_password", Reason: "is wrong"}}
		return "", wrong
	case errors.Is(err, auth.ErrPasswordForm):
		return "", invalid("new_password", auth.ErrPasswordForm.Error())
	case errors.Is(err, auth.ErrPasswordHash):
		return "", problem.New(problem.Internal, "").Because(err)
	}
	return hash, err
}
