package agreement

import (
	"context"
	"encoding/json"
	"fmt"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// send gives one change to the counter. Repeating it is harmless: it carries its revision.
func (p *Pusher) send(ctx context.Context, change *store.SaleChange) error {
	switch change.Command {
	case store.CommandOpen:
		terms, err := sale.ParseTerms(change.Payload)
		if err != nil {
			return err
		}
		terms.ID, terms.Revision = change.SaleID, change.Revision
		return p.counter.OpenSale(ctx, terms)
	case store.CommandPause:
		return p.counter.PauseSale(ctx, change.SaleID, change.Revision)
	case store.CommandResume:
		return p.counter.ResumeSale(ctx, change.SaleID, change.Revision)
	case store.CommandClose:
		return p.counter.CloseSale(ctx, change.SaleID, change.Revision)
	case store.CommandForget:
		return p.counter.ForgetSale(ctx, change.SaleID, change.Revision)
	case store.CommandStock:
		var stock store.StockPayload
		if err := json.Unmarshal(change.Payload, &stock); err != nil {
			return &sale.FieldError{Field: "payload", Reason: fmt.Sprintf("is not the JSON of a stock change: %v", err)}
		}
		return p.counter.SetStock(ctx, change.SaleID, change.Revision, stock.Total)
	}
	return &sale.FieldError{Field: "command", Reason: fmt.Sprintf("%q is not known to this program", change.Command)}
}

// Open is the change that makes a draft known to the counter, paused, and then sells: no half-open
// sale sells on some shards.
func Open(terms sale.Terms) ([]store.SaleChange, error) {
	payload, err := json.Marshal(terms)
	if err != nil {
		return nil, fmt.Errorf("encoding the terms of sale %s: %w", terms.ID, err)
	}
	return []store.SaleChange{{Command: store.CommandOpen, Payload: payload}, {Command: store.CommandResume}}, nil
}

// Pause stops selling.
func Pause() []store.SaleChange { return []store.SaleChange{{Command: store.CommandPause}} }

// Resume sells again.
func Resume() []store.SaleChange { return []store.SaleChange{{Command: store.CommandResume}} }

// Close ends a sale for good.
func Close() []store.SaleChange { return []store.SaleChange{{Command: store.CommandClose}} }

// Stock changes the stock to total units. cut: the sale sells now and total is less than it has, so
// that it is paused around the change.
func Stock(total int64, cut bool) ([]store.SaleChange, error) {
	payload, err := json.Marshal(store.StockPayload{Total: total})
	if err != nil {
		return nil, fmt.Errorf("encoding a stock of %d: %w", total, err)
	}
	change := store.SaleChange{Command: store.CommandStock, Payload: payload}
	if !cut {
		return []store.SaleChange{change}, nil
	}
	return []store.SaleChange{{Command: store.CommandPause}, change, {Command: store.CommandResume}}, nil
}
