package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"headgate.example/lib/sale"
)

// What an operator's repair does after one side has lost data (see backend/repair). Each call is one
// transaction and may be repeated.

// HighestOrder is the highest order id that the ledger knows, of any shard and sale: of orders, of
// releases, of parked messages. 0: none.
func (s *Store) HighestOrder(ctx context.Context) (sale.OrderID, error) {
	var highest sale.OrderID
	for _, of := range []struct {
		model  any
		column string
	}{{&Order{}, "id"}, {&OutboxRow{}, "order_id"}, {&ParkedMessage{}, "order_id"}} {
		var ids []sale.OrderID
		err := s.read.WithContext(ctx).Model(of.model).Order(of.column+" DESC").Limit(1).Pluck(of.column, &ids).Error
		if err != nil {
			return 0, fmt.Errorf("store: reading the highest order id: %w", err)
		}
		highest = max(highest, slices.Max(append(ids, 0)))
	}
	return highest, nil
}

// CancelLost cancels an unpaid order of which the counter proves that it was freed before: its state,
// journal row, outbox row and the sale's sold count change together. ErrNotFound: no such order.
// ErrNotCancellable: in any other state.
func (s *Store) CancelLost(ctx context.Context, id sale.OrderID, why string) error {
	err := s.transact(ctx, func(tx *gorm.DB) error {
		order, err := first[Order](tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", id), "order")
		if err != nil {
			return err
		}
		if order.State != sale.Unpaid {
			return fmt.Errorf("order %s is %s: %w", id, order.State, ErrNotCancellable)
		}
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		return freeOrders(tx, []Order{order}, sale.Cancelled, clip(why, maxReason), now)
	})
	return wrapf(err, "cancelling a lost order")
}

// ReopenOutbox makes releases due again that were done or parked, and reports how many. The counter
// answers `already` to what it has done.
func (s *Store) ReopenOutbox(ctx context.Context, ids ...sale.OrderID) (reopened int64, err error) {
	err = s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		result := tx.Model(&OutboxRow{}).Where("order_id IN ?", ids).UpdateColumns(map[string]any{
			"state": OutboxDue, "answer": "", "due_at": now, "updated_at": now,
		})
		reopened = result.RowsAffected
		return result.Error
	})
	return reopened, wrapf(err, "reopening outbox rows")
}

// AdoptPayments writes payments (OrderID, Provider, Reference, AmountMinor, Currency) that a provider has and
// the ledger lost, as open and to be asked about at once: until the provider has told their end, which is
// taken as of any other payment, no deadline cancels their orders. Of at most MaxPage; those that the ledger
// has are left alone. It reports how many were written.
func (s *Store) AdoptPayments(ctx context.Context, payments ...Payment) (adopted int64, err error) {
	if len(payments) == 0 {
		return 0, nil
	}
	if len(payments) > MaxPage {
		return 0, fmt.Errorf("store: %d payments at once, at most %d are allowed", len(payments), MaxPage)
	}
	err = s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		rows := make([]Payment, len(payments))
		for i, p := range payments {
			rows[i] = Payment{
				OrderID: p.OrderID, Provider: p.Provider, Reference: p.Reference, State: PaymentOpen, AmountMinor: p.AmountMinor, Currency: p.Currency,
				Answer: "lost by the ledger, found at the provider", ExpiresAt: now, CheckAt: &now, CreatedAt: now, UpdatedAt: now,
			}
		}
		result := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows)
		adopted = result.RowsAffected
		return result.Error
	})
	return adopted, wrapf(err, "adopting payments")
}

// Adoption is what the counter has of a sale whose later changes the ledger lost.
type Adoption struct {
	Revision int64
	Stock    int64
	Debt     int64 // units that were cut and are in buyers' hands
	Intent   string
}

// AdoptSale takes over what the counter has of a sale: an old backup of the ledger lacks its last
// changes. The change log goes on after a gap, with one row that says so. Without effect when the ledger
// is as far already. ErrNotFound when there is no such sale.
func (s *Store) AdoptSale(ctx context.Context, id string, a Adoption) error {
	command := map[string]string{IntentOpen: CommandResume, IntentPaused: CommandPause, IntentClosed: CommandClose, IntentForgotten: CommandForget}[a.Intent]
	if command == "" {
		return fmt.Errorf("store: adopting sale %s: no intent %q", id, a.Intent)
	}
	err := s.transact(ctx, func(tx *gorm.DB) error {
		row, err := first[saleRow](tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", id), "sale")
		if err != nil || row.Revision >= a.Revision {
			return err
		}
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		change := SaleChange{SaleID: id, Revision: a.Revision, Command: command, Payload: []byte{}, CreatedAt: now, AcknowledgedAt: &now}
		if err := tx.Create(&change).Error; err != nil {
			return err
		}
		return tx.Model(&saleRow{}).Where("id = ?", id).UpdateColumns(map[string]any{
			"revision": a.Revision, "acknowledged": a.Revision, "intent": a.Intent, "stock": a.Stock,
			"stock_ceiling": max(row.StockCeiling, a.Stock+a.Debt), "updated_at": now,
		}).Error
	})
	return wrapf(err, "adopting a sale")
}

// DueNow makes parked messages due at once, at most MaxPage of them, and reports how many.
func (s *Store) DueNow(ctx context.Context, ids ...int64) (due int64, err error) {
	err = s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		result := tx.Model(&ParkedMessage{}).Where("id IN ?", ids).UpdateColumns(map[string]any{"due_at": now.Add(-time.Millisecond)})
		due = result.RowsAffected
		return result.Error
	})
	return due, wrapf(err, "making parked messages due")
}
