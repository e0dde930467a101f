package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"headgate.example/lib/sale"
)

// ParkedMessage is an order message that cannot be decided now (its shard is away, its sale has
// diverged, the counter does not know it). It is retried from here, so that the queue goes on.
type ParkedMessage struct {
	ID        int64  `gorm:"primaryKey"`
	Digest    string // tells redeliveries of one message from another message; set by the store
	OrderID   sale.OrderID
	Topic     string
	Body      []byte
	Reason    string
	Attempts  int64
	DueAt     time.Time
	CreatedAt time.Time
	UpdatedAt time.Time `gorm:"autoUpdateTime:false"`
}

// TableName is the table's name.
func (ParkedMessage) TableName() string { return "parked_messages" }

// ParkMessages keeps messages (OrderID, Topic, Body, Reason), due after a pause. The same body of the
// same topic is kept once, so that repeating the call is harmless.
func (s *Store) ParkMessages(ctx context.Context, after time.Duration, messages ...ParkedMessage) error {
	for _, m := range messages {
		if len(m.Body) > MaxBodyBytes {
			return ErrBodyTooLarge
		}
	}
	err := s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		for _, row := range messages {
			row.ID, row.Attempts = 0, 0
			row.DueAt, row.CreatedAt, row.UpdatedAt = now.Add(after), now, now
			row.Digest, row.Reason = digest(row.Topic, row.Body), clip(row.Reason, maxReason)
			if err := ignoreDuplicate(tx.Create(&row).Error); err != nil {
				return err
			}
		}
		return nil
	})
	return wrapf(err, "parking messages")
}

// ClaimParked takes up to limit due messages, oldest first, and makes them due again after lease.
func (s *Store) ClaimParked(ctx context.Context, limit int, lease time.Duration) ([]ParkedMessage, error) {
	rows, err := claim[ParkedMessage](ctx, s, dueRows{key: "id", due: "due_at"}, limit, lease)
	return rows, wrapf(err, "claiming parked messages")
}

func (m *ParkedMessage) claimed(now time.Time) int64 {
	m.Attempts++
	m.UpdatedAt = now
	return m.ID
}

// RetryParked makes messages due after a pause, with why they still cannot be decided.
func (s *Store) RetryParked(ctx context.Context, after time.Duration, why string, ids ...int64) error {
	if len(ids) == 0 {
		return nil
	}
	err := s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		return tx.Model(&ParkedMessage{}).Where("id IN ?", ids).UpdateColumns(map[string]any{
			"reason": clip(why, maxReason), "due_at": now.Add(after), "updated_at": now,
		}).Error
	})
	return wrapf(err, "retrying parked messages")
}

// FinishParked drops messages that were decided. Repeating it is harmless.
func (s *Store) FinishParked(ctx context.Context, ids ...int64) error {
	if len(ids) == 0 {
		return nil
	}
	err := s.transact(ctx, func(tx *gorm.DB) error {
		return tx.Where("id IN ?", ids).Delete(&ParkedMessage{}).Error
	})
	return wrapf(err, "finishing parked messages")
}

// ListParked lists parked messages, ascending by id beyond after, at most limit (and MaxPage).
func (s *Store) ListParked(ctx context.Context, after int64, limit int) ([]ParkedMessage, error) {
	var rows []ParkedMessage
	err := s.read.WithContext(ctx).Where("id > ?", after).Order("id").Limit(page(limit)).Find(&rows).Error
	return rows, wrapf(err, "listing parked messages")
}
