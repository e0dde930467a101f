package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"headgate.example/lib/sale"
)

// Order is one order in the ledger.
type Order struct {
	ID       sale.OrderID `gorm:"primaryKey;autoIncrement:false"`
	SaleID   string
	UserID   string
	Quantity int64
	// ActiveSlot is Slot while the order keeps its units, and nil once it does not: unique with the
	// sale and the user.
	ActiveSlot  *int64
	Slot        int64 // as the counter gave it, for good
	State       sale.OrderState
	AmountMinor int64 // to pay for all units
	Currency    string
	RequestKey  string // the buyer's Idempotency-Key, or empty
	// Reason says why an order is cancelled, expired or rejected; empty otherwise.
	Reason string
	// Deadline is when an unpaid order is cancelled, by the database's clock. Orders that never
	// waited for a payment have it at CreatedAt.
	Deadline   time.Time
	AcceptedAt time.Time // when the backend took it, by the backend's clock
	CreatedAt  time.Time
	UpdatedAt  time.Time `gorm:"autoUpdateTime:false"`
}

// TableName is the table's name.
func (Order) TableName() string { return "orders" }

// Binding is what the order's id stands for.
func (o *Order) Binding() sale.Binding {
	return sale.Binding{Order: o.ID, Sale: o.SaleID, User: o.UserID, Quantity: o.Quantity, Slot: o.Slot}
}

// Active reports whether the order keeps its units.
func (o *Order) Active() bool { return o.ActiveSlot != nil }

// OrderByID finds an order. ErrNotFound when there is none.
func (s *Store) OrderByID(ctx context.Context, id sale.OrderID) (Order, error) {
	return first[Order](s.read.WithContext(ctx).Where("id = ?", id), "order")
}

// OrdersByIDs finds orders, ascending by id; ids without a row are left out. At most MaxPage ids.
func (s *Store) OrdersByIDs(ctx context.Context, ids []sale.OrderID) ([]Order, error) {
	if len(ids) > MaxPage {
		return nil, fmt.Errorf("store: %d order ids asked for at once, at most %d are allowed", len(ids), MaxPage)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return orders(s.read.WithContext(ctx).Where("id IN ?", ids).Order("id"), "by their ids")
}

// OrdersByUser lists a user's orders, newest first: those with ids below after, or all when after is
// 0; at most limit (and MaxPage).
func (s *Store) OrdersByUser(ctx context.Context, user string, after sale.OrderID, limit int) ([]Order, error) {
	query := s.read.WithContext(ctx).Where("user_id = ?", user)
	if after > 0 {
		query = query.Where("id < ?", after)
	}
	return orders(query.Order("id DESC").Limit(page(limit)), "of a user")
}

// ActiveOrders lists the orders of a sale that keep their units, ascending by id beyond after; at
// most limit (and MaxPage). Page through it with the last id.
func (s *Store) ActiveOrders(ctx context.Context, saleID string, after sale.OrderID, limit int) ([]Order, error) {
	query := s.read.WithContext(ctx).Where("sale_id = ? AND id > ? AND active_slot IS NOT NULL", saleID, after)
	return orders(query.Order("id").Limit(page(limit)), "active in a sale")
}

func orders(query *gorm.DB, which string) ([]Order, error) {
	var rows []Order
	if err := query.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("store: reading orders %s: %w", which, err)
	}
	return rows, nil
}

// SaleTotals are the ledger's figures of one sale, for the audit. With all of them read at one
// moment, Sold = ActiveUnits = JournalUnits <= StockCeiling.
type SaleTotals struct {
	Sold         int64
	StockCeiling int64
	ActiveOrders int64
	ActiveUnits  int64
	JournalUnits int64
	// Orders counts the orders by state.
	Orders map[sale.OrderState]int64
}

// SaleTotals reads a sale's figures in one consistent snapshot. ErrNotFound when there is no such sale.
func (s *Store) SaleTotals(ctx context.Context, saleID string) (SaleTotals, error) {
	var totals SaleTotals
	err := s.read.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		row, err := first[saleRow](tx.Where("id = ?", saleID), "sale")
		if err != nil {
			return err
		}
		totals = SaleTotals{Sold: row.Sold, StockCeiling: row.StockCeiling, Orders: map[sale.OrderState]int64{}}
		var groups []struct {
			State                             sale.OrderState
			Orders, ActiveOrders, ActiveUnits int64
		}
		err = tx.Raw(`SELECT state, COUNT(*) AS orders, COUNT(active_slot) AS active_orders,
			COALESCE(SUM(CASE WHEN active_slot IS NOT NULL THEN quantity ELSE 0 END), 0) AS active_units
			FROM orders WHERE sale_id = ? GROUP BY state`, saleID).Scan(&groups).Error
		if err != nil {
			return err
		}
		for _, g := range groups {
			totals.Orders[g.State] = g.Orders
			totals.ActiveOrders += g.ActiveOrders
			totals.ActiveUnits += g.ActiveUnits
		}
		return tx.Raw("SELECT COALESCE(SUM(units), 0) FROM stock_journal WHERE sale_id = ?", saleID).
			Scan(&totals.JournalUnits).Error
	}, s.dialect.snapshotOptions())
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("store: totals of sale %s: %w", saleID, err)
	}
	return totals, err
}
