package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"headgate.example/lib/sale"
)

// CancelOrder cancels a user's unpaid order: its state, the journal row, the outbox row and the
// sale's sold count change in one transaction. ErrNotFound: no such order, or another user's.
// ErrNotCancellable: in any other state; the order is returned with it.
func (s *Store) CancelOrder(ctx context.Context, id sale.OrderID, user string) (Order, error) {
	var order Order
	err := s.transact(ctx, func(tx *gorm.DB) error {
		var err error
		order, err = first[Order](tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).
			Where("id = ? AND user_id = ?", id, user), "order")
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
		orders := []Order{order}
		if err := freeOrders(tx, orders, sale.Cancelled, "cancelled by the buyer", now); err != nil {
			return err
		}
		order = orders[0]
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNotCancellable) {
		err = fmt.Errorf("store: cancelling order %s: %w", id, err)
	}
	return order, err
}

// CancelDue cancels up to limit (and MaxPage) unpaid orders whose deadline has passed by the
// database's clock, oldest deadline first, and returns how many. Orders that another transaction is
// working on are left for the next call.
func (s *Store) CancelDue(ctx context.Context, limit int) (int, error) {
	cancelled := 0
	err := s.transact(ctx, func(tx *gorm.DB) error {
		cancelled = 0
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		var due []Order
		err = tx.Clauses(skipLocked()).Where("state = ? AND deadline <= ?", sale.Unpaid, now).
			Order("deadline").Limit(page(limit)).Find(&due).Error
		if err != nil || len(due) == 0 {
			return err
		}
		slices.SortFunc(due, func(a, b Order) int { return cmp.Compare(a.ID, b.ID) })
		cancelled = len(due)
		return freeOrders(tx, due, sale.Cancelled, "not paid before the deadline", now)
	})
	if err != nil {
		return 0, fmt.Errorf("store: cancelling due orders: %w", err)
	}
	return cancelled, nil
}

// freeOrders moves unpaid orders, whose rows the caller has locked and sorted by id, to a state in
// which they keep no units. It is the only place where a unit that was sold becomes free.
func freeOrders(tx *gorm.DB, orders []Order, to sale.OrderState, reason string, now time.Time) error {
	var rows batchRows
	ids := make([]sale.OrderID, len(orders))
	freed := map[string]int64{}
	for i := range orders {
		o := &orders[i]
		o.State, o.ActiveSlot, o.Reason, o.UpdatedAt = to, nil, reason, now
		ids[i] = o.ID
		freed[o.SaleID] += o.Quantity
		rows.journal = append(rows.journal, JournalRow{
			OrderID: o.ID, Kind: JournalFreed, SaleID: o.SaleID, Units: -o.Quantity, Reason: reason, CreatedAt: now,
		})
		rows.release(o, string(to), now)
	}
	result := tx.Model(&Order{}).Where("id IN ? AND state = ?", ids, sale.Unpaid).
		UpdateColumns(map[string]any{"state": to, "active_slot": nil, "reason": reason, "updated_at": now})
	if result.Error != nil {
		return fmt.Errorf("updating orders: %w", result.Error)
	}
	if result.RowsAffected != int64(len(orders)) {
		return fmt.Errorf("updating orders: %d of %d locked rows changed", result.RowsAffected, len(orders))
	}
	if err := rows.insert(tx); err != nil {
		return err
	}
	for _, id := range sortedKeys(freed) {
		result := tx.Exec("UPDATE sales SET sold = sold - ? WHERE id = ? AND sold >= ?", freed[id], id, freed[id])
		if result.Error != nil {
			return fmt.Errorf("sale %s: lowering the sold count: %w", id, result.Error)
		}
		if result.RowsAffected == 0 {
			return fmt.Errorf("sale %s: the sold count is below the %d units of its own orders", id, freed[id])
		}
	}
	return nil
}
