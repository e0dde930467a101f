package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"headgate.example/lib/sale"
)

// User is a registered account. Its user id in every other layer is "a" and the decimal ID.
type User struct {
	ID           int64  `gorm:"primaryKey"`
	Name         string // unique, compared byte by byte: callers fold case before; without spaces, see DESIGN.md
	PasswordHash string
	Roles        string // comma separated
	CreatedAt    time.Time
}

// TableName is the table's name.
func (User) TableName() string { return "users" }

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
