package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"headgate.example/lib/sale"
)

// MaxBodyBytes bounds the body of a dead letter and of a parked message. AddDeadLetter and
// ParkMessage refuse a longer one with ErrBodyTooLarge: leave it in the queue's own dead letters.
const MaxBodyBytes = 1 << 20

// ErrBodyTooLarge is a message that the ledger does not keep.
var ErrBodyTooLarge = fmt.Errorf("the message is longer than %d bytes", MaxBodyBytes)

const maxReason = 255 // bytes of a reason that are kept

// DeadLetter is a message that can never become an order, kept whole. Somebody replays or discards it.
type DeadLetter struct {
	ID int64 `gorm:"primaryKey"`
	// Digest tells redeliveries of one message from another message; set by the store.
	Digest      string
	OrderID     sale.OrderID // 0 when the message does not prove one
	Topic       string
	Body        []byte
	Reason      string
	CreatedAt   time.Time
	DiscardedAt *time.Time // when it was replayed or discarded; nil: still to be looked at
}

// TableName is the table's name.
func (DeadLetter) TableName() string { return "dead_letters" }

// AddDeadLetter keeps a message: OrderID (when known), Topic, Body and Reason. The same body of the
// same topic is kept once, so that repeating the call is harmless; one that was discarded and came
// again is to be looked at again.
func (s *Store) AddDeadLetter(ctx context.Context, letter DeadLetter) error {
	if len(letter.Body) > MaxBodyBytes {
		return ErrBodyTooLarge
	}
	err := s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		row := letter
		row.ID, row.CreatedAt, row.DiscardedAt = 0, now, nil
		row.Digest, row.Reason = digest(letter.Topic, letter.Body), clip(letter.Reason, maxReason)
		if row.Body == nil {
			row.Body = []byte{}
		}
		if err := tx.Create(&row).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
			return err
		}
		return tx.Model(&DeadLetter{}).Where("digest = ? AND discarded_at IS NOT NULL", row.Digest).
			UpdateColumns(map[string]any{"discarded_at": nil, "reason": row.Reason}).Error
	})
	return wrapf(err, "adding a dead letter")
}

// ListDeadLetters lists the letters that nobody replayed or discarded, ascending by id beyond after, at most
// limit (and MaxPage).
func (s *Store) ListDeadLetters(ctx context.Context, after int64, limit int) ([]DeadLetter, error) {
	var rows []DeadLetter
	err := s.read.WithContext(ctx).Where("discarded_at IS NULL AND id > ?", after).
		Order("id").Limit(page(limit)).Find(&rows).Error
	return rows, wrapf(err, "listing dead letters")
}

// DeadLetterByID finds a letter, also one that was replayed or discarded. ErrNotFound when there is none.
func (s *Store) DeadLetterByID(ctx context.Context, id int64) (DeadLetter, error) {
	return first[DeadLetter](s.read.WithContext(ctx).Where("id = ?", id), "dead letter")
}

// ReplayDeadLetter sends a letter through the consumer's normal path again: in one transaction it
// becomes a parked message that is due at once, and leaves the list. Should it be dead again, it comes
// back under its id with the new reason. ErrNotFound when there is no such letter or it is settled
// already.
func (s *Store) ReplayDeadLetter(ctx context.Context, id int64) error {
	err := s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		letter, err := first[DeadLetter](tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).
			Where("id = ? AND discarded_at IS NULL", id), "dead letter")
		if err != nil {
			return err
		}
		row := ParkedMessage{
			Digest: letter.Digest, OrderID: letter.OrderID, Topic: letter.Topic, Body: letter.Body,
			Reason: "replayed by an operator", DueAt: now, CreatedAt: now, UpdatedAt: now,
		}
		if err := ignoreDuplicate(tx.Create(&row).Error); err != nil { // one that is parked comes by itself
			return err
		}
		return settleDeadLetter(tx, id, now)
	})
	return wrapf(err, "replaying a dead letter")
}

// DiscardDeadLetter marks a letter as dealt with. accepted, when the caller has verified what the
// letter stands for, becomes a rejected order whose units are given back, unless its id has a row:
// then only the letter goes. It reports whether an order was rejected. ErrNotFound when there is no
// such letter or it is settled already.
func (s *Store) DiscardDeadLetter(ctx context.Context, id int64, accepted *Accepted) (rejected bool, err error) {
	for attempt := 1; ; attempt++ {
		rejected, err = s.discard(ctx, id, accepted)
		if !errors.Is(err, gorm.ErrDuplicatedKey) || attempt == MaxAttempts {
			return rejected && err == nil, err
		}
		// A consumer wrote the order meanwhile: the next look finds its row.
	}
}

func (s *Store) discard(ctx context.Context, id int64, accepted *Accepted) (rejected bool, err error) {
	err = s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		rejected = false
		if accepted != nil {
			if rejected, err = insertDiscarded(tx, *accepted, now); err != nil {
				return err
			}
		}
		return wrapf(settleDeadLetter(tx, id, now), "discarding a dead letter")
	})
	return rejected, err
}

// settleDeadLetter takes a letter off the list, once.
func settleDeadLetter(tx *gorm.DB, id int64, now time.Time) error {
	result := tx.Model(&DeadLetter{}).Where("id = ? AND discarded_at IS NULL", id).
		UpdateColumns(map[string]any{"discarded_at": now})
	if result.Error == nil && result.RowsAffected == 0 {
		return fmt.Errorf("dead letter: %w", ErrNotFound)
	}
	return result.Error
}

func insertDiscarded(tx *gorm.DB, accepted Accepted, now time.Time) (rejected bool, err error) {
	if err := accepted.Validate(); err != nil {
		return false, err
	}
	var known int64
	if err := tx.Model(&Order{}).Where("id = ?", accepted.Order).Count(&known).Error; err != nil || known > 0 {
		return false, wrapf(err, "looking for an order")
	}
	var rows batchRows
	rows.reject(accepted, "dead letter discarded", now)
	return true, rows.insert(tx)
}

func digest(topic string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(topic))
	h.Write([]byte{0})
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

func ignoreDuplicate(err error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return nil
	}
	return err
}

// wrapf names what failed; a nil error stays nil.
func wrapf(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: %s: %w", doing, err)
}
