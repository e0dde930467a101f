package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"headgate.example/lib/sale"
)

// The intents of a sale: what the ledger wants the counter to do.
const (
	IntentDraft     = "draft"  // never opened
	IntentPaused    = "paused" // known to the counter, not selling
	IntentOpen      = "open"
	IntentClosed    = "closed"
	IntentForgotten = "forgotten"
)

// MaxSales bounds the sales that Sales lists, newest first.
const MaxSales = 1000

// Sale is one sale as the ledger intends it. The counter's own figures are sale.Info.
type Sale struct {
	ID, Title, Description string
	PriceMinor             int64 // of one unit
	Currency               string
	Stock                  int64 // units for sale, as intended
	// StockCeiling guards Sold: it is raised before the counter's stock is, and lowered only by what
	// the counter reports (AcknowledgeSale).
	StockCeiling int64
	// Sold is the sum of the quantities of the active orders.
	Sold         int64
	LimitPerUser int64 // units; 0: no limit
	OpensAt      time.Time
	EndsAt       time.Time // zero: does not end by itself
	Releases     []sale.Release
	HoldFor      time.Duration
	PayWithin    time.Duration
	Revision     int64 // of the last change in the change log; 0: none
	Acknowledged int64 // the revision that the counter is known to have applied
	Intent       string
	// Alarm is what an operator has to look at; empty when nothing is wrong.
	Alarm                string
	CreatedAt, UpdatedAt time.Time
}

// saleRow is Sale as stored.
type saleRow struct {
	ID           string `gorm:"primaryKey"`
	Title        string
	Description  string
	PriceMinor   int64
	Currency     string
	Stock        int64
	StockCeiling int64
	Sold         int64
	LimitPerUser int64
	OpensAt      time.Time
	EndsAt       *time.Time
	Releases     string
	HoldForMS    int64 `gorm:"column:hold_for_ms"`
	PayWithinMS  int64 `gorm:"column:pay_within_ms"`
	Revision     int64
	Acknowledged int64
	Intent       string
	Alarm        string
	CreatedAt    time.Time
	UpdatedAt    time.Time `gorm:"autoUpdateTime:false"`
}

func (saleRow) TableName() string { return "sales" }

func (r saleRow) sale() (Sale, error) {
	s := Sale{
		ID: r.ID, Title: r.Title, Description: r.Description, PriceMinor: r.PriceMinor, Currency: r.Currency,
		Stock: r.Stock, StockCeiling: r.StockCeiling, Sold: r.Sold, LimitPerUser: r.LimitPerUser, OpensAt: r.OpensAt,
		HoldFor: time.Duration(r.HoldForMS) * time.Millisecond, PayWithin: time.Duration(r.PayWithinMS) * time.Millisecond,
		Revision: r.Revision, Acknowledged: r.Acknowledged, Intent: r.Intent, Alarm: r.Alarm,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if r.EndsAt != nil {
		s.EndsAt = *r.EndsAt
	}
	if err := json.Unmarshal([]byte(r.Releases), &s.Releases); err != nil {
		return Sale{}, fmt.Errorf("store: sale %s: column releases: %w", r.ID, err)
	}
	return s, nil
}

func rowOfSale(s *Sale) (saleRow, error) {
	releases, err := json.Marshal(append([]sale.Release{}, s.Releases...))
	if err != nil {
		return saleRow{}, fmt.Errorf("store: sale %s: releases: %w", s.ID, err)
	}
	r := saleRow{
		ID: s.ID, Title: s.Title, Description: s.Description, PriceMinor: s.PriceMinor, Currency: s.Currency,
		Stock: s.Stock, StockCeiling: s.StockCeiling, Sold: s.Sold, LimitPerUser: s.LimitPerUser,
		OpensAt: millis(s.OpensAt), Releases: string(releases),
		HoldForMS: s.HoldFor.Milliseconds(), PayWithinMS: s.PayWithin.Milliseconds(),
		Revision: s.Revision, Acknowledged: s.Acknowledged, Intent: s.Intent, Alarm: s.Alarm,
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
	if !s.EndsAt.IsZero() {
		ends := millis(s.EndsAt)
		r.EndsAt = &ends
	}
	return r, nil
}

// millis is the precision of the ledger's times.
func millis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// CreateSale inserts a draft: intent draft, revision 0, nothing sold, the ceiling at its stock. It
// sets those fields and the times of s. ErrDuplicate: the id is taken. Errors about a field are
// *sale.FieldError.
func (s *Store) CreateSale(ctx context.Context, created *Sale) error {
	if err := checkSale(created); err != nil {
		return err
	}
	return s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		draft := *created
		draft.Revision, draft.Acknowledged, draft.Sold = 0, 0, 0
		draft.Intent, draft.Alarm, draft.StockCeiling = IntentDraft, "", draft.Stock
		draft.CreatedAt, draft.UpdatedAt = now, now
		row, err := rowOfSale(&draft)
		if err != nil {
			return err
		}
		if err := tx.Create(&row).Error; errors.Is(err, gorm.ErrDuplicatedKey) {
			return fmt.Errorf("sale %q: %w", created.ID, ErrDuplicate)
		} else if err != nil {
			return fmt.Errorf("store: inserting sale %s: %w", created.ID, err)
		}
		*created = draft
		return nil
	})
}

// checkSale refuses what the tables cannot hold or the sold guard cannot bear. The terms of the sale
// are checked by sale.Terms.
func checkSale(s *Sale) error {
	if err := sale.CheckSaleID(s.ID); err != nil {
		return err
	}
	switch {
	case len(s.Title) > 200:
		return &sale.FieldError{Field: "title", Reason: "must be at most 200 bytes"}
	case len(s.Description) > 10_000:
		return &sale.FieldError{Field: "description", Reason: "must be at most 10000 bytes"}
	case s.PriceMinor < 0 || s.PriceMinor > maxPriceMinor:
		return &sale.FieldError{Field: "price_minor", Reason: fmt.Sprintf("must be 0 to %d", int64(maxPriceMinor))}
	case len(s.Currency) != 3:
		return &sale.FieldError{Field: "currency", Reason: "must be a code of three letters, such as CNY"}
	case s.Stock < 0 || s.Stock > sale.MaxUnits:
		return &sale.FieldError{Field: "stock", Reason: fmt.Sprintf("must be 0 to %d units", sale.MaxUnits)}
	case s.LimitPerUser < 0 || s.LimitPerUser > sale.MaxUnits:
		return &sale.FieldError{Field: "limit_per_user", Reason: fmt.Sprintf("must be 0 (no limit) to %d units", sale.MaxUnits)}
	case len(s.Releases) > sale.MaxReleases:
		return &sale.FieldError{Field: "releases", Reason: fmt.Sprintf("must be at most %d", sale.MaxReleases)}
	case s.OpensAt.IsZero():
		return &sale.FieldError{Field: "opens_at", Reason: "is missing"}
	case s.PayWithin < time.Millisecond || s.PayWithin > 90*24*time.Hour:
		return &sale.FieldError{Field: "pay_within", Reason: "must be 1ms to 2160h"}
	case s.HoldFor < sale.MinHoldForMillis*time.Millisecond || s.HoldFor > sale.MaxHoldForMillis*time.Millisecond:
		return &sale.FieldError{Field: "hold_for", Reason: "must be 1s to 10m"}
	}
	return nil
}

const maxPriceMinor = 1_000_000_000_000 // an order of MaxQuantity units still fits into int64

// SaleByID finds a sale. ErrNotFound when there is none.
func (s *Store) SaleByID(ctx context.Context, id string) (Sale, error) {
	row, err := first[saleRow](s.read.WithContext(ctx).Where("id = ?", id), "sale")
	if err != nil {
		return Sale{}, err
	}
	return row.sale()
}

// Sales lists the sales, newest first, at most MaxSales.
func (s *Store) Sales(ctx context.Context) ([]Sale, error) {
	var rows []saleRow
	if err := s.read.WithContext(ctx).Order("created_at DESC, id").Limit(MaxSales).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("store: listing the sales: %w", err)
	}
	sales := make([]Sale, len(rows))
	for i, row := range rows {
		var err error
		if sales[i], err = row.sale(); err != nil {
			return nil, err
		}
	}
	return sales, nil
}

// SetSaleAlarm sets or, with an empty text, clears what an operator has to look at. At most 1000
// bytes are kept. ErrNotFound when there is no such sale.
func (s *Store) SetSaleAlarm(ctx context.Context, id, text string) error {
	return s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		return setSaleAlarm(tx, id, text, now)
	})
}

func setSaleAlarm(tx *gorm.DB, id, text string, now time.Time) error {
	result := tx.Model(&saleRow{}).Where("id = ?", id).
		UpdateColumns(map[string]any{"alarm": clip(text, 1000), "updated_at": now})
	if result.Error != nil {
		return fmt.Errorf("store: sale %s: setting the alarm: %w", id, result.Error)
	}
	if result.RowsAffected == 0 {
		return fmt.Errorf("sale: %w", ErrNotFound)
	}
	return nil
}
