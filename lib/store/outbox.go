package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"headgate.example/lib/sale"
)

// The states of an outbox row.
const (
	OutboxDue    = "due"    // to be delivered from DueAt on
	OutboxDone   = "done"   // the counter answered finally
	OutboxParked = "parked" // the counter's answer contradicts the ledger: for an operator
)

// OutboxRow tells the counter to RELEASE the units of one order. It is written in the transaction
// that freed them; an order has at most one.
type OutboxRow struct {
	OrderID   sale.OrderID `gorm:"primaryKey;autoIncrement:false"`
	SaleID    string
	Reason    string
	State     string
	Attempts  int64
	Answer    string // the counter's last answer, or why the row is parked
	DueAt     time.Time
	CreatedAt time.Time
	UpdatedAt time.Time `gorm:"autoUpdateTime:false"`
}

// TableName is the table's name.
func (OutboxRow) TableName() string { return "outbox" }

// ClaimOutbox takes up to limit due rows, oldest first, and makes them due again after lease: a relay
// that dies loses nothing, and two relays seldom deliver the same row (delivering twice is harmless).
func (s *Store) ClaimOutbox(ctx context.Context, limit int, lease time.Duration) ([]OutboxRow, error) {
	rows, err := claim[OutboxRow](ctx, s, dueRows{key: "order_id", due: "due_at", state: OutboxDue}, limit, lease)
	return rows, wrapf(err, "claiming outbox rows")
}

func (r *OutboxRow) claimed(now time.Time) int64 {
	r.Attempts++
	r.UpdatedAt = now
	return int64(r.OrderID)
}

// FinishOutbox notes the counter's final answer for rows. Repeating it is harmless.
func (s *Store) FinishOutbox(ctx context.Context, answer string, ids ...sale.OrderID) error {
	return s.settleOutbox(ctx, OutboxDone, answer, 0, ids)
}

// RetryOutbox makes rows due after a pause, with why the delivery failed.
func (s *Store) RetryOutbox(ctx context.Context, after time.Duration, why string, ids ...sale.OrderID) error {
	return s.settleOutbox(ctx, OutboxDue, why, after, ids)
}

// ParkOutbox leaves rows to an operator: the counter's answer contradicts the ledger.
func (s *Store) ParkOutbox(ctx context.Context, why string, ids ...sale.OrderID) error {
	return s.settleOutbox(ctx, OutboxParked, why, 0, ids)
}

func (s *Store) settleOutbox(ctx context.Context, state, answer string, after time.Duration, ids []sale.OrderID) error {
	if len(ids) == 0 {
		return nil
	}
	err := s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		return tx.Model(&OutboxRow{}).Where("order_id IN ? AND state <> ?", ids, OutboxDone).UpdateColumns(map[string]any{
			"state": state, "answer": clip(answer, maxReason), "due_at": now.Add(after), "updated_at": now,
		}).Error
	})
	if err != nil {
		return fmt.Errorf("store: settling outbox rows: %w", err)
	}
	return nil
}

// OutboxByID finds the outbox row of an order. ErrNotFound when nothing of it was freed.
func (s *Store) OutboxByID(ctx context.Context, id sale.OrderID) (OutboxRow, error) {
	return first[OutboxRow](s.read.WithContext(ctx).Where("order_id = ?", id), "outbox row")
}

// UnfinishedOutbox lists rows that are due or parked, ascending by order id beyond after, at most
// limit (and MaxPage), for the audit: their units are free in the ledger and not yet at the counter.
func (s *Store) UnfinishedOutbox(ctx context.Context, after sale.OrderID, limit int) ([]OutboxRow, error) {
	var rows []OutboxRow
	for _, state := range []string{OutboxDue, OutboxParked} { // apart, so that each reads its index in order
		var some []OutboxRow
		err := s.read.WithContext(ctx).Where("state = ? AND order_id > ?", state, after).
			Order("order_id").Limit(page(limit)).Find(&some).Error
		if err != nil {
			return nil, fmt.Errorf("store: listing outbox rows: %w", err)
		}
		rows = append(rows, some...)
	}
	slices.SortFunc(rows, func(a, b OutboxRow) int { return cmp.Compare(a.OrderID, b.OrderID) })
	return rows[:min(len(rows), page(limit))], nil
}
