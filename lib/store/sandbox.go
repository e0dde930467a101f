package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"headgate.example/lib/sale"
)

// The built-in sandbox is a payment provider for tests and rehearsals. Its books are in our database,
// so that several backends and consumers see one provider; nothing else in the ledger reads them.

// The states of a payment in the sandbox's books.
const (
	SandboxOpen   = "open"
	SandboxPaid   = "paid"
	SandboxClosed = "closed"
)

// SandboxPayment is a payment in the sandbox's books.
type SandboxPayment struct {
	Reference     string `gorm:"primaryKey"`
	OrderID       sale.OrderID
	State         string
	AmountMinor   int64
	Currency      string
	ExpiresAt     time.Time
	PaidAt        *time.Time
	RefundedMinor int64
	CreatedAt     time.Time
}

// TableName is the table's name.
func (SandboxPayment) TableName() string { return "sandbox_payments" }

// SandboxCallback is a callback that the sandbox still has to deliver.
type SandboxCallback struct {
	ID        int64 `gorm:"primaryKey"`
	Reference string
	Body      string
	Signature string
	Once      bool // not repeated, whatever the answer
	Attempts  int64
	DueAt     time.Time
}

// TableName is the table's name.
func (SandboxCallback) TableName() string { return "sandbox_callbacks" }

type sandboxBehaviour struct {
	ID       int64 `gorm:"primaryKey"`
	Settings string
}

func (sandboxBehaviour) TableName() string { return "sandbox_behaviour" }

// ErrExpired is a payment that came to the sandbox too late to be begun.
var ErrExpired = errors.New("the payment has expired")

// AddSandboxPayment writes a payment into the sandbox's books, or gives the one with this reference.
// ErrExpired: there is none, and its time is over by the database's clock.
func (s *Store) AddSandboxPayment(ctx context.Context, p SandboxPayment) (SandboxPayment, error) {
	var row SandboxPayment
	err := s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		row, err = first[SandboxPayment](tx.Where("reference = ?", p.Reference), "sandbox payment")
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		p.State, p.CreatedAt, p.ExpiresAt = SandboxOpen, now, millis(p.ExpiresAt)
		if !p.ExpiresAt.After(now) {
			return ErrExpired
		}
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&p).Error; err != nil {
			return err
		}
		row, err = first[SandboxPayment](tx.Where("reference = ?", p.Reference), "sandbox payment")
		return err
	})
	return row, wrapf(err, "adding a sandbox payment")
}

// SandboxPayment reads the sandbox's books. One that has expired unpaid is closed: from then on
// PaySandbox cannot pay it. ErrNotFound when there is none.
func (s *Store) SandboxPayment(ctx context.Context, reference string) (SandboxPayment, error) {
	var row SandboxPayment
	err := s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		err = tx.Model(&SandboxPayment{}).Where("reference = ? AND state = ? AND expires_at <= ?", reference, SandboxOpen, now).
			UpdateColumns(map[string]any{"state": SandboxClosed}).Error
		if err != nil {
			return err
		}
		row, err = first[SandboxPayment](tx.Where("reference = ?", reference), "sandbox payment")
		return err
	})
	return row, unlessNotFound(err, "reading a sandbox payment")
}

// PaySandbox moves money in the sandbox: open becomes paid, together with the callbacks that tell. It
// reports whether it did. Late: a payment that expired or was closed is paid, too.
func (s *Store) PaySandbox(ctx context.Context, reference string, late bool, callbacks func(SandboxPayment, time.Time) []SandboxCallback) (row SandboxPayment, paid bool, err error) {
	err = s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		query := tx.Model(&SandboxPayment{}).Where("reference = ? AND state = ? AND expires_at > ?", reference, SandboxOpen, now)
		if late {
			query = tx.Model(&SandboxPayment{}).Where("reference = ? AND state <> ?", reference, SandboxPaid)
		}
		result := query.UpdateColumns(map[string]any{"state": SandboxPaid, "paid_at": now})
		if result.Error != nil {
			return result.Error
		}
		paid = result.RowsAffected == 1
		if row, err = first[SandboxPayment](tx.Where("reference = ?", reference), "sandbox payment"); err != nil || !paid {
			return err
		}
		return addCallbacks(tx, callbacks(row, now))
	})
	return row, paid, unlessNotFound(err, "paying in the sandbox")
}

// RefundSandbox gives a payment's money back, once however often it is asked. It reports whether the
// books now say so: not when the payment was not paid, or another amount was given back before.
func (s *Store) RefundSandbox(ctx context.Context, reference string, amountMinor int64) (bool, error) {
	var row SandboxPayment
	err := s.transact(ctx, func(tx *gorm.DB) error {
		err := tx.Model(&SandboxPayment{}).
			Where("reference = ? AND state = ? AND refunded_minor = 0 AND amount_minor >= ?", reference, SandboxPaid, amountMinor).
			UpdateColumns(map[string]any{"refunded_minor": amountMinor}).Error
		if err != nil {
			return err
		}
		row, err = first[SandboxPayment](tx.Where("reference = ?", reference), "sandbox payment")
		return err
	})
	return err == nil && row.RefundedMinor == amountMinor, unlessNotFound(err, "refunding in the sandbox")
}

// AddSandboxCallbacks queues callbacks; those without DueAt are due at once.
func (s *Store) AddSandboxCallbacks(ctx context.Context, callbacks func(now time.Time) []SandboxCallback) error {
	return wrapf(s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		return addCallbacks(tx, callbacks(now))
	}), "adding sandbox callbacks")
}

func addCallbacks(tx *gorm.DB, rows []SandboxCallback) error {
	if len(rows) == 0 {
		return nil
	}
	if err := tx.Create(&rows).Error; err != nil {
		return fmt.Errorf("inserting callbacks: %w", err)
	}
	return nil
}

// ClaimSandboxCallbacks takes up to limit due callbacks and makes them due again after lease.
func (s *Store) ClaimSandboxCallbacks(ctx context.Context, limit int, lease time.Duration) ([]SandboxCallback, error) {
	rows, err := claim[SandboxCallback](ctx, s, dueRows{key: "id", due: "due_at", bare: true}, limit, lease)
	return rows, wrapf(err, "claiming sandbox callbacks")
}

func (c *SandboxCallback) claimed(time.Time) int64 {
	c.Attempts++
	return c.ID
}

// RetrySandboxCallback makes a callback due after a pause; FinishSandboxCallback forgets it.
func (s *Store) RetrySandboxCallback(ctx context.Context, id int64, after time.Duration) error {
	return wrapf(s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		return tx.Model(&SandboxCallback{}).Where("id = ?", id).UpdateColumns(map[string]any{"due_at": now.Add(after)}).Error
	}), "putting a sandbox callback off")
}

// FinishSandboxCallback forgets a callback that was delivered or given up.
func (s *Store) FinishSandboxCallback(ctx context.Context, id int64) error {
	return wrapf(s.transact(ctx, func(tx *gorm.DB) error {
		return tx.Where("id = ?", id).Delete(&SandboxCallback{}).Error
	}), "finishing a sandbox callback")
}

// SandboxBehaviour is how the sandbox was told to misbehave, as SetSandboxBehaviour wrote it; empty
// when it never was.
func (s *Store) SandboxBehaviour(ctx context.Context) (string, error) {
	row, err := first[sandboxBehaviour](s.read.WithContext(ctx).Where("id = 1"), "sandbox behaviour")
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return row.Settings, err
}

// SetSandboxBehaviour replaces what SandboxBehaviour gives.
func (s *Store) SetSandboxBehaviour(ctx context.Context, settings string) error {
	return wrapf(s.transact(ctx, func(tx *gorm.DB) error {
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&sandboxBehaviour{ID: 1, Settings: settings}).Error
	}), "setting the sandbox's behaviour")
}

func unlessNotFound(err error, doing string) error {
	if errors.Is(err, ErrNotFound) {
		return err
	}
	return wrapf(err, doing)
}

// CountSandboxCallbacks counts the callbacks that are still to be delivered, due or not.
func (s *Store) CountSandboxCallbacks(ctx context.Context) (n int64, err error) {
	err = s.read.WithContext(ctx).Model(&SandboxCallback{}).Count(&n).Error
	return n, wrapf(err, "counting sandbox callbacks")
}
