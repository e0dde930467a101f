package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"headgate.example/lib/sale"
)

// The states of a refund.
const (
	RefundDue    = "due"    // to be asked of the provider from DueAt on
	RefundDone   = "done"   // the provider gave the money back
	RefundParked = "parked" // the provider refuses: for an operator
)

// Refund is money on its way back to the buyer. It is written in the transaction that found that the
// money is not an order's; a payment has at most one.
type Refund struct {
	ID          int64 `gorm:"primaryKey"`
	PaymentID   int64
	OrderID     sale.OrderID
	Provider    string
	Reference   string // the payment's
	AmountMinor int64
	Currency    string
	Reason      string
	State       string
	Attempts    int64
	Answer      string // the provider's last answer
	DueAt       time.Time
	CreatedAt   time.Time
	UpdatedAt   time.Time `gorm:"autoUpdateTime:false"`
}

// TableName is the table's name.
func (Refund) TableName() string { return "refunds" }

func addRefund(tx *gorm.DB, p *Payment, money Money, reason string, now time.Time) error {
	row := Refund{
		PaymentID: p.ID, OrderID: p.OrderID, Provider: p.Provider, Reference: p.Reference, AmountMinor: money.AmountMinor, Currency: money.Currency,
		Reason: clip(reason, maxReason), State: RefundDue, DueAt: now, CreatedAt: now, UpdatedAt: now,
	}
	if err := tx.Create(&row).Error; err != nil {
		return fmt.Errorf("inserting a refund: %w", err)
	}
	return nil
}

// ClaimRefunds takes up to limit due rows, oldest first, and makes them due again after lease, as
// ClaimOutbox does. Asking the provider twice for one refund must be harmless.
func (s *Store) ClaimRefunds(ctx context.Context, limit int, lease time.Duration) ([]Refund, error) {
	rows, err := claim[Refund](ctx, s, dueRows{key: "id", due: "due_at", state: RefundDue}, limit, lease)
	return rows, wrapf(err, "claiming refunds")
}

func (r *Refund) claimed(now time.Time) int64 {
	r.Attempts++
	r.UpdatedAt = now
	return r.ID
}

// SettleRefund notes the provider's answer: the row's state is RefundDone, RefundParked, or RefundDue
// once more after a pause. A row that is done stays so, and one that is parked can only become done: the answer may
// be that of a consumer whose lease had ended, and an operator may be giving the money back by another way.
func (s *Store) SettleRefund(ctx context.Context, id int64, state, answer string, after time.Duration) error {
	err := s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		from := []string{RefundDue}
		if state == RefundDone {
			from = append(from, RefundParked)
		}
		return tx.Model(&Refund{}).Where("id = ? AND state IN ?", id, from).UpdateColumns(map[string]any{
			"state": state, "answer": clip(answer, maxReason), "due_at": now.Add(after), "updated_at": now,
		}).Error
	})
	return wrapf(err, "settling a refund")
}

// RetryRefund lets a parked refund be asked of the provider again, with the pauses of a new one. It gives the row as
// it is then, and whether it was parked: any other is left as it is. ErrNotFound: there is no such refund.
func (s *Store) RetryRefund(ctx context.Context, id int64) (Refund, bool, error) {
	r, changed, err := s.unpark(ctx, id, map[string]any{"state": RefundDue, "attempts": 0})
	return r, changed, unlessNotFound(err, "retrying a refund")
}

// FinishRefund notes that an operator has given a parked refund's money back by another way, in his words. It answers as
// RetryRefund does.
func (s *Store) FinishRefund(ctx context.Context, id int64, words string) (Refund, bool, error) {
	r, changed, err := s.unpark(ctx, id, map[string]any{"state": RefundDone, "answer": clip(words, maxReason)})
	return r, changed, unlessNotFound(err, "finishing a refund")
}

func (s *Store) unpark(ctx context.Context, id int64, changes map[string]any) (r Refund, changed bool, err error) {
	err = s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		changes["due_at"], changes["updated_at"] = now, now
		result := tx.Model(&Refund{}).Where("id = ? AND state = ?", id, RefundParked).UpdateColumns(changes)
		if result.Error != nil {
			return result.Error
		}
		changed = result.RowsAffected == 1
		r, err = first[Refund](tx.Where("id = ?", id), "refund")
		return err
	})
	return r, changed, err
}

// RefundsOf lists the refunds of payments; at most one of each, and of at most MaxPage payments.
func (s *Store) RefundsOf(ctx context.Context, payments ...int64) ([]Refund, error) {
	var rows []Refund
	if len(payments) == 0 {
		return nil, nil
	}
	err := s.read.WithContext(ctx).Where("payment_id IN ?", payments[:min(len(payments), MaxPage)]).Find(&rows).Error
	return rows, wrapf(err, "listing refunds of payments")
}

// ListRefunds lists refunds in a state, or in any when it is empty, ascending by id beyond after; at
// most limit (and MaxPage).
func (s *Store) ListRefunds(ctx context.Context, state string, after int64, limit int) ([]Refund, error) {
	query := s.read.WithContext(ctx).Where("id > ?", after)
	if state != "" {
		query = query.Where("state = ?", state)
	}
	var rows []Refund
	err := query.Order("id").Limit(page(limit)).Find(&rows).Error
	return rows, wrapf(err, "listing refunds")
}
