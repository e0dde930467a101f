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
