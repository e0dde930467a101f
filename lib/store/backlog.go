package store

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// Backlog counts what is not settled yet. All zero and the queue empty: ledger and counter agree id
// by id, or something is lost.
type Backlog struct {
	OutboxDue    int64 // units freed in the ledger, not yet at the counter
	OutboxParked int64
	OutboxAge    time.Duration // of the oldest due row, by the database's clock
	Parked       int64         // parked messages
	ParkedAge    time.Duration
	DeadLetters  int64 // not discarded

	PaymentsOpen  int64 // whose end the payment provider has not told
	RefundsDue    int64 // money on its way back
	RefundsParked int64 // that the provider refuses to give back
}

// Backlog counts what is not settled yet.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	db := s.read.WithContext(ctx)
	var b Backlog
	now, err := s.now(db)
	if err != nil {
		return b, err
	}
	var outbox []struct {
		State string
		N     int64
	}
	err = db.Raw("SELECT state, COUNT(*) AS n FROM outbox WHERE state IN (?, ?) GROUP BY state", OutboxDue, OutboxParked).
		Scan(&outbox).Error
	if err != nil {
		return b, wrapf(err, "counting the outbox")
	}
	for _, row := range outbox {
		if row.State == OutboxDue {
			b.OutboxDue = row.N
		} else {
			b.OutboxParked = row.N
		}
	}
	if b.OutboxAge, err = age(db.Model(&OutboxRow{}).Where("state = ?", OutboxDue), now); err != nil {
		return b, wrapf(err, "reading the oldest outbox row")
	}
	if b.ParkedAge, err = age(db.Model(&ParkedMessage{}), now); err != nil {
		return b, wrapf(err, "reading the oldest parked message")
	}
	if err := db.Model(&ParkedMessage{}).Count(&b.Parked).Error; err != nil {
		return b, wrapf(err, "counting parked messages")
	}
	err = db.Model(&DeadLetter{}).Where("discarded_at IS NULL").Count(&b.DeadLetters).Error
	if err != nil {
		return b, wrapf(err, "counting dead letters")
	}
	for _, c := range []struct {
		rows  *gorm.DB
		count *int64
	}{
		{db.Model(&Payment{}).Where("check_at IS NOT NULL"), &b.PaymentsOpen},
		{db.Model(&Refund{}).Where("state = ?", RefundDue), &b.RefundsDue},
		{db.Model(&Refund{}).Where("state = ?", RefundParked), &b.RefundsParked},
	} {
		if err := c.rows.Count(c.count).Error; err != nil {
			return b, wrapf(err, "counting payments and refunds")
		}
	}
	return b, nil
}

// age is how long ago the oldest of the rows was created.
func age(rows *gorm.DB, now time.Time) (time.Duration, error) {
	var oldest []time.Time
	err := rows.Order("created_at").Limit(1).Pluck("created_at", &oldest).Error
	if err != nil || len(oldest) == 0 {
		return 0, err
	}
	return max(now.Sub(oldest[0]), 0), nil
}
