package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"headgate.example/lib/sale"
)

// User is a registered account.
type User struct {
	ID           int64  `gorm:"primaryKey"`
	Name         string // unique, compared byte by byte: callers fold case before; without spaces, see DESIGN.md
	PasswordHash string // "!" before it: disabled, see Disable
	Roles        string // comma separated, see RoleList
	CreatedAt    time.Time
}

// TableName is the table's name.
func (User) TableName() string { return "users" }

// disabledMark before a password hash keeps the hash for when the account is enabled again. No hash begins
// with it, so that a program that does not know of it signs nobody in either.
const disabledMark = "!"

// Disabled reports whether nobody may sign in to the account.
func (u *User) Disabled() bool { return strings.HasPrefix(u.PasswordHash, disabledMark) }

// Disable lets nobody sign in to the account any more, or again, with the password of before.
func (u *User) Disable(disabled bool) {
	u.PasswordHash = strings.TrimPrefix(u.PasswordHash, disabledMark)
	if disabled {
		u.PasswordHash = disabledMark + u.PasswordHash
	}
}

// UserID is the account's user id in every other layer: "a" and the decimal ID.
func (u *User) UserID() string { return AccountUser(u.ID) }

// AccountUser is the user id of the account with an ID.
func AccountUser(id int64) string { return "a" + strconv.FormatInt(id, 10) }

// RoleList is the account's roles one by one.
func (u *User) RoleList() []string {
	roles := []string{}
	for role := range strings.SplitSeq(u.Roles, ",") {
		if role = strings.TrimSpace(role); role != "" {
			roles = append(roles, role)
		}
	}
	return roles
}

// CreateUser inserts an account and sets its ID and CreatedAt. ErrDuplicate: the name is taken. A name
// with a space is a *sale.FieldError.
func (s *Store) CreateUser(ctx context.Context, user *User) error {
	if strings.Contains(user.Name, " ") {
		return &sale.FieldError{Field: "name", Reason: "may not hold spaces"}
	}
	return s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		row := *user
		row.ID, row.CreatedAt = 0, now
		if err := tx.Create(&row).Error; errors.Is(err, gorm.ErrDuplicatedKey) {
			return fmt.Errorf("user %q: %w", user.Name, ErrDuplicate)
		} else if err != nil {
			return fmt.Errorf("store: inserting a user: %w", err)
		}
		*user = row
		return nil
	})
}

// UserByName finds an account. ErrNotFound when there is none.
func (s *Store) UserByName(ctx context.Context, name string) (User, error) {
	return first[User](s.read.WithContext(ctx).Where("name = ?", name), "user")
}

// UserByID finds an account. ErrNotFound when there is none.
func (s *Store) UserByID(ctx context.Context, id int64) (User, error) {
	return first[User](s.read.WithContext(ctx).Where("id = ?", id), "user")
}

// SetPasswordHash replaces an account's password hash. ErrNotFound: there is no such account, or its
// hash is not old any more.
func (s *Store) SetPasswordHash(ctx context.Context, id int64, old, hash string) error {
	return s.transact(ctx, func(tx *gorm.DB) error {
		result := tx.Model(&User{}).Where("id = ? AND password_hash = ?", id, old).Update("password_hash", hash)
		switch {
		case result.Error != nil:
			return fmt.Errorf("store: replacing a password hash: %w", result.Error)
		case result.RowsAffected == 0:
			return fmt.Errorf("user %d: %w", id, ErrNotFound)
		}
		return nil
	})
}

// ChangeUser changes an account's password hash and roles in one transaction with its row locked. change may
// run more than once; its error leaves everything as it was. ErrNotFound: there is no such account.
func (s *Store) ChangeUser(ctx context.Context, name string, change func(*User) error) (User, error) {
	var user User
	err := s.transact(ctx, func(tx *gorm.DB) (err error) {
		locking := clause.Locking{Strength: clause.LockingStrengthUpdate}
		if user, err = first[User](tx.Clauses(locking).Where("name = ?", name), "user"); err != nil {
			return err
		}
		if err := change(&user); err != nil {
			return err
		}
		err = tx.Model(&User{}).Where("id = ?", user.ID).Updates(map[string]any{"password_hash": user.PasswordHash, "roles": user.Roles}).Error
		return wrapf(err, "changing a user")
	})
	return user, err
}

// ListUsers lists accounts, ascending by id beyond after, at most limit (and MaxPage).
func (s *Store) ListUsers(ctx context.Context, after int64, limit int) ([]User, error) {
	var rows []User
	err := s.read.WithContext(ctx).Where("id > ?", after).Order("id").Limit(page(limit)).Find(&rows).Error
	return rows, wrapf(err, "listing users")
}

// first reads one row by its key.
func first[T any](query *gorm.DB, what string) (T, error) {
	var row T
	err := query.Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return row, fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	if err != nil {
		return row, fmt.Errorf("store: reading a %s: %w", what, err)
	}
	return row, nil
}
