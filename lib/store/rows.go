package store

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"headgate.example/lib/sale"
)

// batchRows are the rows that one transaction inserts, and what they add to the sold counts.
type batchRows struct {
	orders  []Order
	journal []JournalRow
	outbox  []OutboxRow
	sold    map[string]int64
}

func orderOf(a Accepted, now time.Time) Order {
	if a.AcceptedAt.IsZero() {
		a.AcceptedAt = a.Order.Time()
	}
	return Order{
		ID: a.Order, SaleID: a.Sale, UserID: a.User, Quantity: a.Quantity, Slot: a.Slot, RequestKey: a.Key,
		AcceptedAt: millis(a.AcceptedAt), Deadline: now, CreatedAt: now, UpdatedAt: now,
	}
}

// activate adds an unpaid order, which takes its slot and its units.
func (b *batchRows) activate(a Accepted, of *saleRow, now time.Time) {
	row := orderOf(a, now)
	slot := row.Slot
	row.State, row.ActiveSlot = sale.Unpaid, &slot
	row.Deadline = now.Add(time.Duration(of.PayWithinMS) * time.Millisecond)
	b.orders = append(b.orders, row)
	b.price(of)
	b.journal = append(b.journal, JournalRow{OrderID: row.ID, Kind: JournalSold, SaleID: row.SaleID, Units: row.Quantity, Reason: "its hold is confirmed", CreatedAt: now})
	b.sold[row.SaleID] += row.Quantity
}

// expire adds an order whose hold ran out: no slot, no units, nothing to give back.
func (b *batchRows) expire(a Accepted, of *saleRow, now time.Time) {
	row := orderOf(a, now)
	row.State, row.Reason = sale.OrderExpired, "the hold ran out before the order was confirmed"
	b.orders = append(b.orders, row)
	b.price(of)
}

// reject adds an order that is refused for good while its hold is confirmed: its units go back.
func (b *batchRows) reject(a Accepted, why string, now time.Time) {
	row := orderOf(a, now)
	row.State, row.Reason = sale.Rejected, clip(why, maxReason)
	b.orders = append(b.orders, row)
	b.journal = append(b.journal, JournalRow{OrderID: row.ID, Kind: JournalRejected, SaleID: row.SaleID, Reason: row.Reason, CreatedAt: now})
	b.release(&row, "rejected", now)
}

// release adds the outbox row that gives an order's units back to the counter.
func (b *batchRows) release(o *Order, reason string, now time.Time) {
	b.outbox = append(b.outbox, OutboxRow{
		OrderID: o.ID, SaleID: o.SaleID, Reason: reason, State: OutboxDue, DueAt: now, CreatedAt: now, UpdatedAt: now,
	})
}

// price sets what the last order costs.
func (b *batchRows) price(of *saleRow) {
	o := &b.orders[len(b.orders)-1]
	o.AmountMinor, o.Currency = of.PriceMinor*o.Quantity, of.Currency
}

// insert writes the rows, by plain INSERTs: an upsert would hide a clash with another id.
func (b *batchRows) insert(tx *gorm.DB) error {
	if len(b.orders) > 0 {
		if err := tx.Create(&b.orders).Error; err != nil {
			return fmt.Errorf("inserting orders: %w", err)
		}
	}
	if len(b.journal) > 0 {
		if err := tx.Create(&b.journal).Error; err != nil {
			return fmt.Errorf("inserting journal rows: %w", err)
		}
	}
	if len(b.outbox) > 0 {
		if err := tx.Create(&b.outbox).Error; err != nil {
			return fmt.Errorf("inserting outbox rows: %w", err)
		}
	}
	return nil
}

// pauseDiverged stops a sale whose guard failed: an alarm, and a pause in the change log unless it
// does not sell anyway. It reports whether the pause is new.
func pauseDiverged(tx *gorm.DB, id, why string, now time.Time) (paused bool, err error) {
	row, err := first[saleRow](tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", id), "sale")
	if err != nil {
		return false, err
	}
	current, err := row.sale()
	if err != nil {
		return false, err
	}
	alarmed := current.Alarm != ""
	if !alarmed {
		current.Alarm = clip(why, maxReason)
	}
	switch {
	case current.Intent == IntentOpen:
		return true, storeChanges(tx, &current, []SaleChange{{Command: CommandPause}}, now)
	case alarmed:
		return false, nil
	}
	return false, setSaleAlarm(tx, id, current.Alarm, now)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
