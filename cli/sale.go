package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
)

// NewSale is what creating a sale sends. Times are milliseconds since 1970, durations milliseconds; zero
// means the backend's default.
type NewSale struct {
	ID           string    `json:"id"`
	Title        string    `json:"title"`
	Description  string    `json:"description,omitempty"`
	PriceMinor   int64     `json:"price_minor"`
	Currency     string    `json:"currency,omitempty"`
	Stock        int64     `json:"stock"`
	LimitPerUser int64     `json:"limit_per_user"`
	OpensAt      int64     `json:"opens_at"`
	EndsAt       int64     `json:"ends_at,omitempty"`
	Releases     []Release `json:"releases,omitempty"`
	HoldFor      int64     `json:"hold_for_ms,omitempty"`
	PayWithin    int64     `json:"pay_within_ms,omitempty"`
}

// Release is a part of the stock that comes on sale later.
type Release struct {
	At    int64 `json:"at"`
	Units int64 `json:"units"`
}

// CreateSale creates a sale as a draft: the counter does not know it until it is opened.
func (a *API) CreateSale(ctx context.Context, s NewSale) error {
	return a.Call(ctx, http.MethodPost, "/api/admin/sales", s, nil)
}

// Sale reads one sale, as the ledger intends it and the counter has it.
func (a *API) Sale(ctx context.Context, id string) (AdminSale, error) {
	var s AdminSale
	err := a.Call(ctx, http.MethodGet, salePath(id), nil, &s)
	return s, err
}

func salePath(id string) string { return "/api/admin/sales/" + url.PathEscape(id) }

// ChangeSale opens, pauses, resumes or closes a sale.
func (a *API) ChangeSale(ctx context.Context, id, action string) error {
	return a.Call(ctx, http.MethodPost, salePath(id)+"/"+action, struct{}{}, nil)
}

// SetStock changes the number of units for sale.
func (a *API) SetStock(ctx context.Context, id string, total int64) error {
	return a.Call(ctx, http.MethodPut, salePath(id)+"/stock", map[string]int64{"total": total}, nil)
}

// ensureOpen opens a sale unless it is open.
func (a *API) ensureOpen(ctx context.Context, id string) error {
	s, err := a.Sale(ctx, id)
	if err != nil {
		return err
	}
	if s.Intent == "draft" {
		if err := a.ChangeSale(ctx, id, "open"); err != nil {
			return err
		}
		s, err = a.Sale(ctx, id)
	}
	if err == nil && s.Acknowledged < s.Revision {
		err = &Refusal{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: fmt.Sprintf("the counter has not opened sale %s yet", id)}
	}
	return err
}

// OpenSale creates and opens a sale, or finds that it is, and returns when the counter knows it. What is not
// available yet is asked for again, for about 20 s.
func (a *API) OpenSale(ctx context.Context, s NewSale) error {
	const pause, tries = 200 * time.Millisecond, 100
	for try := 1; ; try++ {
		err := a.CreateSale(ctx, s)
		var refusal *Refusal
		if errors.As(err, &refusal) && refusal.Code == "conflict" {
			err = nil // it was created before
		}
		if err == nil {
			err = a.ensureOpen(ctx, s.ID)
		}
		if err == nil || try == tries {
			return err
		}
		if errors.As(err, &refusal) && refusal.Status != 503 {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// AdminSale is a sale as operators see it.
type AdminSale struct {
	NewSale
	Intent       string       `json:"intent"`
	Phase        string       `json:"phase,omitempty"`
	StockCeiling int64        `json:"stock_ceiling"`
	Sold         int64        `json:"sold"`
	Revision     int64        `json:"revision"`
	Acknowledged int64        `json:"acknowledged"`
	Pending      bool         `json:"pending"`
	Alarm        string       `json:"alarm,omitempty"`
	Counter      *SaleFigures `json:"counter,omitempty"` // nil when the counter does not answer or does not know the sale
	CreatedAt    int64        `json:"created_at"`
	UpdatedAt    int64        `json:"updated_at"`
}

// SaleFigures are the counter's, in units.
type SaleFigures struct {
	Revision  int64 `json:"revision"`
	Paused    bool  `json:"paused"`
	Closed    bool  `json:"closed"`
	Stock     int64 `json:"stock"`
	Scheduled int64 `json:"scheduled"`
	Available int64 `json:"available"`
	Held      int64 `json:"held"`
	Confirmed int64 `json:"confirmed"`
	Debt      int64 `json:"debt"`

	InTransfer int64          `json:"in_transfer"`      // units on their way between two shards
	Shards     []ShardFigures `json:"shards,omitempty"` // each shard's part, when there are several
	Silent     []string       `json:"silent,omitempty"` // shards that did not answer: their figures are missing
}

// ShardFigures are one shard's, in units.
type ShardFigures struct {
	Shard     string `json:"shard"`
	Revision  int64  `json:"revision"`
	Paused    bool   `json:"paused"`
	Alloc     int64  `json:"alloc"`
	Taken     int64  `json:"taken"`
	Given     int64  `json:"given"`
	Scheduled int64  `json:"scheduled"`
	Available int64  `json:"available"`
	Held      int64  `json:"held"`
	Confirmed int64  `json:"confirmed"`
	Debt      int64  `json:"debt"`
}

// Sales lists the sales, newest first.
func (a *API) Sales(ctx context.Context) ([]AdminSale, error) {
	var list struct {
		Sales []AdminSale `json:"sales"`
	}
	err := a.Call(ctx, http.MethodGet, "/api/admin/sales", nil, &list)
	return list.Sales, err
}

// WriteSales writes sales as a table for people.
func WriteSales(w io.Writer, sales []AdminSale) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "SALE\tTITLE\tSTATE\tSTOCK\tLEFT\tHELD\tSOLD\tOPENS\tNOTE")
	for _, s := range sales {
		left, held := "?", "?"
		if s.Counter != nil {
			left, held = fmt.Sprint(s.Counter.Available), fmt.Sprint(s.Counter.Held)
			if len(s.Counter.Silent) > 0 {
				left, held = "at least "+left, "at least "+held
			}
		}
		state := s.Intent
		if s.Phase != "" {
			state = s.Phase
		}
		note := plainText(s.Alarm)
		if note == "" && s.Pending {
			note = fmt.Sprintf("the counter is at revision %d of %d", s.Acknowledged, s.Revision)
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\n", s.ID, plainText(s.Title), state, s.Stock, left, held, s.Sold, moment(s.OpensAt), note)
	}
	return out.Flush()
}

// WriteSale writes one sale for people.
func WriteSale(w io.Writer, s AdminSale) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("sale", "%s", s.ID)
	row("title", "%s", plainText(s.Title))
	row("state", "%s (shoppers see: %s)", s.Intent, or(s.Phase, "nothing"))
	row("price", "%d.%02d %s", s.PriceMinor/100, s.PriceMinor%100, s.Currency)
	row("stock", "%d units, at most %d each (0: no limit)", s.Stock, s.LimitPerUser)
	row("opens", "%s", moment(s.OpensAt))
	if s.EndsAt != 0 {
		row("ends", "%s", moment(s.EndsAt))
	}
	for _, r := range s.Releases {
		row("release", "%d units at %s", r.Units, moment(r.At))
	}
	row("ledger", "sold %d, revision %d", s.Sold, s.Revision)
	if c := s.Counter; c != nil {
		row("counter", "scheduled %d, available %d, held %d, confirmed %d, debt %d, revision %d", c.Scheduled, c.Available, c.Held, c.Confirmed, c.Debt, c.Revision)
		for _, part := range c.Shards {
			paused := ""
			if part.Paused {
				paused = ", paused"
			}
			row("  shard "+plainText(part.Shard), "alloc %d + taken %d - given %d = scheduled %d + available %d + held %d + confirmed %d; debt %d, revision %d%s",
				part.Alloc, part.Taken, part.Given, part.Scheduled, part.Available, part.Held, part.Confirmed, part.Debt, part.Revision, paused)
		}
		if c.InTransfer > 0 {
			row("  in transfer", "%d units", c.InTransfer)
		}
		if len(c.Silent) > 0 {
			row("  NO ANSWER", "from shard %s: its units are missing above", plainText(strings.Join(c.Silent, ", ")))
		}
	} else {
		row("counter", "does not know the sale, or does not answer")
	}
	if s.Alarm != "" {
		row("ALARM", "%s", plainText(s.Alarm))
	}
	return out.Flush()
}

func moment(millis int64) string {
	if millis == 0 {
		return "-"
	}
	return time.UnixMilli(millis).Local().Format("2006-01-02 15:04:05 MST")
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
