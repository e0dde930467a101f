package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"headgate.example/lib/sale"
)

// CancelOrder cancels a user's unpaid order: its state, the journal row, the outbox row and the
// sale's sold count change in one transaction. ErrNotFound: no such order, or another user's.
// ErrNotCancellable: in any other state; the order is returned with it. ErrDiverged: the sale's sold
// count lacks the order's units; the sale is paused.
func (s *Store) CancelOrder(ctx context.Context, id sale.OrderID, user string) (Order, error) {
	var order Order
	err := s.transact(ctx, func(tx *gorm.DB) error {
		var err error
		order, err = lockOrder(tx.Where("id = ? AND user_id = ?", id, user))
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
	var diverged *divergedError
	if errors.As(err, &diverged) {
		_, pauseErr := s.pauseSale(ctx, diverged)
		err = errors.Join(err, pauseErr)
	}
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNotCancellable) {
		err = fmt.Errorf("store: cancelling order %s: %w", id, err)
	}
	return order, err
}

// SweepReport is what one CancelDue or CancelDueOrders did.
type SweepReport struct {
	Cancelled int
	Paused    []string // sales that it paused, with an alarm, because their sold counts have diverged

	// Of the orders that CancelDueOrders was asked about: how many are still unpaid, and how long the
	// earliest of their deadlines lies ahead; negative when it has passed.
	Unpaid int
	DueIn  time.Duration
}

// CancelDue cancels up to limit (and MaxPage) unpaid orders whose deadline has passed by the
// database's clock, oldest deadline first. Orders that another transaction is working on are left for
// the next call, and so are those with an open payment, until the provider was asked (ClaimPayments).
// So are, call after call until somebody repairs it, the orders of a sale whose sold count lacks their
// units: that sale is paused, and the sweep goes on without it.
func (s *Store) CancelDue(ctx context.Context, limit int) (SweepReport, error) {
	return s.sweep(ctx, func(tx *gorm.DB) *gorm.DB { return tx.Order("deadline").Limit(page(limit)) })
}

// CancelDueOrders is CancelDue for these orders alone, at most MaxPage, and tells how many of them are
// left.
func (s *Store) CancelDueOrders(ctx context.Context, ids []sale.OrderID) (SweepReport, error) {
	if len(ids) > MaxPage {
		return SweepReport{}, fmt.Errorf("store: %d order ids at once, at most %d are allowed", len(ids), MaxPage)
	}
	report, err := s.sweep(ctx, func(tx *gorm.DB) *gorm.DB { return tx.Where("id IN ?", ids) })
	if err != nil {
		return report, err
	}
	now, err := s.Now(ctx)
	if err != nil {
		return report, err
	}
	var deadlines []time.Time
	err = s.read.WithContext(ctx).Model(&Order{}).Where("id IN ? AND state = ?", ids, sale.Unpaid).Pluck("deadline", &deadlines).Error
	if err != nil {
		return report, fmt.Errorf("store: reading deadlines: %w", err)
	}
	if report.Unpaid = len(deadlines); report.Unpaid > 0 {
		report.DueIn = slices.MinFunc(deadlines, time.Time.Compare).Sub(now)
	}
	return report, nil
}

// sweep cancels the due orders among those that which selects.
func (s *Store) sweep(ctx context.Context, which func(tx *gorm.DB) *gorm.DB) (SweepReport, error) {
	var report SweepReport
	var without []string
	for {
		err := s.transact(ctx, func(tx *gorm.DB) (err error) {
			report.Cancelled, err = s.cancelDue(tx, which, without)
			return err
		})
		var diverged *divergedError
		if errors.As(err, &diverged) && !slices.Contains(without, diverged.sale) { // bounded: each sale diverges once
			var paused bool
			if paused, err = s.pauseSale(ctx, diverged); paused {
				report.Paused = append(report.Paused, diverged.sale)
			}
			if err == nil {
				without = append(without, diverged.sale)
				continue
			}
		}
		if err != nil {
			report.Cancelled = 0
			return report, fmt.Errorf("store: cancelling due orders: %w", err)
		}
		return report, nil
	}
}

// cancelDue is one attempt, in a transaction, that passes over the orders of some sales.
func (s *Store) cancelDue(tx *gorm.DB, which func(tx *gorm.DB) *gorm.DB, without []string) (int, error) {
	now, err := s.now(tx)
	if err != nil {
		return 0, err
	}
	query := tx.Clauses(skipLocked()).Where("state = ? AND deadline <= ?", sale.Unpaid, now).
		Where("NOT EXISTS (SELECT 1 FROM payments WHERE payments.order_id = orders.id AND payments.state = ?)", PaymentOpen)
	if len(without) > 0 {
		query = query.Where("sale_id NOT IN ?", without)
	}
	var due []Order
	err = which(query).Find(&due).Error
	if err != nil || len(due) == 0 {
		return 0, err
	}
	slices.SortFunc(due, func(a, b Order) int { return cmp.Compare(a.ID, b.ID) })
	return len(due), freeOrders(tx, due, sale.Cancelled, "not paid before the deadline", now)
}

// pauseSale pauses a diverged sale in a transaction of its own, so that the order of locks is kept,
// and reports whether the pause is new. A sale without a row cannot be paused; the log has it.
func (s *Store) pauseSale(ctx context.Context, diverged *divergedError) (paused bool, err error) {
	err = s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		paused, err = pauseDiverged(tx, diverged.sale, diverged.why, now)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		s.log.Error("orders of a sale that the ledger does not have", "sale", diverged.sale)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("pausing the diverged sale %s: %w", diverged.sale, err)
	}
	return paused, nil
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
			return &divergedError{id, fmt.Sprintf("the sold count is below the %d units of its own orders: %v", freed[id], ErrDiverged)}
		}
	}
	return nil
}
