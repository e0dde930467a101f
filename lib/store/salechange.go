package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"headgate.example/lib/sale"
)

// The commands of the change log, as the counter knows them.
const (
	CommandOpen   = "open" // payload: sale.Terms
	CommandPause  = "pause"
	CommandResume = "resume"
	CommandClose  = "close"
	CommandStock  = "stock" // payload: {"total": units}
	CommandForget = "forget"
)

// MaxChanges bounds the changes of one ChangeSale, and the rows of one ChangesAfter.
const MaxChanges = 100

// SaleChange is one row of a sale's change log: what the counter is told, in the order of Revision.
type SaleChange struct {
	SaleID   string `gorm:"primaryKey"`
	Revision int64  `gorm:"primaryKey;autoIncrement:false"`
	Command  string
	// Payload is JSON: for open the terms, whose revision the store sets; for stock {"total": n};
	// empty otherwise.
	Payload        []byte
	CreatedAt      time.Time
	AcknowledgedAt *time.Time // nil: the counter is not known to have applied it
}

// TableName is the table's name.
func (SaleChange) TableName() string { return "sale_changes" }

// StockPayload is the payload of a stock change.
type StockPayload struct {
	Total int64 `json:"total"`
}

// ChangeSale decides and stores changes of a sale in one transaction with its row locked. decide
// gives the changes (Command and Payload; the store sets the rest), or an error that leaves
// everything as it was. They get consecutive revisions after current.Revision, enter the change log,
// and set Intent and Stock; a higher stock raises the ceiling at once, since the ledger must be ready
// before the counter sells. decide may run more than once. ErrNotFound when there is no such sale.
func (s *Store) ChangeSale(ctx context.Context, id string, decide func(current Sale) ([]SaleChange, error)) (Sale, error) {
	var changed Sale
	err := s.transact(ctx, func(tx *gorm.DB) error {
		row, err := first[saleRow](tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", id), "sale")
		if err != nil {
			return err
		}
		if changed, err = row.sale(); err != nil {
			return err
		}
		changes, err := decide(changed)
		if err != nil || len(changes) == 0 {
			return err
		}
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		return storeChanges(tx, &changed, changes, now)
	})
	return changed, err
}

// storeChanges applies changes to the sale, whose row the caller has locked, and stores both.
func storeChanges(tx *gorm.DB, changed *Sale, changes []SaleChange, now time.Time) error {
	if len(changes) > MaxChanges {
		return fmt.Errorf("store: sale %s: %d changes at once, at most %d are allowed", changed.ID, len(changes), MaxChanges)
	}
	for i := range changes {
		changes[i].SaleID, changes[i].Revision = changed.ID, changed.Revision+1
		changes[i].CreatedAt, changes[i].AcknowledgedAt = now, nil
		if err := applyChange(changed, &changes[i]); err != nil {
			return fmt.Errorf("store: sale %s: %w", changed.ID, err)
		}
	}
	changed.UpdatedAt = now
	if err := tx.Create(&changes).Error; err != nil {
		return fmt.Errorf("store: sale %s: writing the change log: %w", changed.ID, err)
	}
	err := tx.Model(&saleRow{}).Where("id = ?", changed.ID).UpdateColumns(map[string]any{
		"revision": changed.Revision, "intent": changed.Intent, "stock": changed.Stock,
		"stock_ceiling": changed.StockCeiling, "alarm": changed.Alarm, "updated_at": now,
	}).Error
	if err != nil {
		return fmt.Errorf("store: sale %s: storing the change: %w", changed.ID, err)
	}
	return nil
}

func applyChange(s *Sale, change *SaleChange) error {
	s.Revision = change.Revision
	if change.Payload == nil {
		change.Payload = []byte{} // the column is not null
	}
	switch change.Command {
	case CommandOpen:
		var terms sale.Terms
		if err := json.Unmarshal(change.Payload, &terms); err != nil {
			return fmt.Errorf("change open: payload: %w", err)
		}
		terms.ID, terms.Revision = s.ID, change.Revision
		if err := terms.Validate(); err != nil {
			return fmt.Errorf("change open: payload: %w", err)
		}
		text, err := json.Marshal(terms)
		if err != nil {
			return fmt.Errorf("change open: payload: %w", err)
		}
		change.Payload, s.Intent = text, IntentPaused // a sale opens paused and is then resumed
		setStock(s, terms.Stock)
	case CommandStock:
		var stock StockPayload
		if err := json.Unmarshal(change.Payload, &stock); err != nil {
			return fmt.Errorf("change stock: payload: %w", err)
		}
		if stock.Total < 0 || stock.Total > sale.MaxUnits {
			return &sale.FieldError{Field: "total", Reason: fmt.Sprintf("must be 0 to %d units, is %d", sale.MaxUnits, stock.Total)}
		}
		setStock(s, stock.Total)
	case CommandPause:
		s.Intent = IntentPaused
	case CommandResume:
		s.Intent = IntentOpen
	case CommandClose:
		s.Intent = IntentClosed
	case CommandForget:
		s.Intent = IntentForgotten
	default:
		return fmt.Errorf("change %q: no such command", change.Command)
	}
	return nil
}

func setStock(s *Sale, stock int64) {
	s.Stock, s.StockCeiling = stock, max(s.StockCeiling, stock)
}

// ChangesAfter lists the change log beyond a revision, ascending, at most MaxChanges.
func (s *Store) ChangesAfter(ctx context.Context, id string, revision int64) ([]SaleChange, error) {
	var changes []SaleChange
	err := s.read.WithContext(ctx).Where("sale_id = ? AND revision > ?", id, revision).
		Order("revision").Limit(MaxChanges).Find(&changes).Error
	if err != nil {
		return nil, fmt.Errorf("store: sale %s: reading the change log: %w", id, err)
	}
	return changes, nil
}

// AcknowledgeSale notes that the counter has applied everything up to revision. ceiling, when given,
// is the number of units that the counter still may have in buyers' hands (its stock with its debt):
// the ceiling is lowered to it, never raised, and only while no later change waits, since that one
// may have raised it. Repeating it is harmless. ErrNotFound when there is no such sale.
func (s *Store) AcknowledgeSale(ctx context.Context, id string, revision int64, ceiling *int64) error {
	return s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		row, err := first[saleRow](tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", id), "sale")
		if err != nil {
			return err
		}
		columns := map[string]any{"updated_at": now}
		if revision > row.Acknowledged {
			columns["acknowledged"] = revision
		}
		if ceiling != nil && *ceiling < row.StockCeiling && revision == row.Revision {
			columns["stock_ceiling"] = *ceiling
		}
		if len(columns) == 1 {
			return nil
		}
		err = tx.Model(&SaleChange{}).Where("sale_id = ? AND revision <= ? AND acknowledged_at IS NULL", id, revision).
			UpdateColumns(map[string]any{"acknowledged_at": now}).Error
		if err != nil {
			return fmt.Errorf("store: sale %s: acknowledging changes: %w", id, err)
		}
		if err := tx.Model(&saleRow{}).Where("id = ?", id).UpdateColumns(columns).Error; err != nil {
			return fmt.Errorf("store: sale %s: acknowledging: %w", id, err)
		}
		return nil
	})
}
