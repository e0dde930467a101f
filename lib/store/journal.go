package store

import (
	"context"
	"fmt"
	"time"

	"headgate.example/lib/sale"
)

// The kinds of journal rows. An order has at most one row of each.
const (
	JournalSold     = "sold"     // the order became active: +quantity
	JournalFreed    = "freed"    // it stopped being active: -quantity
	JournalRejected = "rejected" // refused for good: 0, its units were never counted as sold
)

// JournalRow is one change of a sale's sold count. The sum of Units over a sale is its Sold.
type JournalRow struct {
	OrderID   sale.OrderID `gorm:"primaryKey;autoIncrement:false"`
	Kind      string       `gorm:"primaryKey"`
	SaleID    string
	Units     int64
	Reason    string
	CreatedAt time.Time
}

// TableName is the table's name.
func (JournalRow) TableName() string { return "stock_journal" }

// Journal lists the rows of a sale, by order id beyond after, at most limit (and MaxPage) rows. Of one
// order, what was freed comes before what was sold: so the index has them.
func (s *Store) Journal(ctx context.Context, saleID string, after sale.OrderID, limit int) ([]JournalRow, error) {
	var rows []JournalRow
	err := s.read.WithContext(ctx).Where("sale_id = ? AND order_id > ?", saleID, after).
		Order("order_id, units").Limit(page(limit)).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("store: journal of sale %s: %w", saleID, err)
	}
	return rows, nil
}
