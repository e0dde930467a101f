package accounts

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"headgate.example/backend/revocations"
	"headgate.example/lib/auth"
	"headgate.example/lib/store"
)

// maxRolesBytes bounds all roles of an account, with commas: the ledger's column.
const maxRolesBytes = 255

// Why an account is not made or changed. An error of another kind is the ledger's.
var (
	// ErrName says that there can be no account of this name.
	ErrName = errors.New("name: must be 2 to 32 letters, digits, dots, underscores and hyphens")
	// ErrTokens says that the change is made, but that tokens of before may still hold, since counter or
	// ledger did not answer: make the same change again.
	ErrTokens = errors.New("the change is made, but the account's tokens of before may still hold until they expire: make it again once counter and ledger answer")
)

var namePattern = regexp.MustCompile(`^[a-z0-9._-]{2,32}$`)

// Ledger keeps the accounts: a *store.Store.
type Ledger interface {
	CreateUser(ctx context.Context, user *store.User) error
	ChangeUser(ctx context.Context, name string, change func(*store.User) error) (store.User, error)
	ListUsers(ctx context.Context, after int64, limit int) ([]store.User, error)
	Now(ctx context.Context) (time.Time, error)
}

// Book changes accounts. It is safe for concurrent use.
type Book struct {
	ledger    Ledger
	counter   revocations.Revoker
	passwords *auth.Passwords
}

// New makes a Book. counter may be nil for who only creates and lists accounts.
func New(ledger Ledger, counter revocations.Revoker, passwords *auth.Passwords) *Book {
	return &Book{ledger: ledger, counter: counter, passwords: passwords}
}

// Create makes an account. Its name is kept in lower case, as people's who register. store.ErrDuplicate: the name
// is taken. auth.ErrPasswordForm and ErrName are the caller's to mend.
func (b *Book) Create(ctx context.Context, name, password string, roles []string) (store.User, error) {
	user := store.User{Name: strings.ToLower(name)}
	if !namePattern.MatchString(user.Name) {
		return user, ErrName
	}
	var err error
	if user.Roles, err = joined(roles); err != nil {
		return user, err
	}
	if user.PasswordHash, err = b.passwords.HashPassword(ctx, password); err != nil {
		return user, err
	}
	return user, b.ledger.CreateUser(ctx, &user)
}

// joined is how the ledger keeps roles: each once, in the order given.
func joined(roles []string) (string, error) {
	var once []string
	for _, role := range roles {
		if !slices.Contains(once, role) {
			once = append(once, role)
		}
	}
	if err := auth.CheckRoles(once); err != nil {
		return "", err
	}
	text := strings.Join(once, ",")
	if len(text) > maxRolesBytes {
		return "", fmt.Errorf("roles: must be at most %d bytes in all", maxRolesBytes)
	}
	return text, nil
}

// Grant gives an account roles, and voids its tokens, which lack them: whoever signs in from now on has them.
func (b *Book) Grant(ctx context.Context, name string, roles ...string) (store.User, error) {
	return b.change(ctx, name, func(u *store.User) (err error) {
		u.Roles, err = joined(append(u.RoleList(), roles...))
		return err
	})
}

// Revoke takes roles from an account, and voids its tokens, which have them.
func (b *Book) Revoke(ctx context.Context, name string, roles ...string) (store.User, error) {
	return b.change(ctx, name, func(u *store.User) (err error) {
		u.Roles, err = joined(slices.DeleteFunc(u.RoleList(), func(role string) bool { return slices.Contains(roles, role) }))
		return err
	})
}

// SetPassword gives an account another password, and voids its tokens. A disabled account stays so.
func (b *Book) SetPassword(ctx context.Context, name, password string) (store.User, error) {
	hash, err := b.passwords.HashPassword(ctx, password)
	if err != nil {
		return store.User{}, err
	}
	return b.change(ctx, name, func(u *store.User) error {
		disabled := u.Disabled()
		u.PasswordHash = hash
		u.Disable(disabled)
		return nil
	})
}

// Disable lets nobody sign in to an account any more, and voids its tokens.
func (b *Book) Disable(ctx context.Context, name string) (store.User, error) {
	return b.change(ctx, name, func(u *store.User) error { u.Disable(true); return nil })
}

// Enable lets people sign in again, with the password of before.
func (b *Book) Enable(ctx context.Context, name string) (store.User, error) {
	return b.change(ctx, name, func(u *store.User) error { u.Disable(false); return nil })
}

// change changes an account and voids the tokens of before, also when nothing changed: so that a change whose
// tokens could not be voided (ErrTokens) is made again. Its time is the ledger's: an operator's own machine may be
// off by whatever it likes. store.ErrNotFound: there is no such account.
func (b *Book) change(ctx context.Context, name string, change func(*store.User) error) (store.User, error) {
	user, err := b.ledger.ChangeUser(ctx, strings.ToLower(name), change)
	if err != nil {
		return user, err
	}
	now, err := b.ledger.Now(ctx)
	if err == nil {
		_, err = revocations.Void(ctx, b.counter, user.UserID(), now)
	}
	if err != nil {
		return user, fmt.Errorf("%w: %w", ErrTokens, err)
	}
	return user, nil
}

// List calls each with every account, ascending by id. It reads the ledger a page at a time.
func (b *Book) List(ctx context.Context, each func(*store.User)) error {
	for after := int64(0); ; {
		page, err := b.ledger.ListUsers(ctx, after, store.MaxPage)
		if err != nil {
			return err
		}
		for i := range page {
			each(&page[i])
		}
		if len(page) < store.MaxPage {
			return nil
		}
		after = page[len(page)-1].ID
	}
}
