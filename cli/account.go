package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"headgate.example/backend"
	"headgate.example/backend/accounts"
	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/store"
)

// AccountView is an account as operators see it. Times are milliseconds since 1970.
type AccountView struct {
	ID        string   `json:"id"` // the user id in every other layer
	Name      string   `json:"name"`
	Roles     []string `json:"roles"`
	Disabled  bool     `json:"disabled"`
	CreatedAt int64    `json:"created_at"`
}

func viewOfAccount(u *store.User) AccountView {
	return AccountView{ID: u.UserID(), Name: u.Name, Roles: u.RoleList(), Disabled: u.Disabled(), CreatedAt: u.CreatedAt.UnixMilli()}
}

// Accounts are the accounts of a running system: in its ledger, with tokens that its counter voids. Close them.
type Accounts struct {
	book    *accounts.Book
	ledger  *store.Store
	counter *client.Client
}

// accountsReach bounds the wait for a ledger that does not answer.
const accountsReach = 10 * time.Second

// OpenAccounts opens the ledger and the counter that the backend's section of a config names. The counter need
// not answer for accounts to be made and listed.
func OpenAccounts(ctx context.Context, cfg backend.Config) (*Accounts, error) {
	reach, cancel := context.WithTimeout(ctx, accountsReach)
	defer cancel()
	ledger, err := store.Open(reach, cfg.Database, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	counter, err := client.Open(cfg.Counter)
	if err != nil {
		return nil, errors.Join(err, ledger.Close())
	}
	return &Accounts{book: accounts.New(ledger, counter, auth.NewPasswords(0)), ledger: ledger, counter: counter}, nil
}

// Close closes them; every change was committed.
func (a *Accounts) Close() {
	a.counter.Close()
	_ = a.ledger.Close()
}

// Create makes an account with roles.
func (a *Accounts) Create(ctx context.Context, name, password string, roles []string) (AccountView, error) {
	user, err := a.book.Create(ctx, name, password, roles)
	return told(&user, err)
}

// Grant gives an account roles. Like every change of an account it voids its tokens.
func (a *Accounts) Grant(ctx context.Context, name string, roles ...string) (AccountView, error) {
	user, err := a.book.Grant(ctx, name, roles...)
	return told(&user, err)
}

// Revoke takes roles from an account.
func (a *Accounts) Revoke(ctx context.Context, name string, roles ...string) (AccountView, error) {
	user, err := a.book.Revoke(ctx, name, roles...)
	return told(&user, err)
}

// SetPassword gives an account another password.
func (a *Accounts) SetPassword(ctx context.Context, name, password string) (AccountView, error) {
	user, err := a.book.SetPassword(ctx, name, password)
	return told(&user, err)
}

// Disable lets nobody sign in to an account any more; Enable does again.
func (a *Accounts) Disable(ctx context.Context, name string) (AccountView, error) {
	user, err := a.book.Disable(ctx, name)
	return told(&user, err)
}

// Enable lets people sign in to a disabled account again, with its password of before.
func (a *Accounts) Enable(ctx context.Context, name string) (AccountView, error) {
	user, err := a.book.Enable(ctx, name)
	return told(&user, err)
}

// List gives the accounts that have a role, or any role when it is empty; all of them when it is "*".
func (a *Accounts) List(ctx context.Context, role string) ([]AccountView, error) {
	list := []AccountView{}
	err := a.book.List(ctx, func(u *store.User) {
		v := viewOfAccount(u)
		if role == AnyAccount || role == "" && len(v.Roles) > 0 || slices.Contains(v.Roles, role) {
			list = append(list, v)
		}
	})
	_, err = told(&store.User{}, err)
	return list, err
}

// AnyAccount lists accounts without roles, too.
const AnyAccount = "*"

// told is an account and, of an error, what an operator needs to know.
func told(u *store.User, err error) (AccountView, error) {
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = errors.New("there is no account of this name")
	case errors.Is(err, store.ErrDuplicate):
		err = errors.New("there is an account of this name: `headgate account grant` gives it roles, `headgate account password` another password")
	}
	return viewOfAccount(u), err
}

// WriteAccounts writes accounts as a table for people.
func WriteAccounts(w io.Writer, list []AccountView) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "NAME\tUSER\tROLES\tSINCE\tNOTE")
	for _, a := range list {
		note := ""
		if a.Disabled {
			note = "disabled"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", plainText(a.Name), a.ID, or(plainText(strings.Join(a.Roles, ",")), "-"), moment(a.CreatedAt), note)
	}
	return out.Flush()
}
