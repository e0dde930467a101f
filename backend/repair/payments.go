package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/payment"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// How the payment provider is asked for what the ledger lost.
const (
	askers     = 8
	askTimeout = 5 * time.Second
	// holesAllowed is how many numbers in a row may be unknown to the provider before nothing more is asked
	// for: an attempt to pay whose announcement got lost leaves such a hole.
	holesAllowed = 2
)

// lostPayments takes over payments of unpaid orders that the provider has and the ledger lost.
func (r *repair) lostPayments(ctx context.Context, s *store.Sale) error {
	for after := sale.OrderID(0); ; {
		rows, err := r.Ledger.ActiveOrders(ctx, s.ID, after, store.MaxPage)
		if err != nil {
			return err
		}
		var unpaid []payable
		for i := range rows {
			after = rows[i].ID
			if rows[i].State == sale.Unpaid {
				unpaid = append(unpaid, payable{rows[i].ID, rows[i].AmountMinor, rows[i].Currency})
			}
		}
		if _, err := r.adoptPayments(ctx, s.ID, unpaid); err != nil {
			return err
		}
		if len(rows) < store.MaxPage {
			return nil
		}
	}
}

// paymentsOf takes over the payments of orders that are about to be written, and gives those of them that
// the provider told about: the others are left for a later run.
func (r *repair) paymentsOf(ctx context.Context, s *store.Sale, holds []client.Hold) ([]client.Hold, error) {
	var told []client.Hold
	for page := range slices.Chunk(holds, store.MaxPage) {
		orders := make([]payable, len(page))
		for i := range page {
			orders[i] = payable{page[i].Order, page[i].Quantity * s.PriceMinor, s.Currency}
		}
		silent, err := r.adoptPayments(ctx, s.ID, orders)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if !silent[page[i].Order] {
				told = append(told, page[i])
			}
		}
	}
	return told, nil
}

// payable is an order that may have been paid.
type payable struct {
	order    sale.OrderID
	amount   int64
	currency string
}

// adoptPayments asks the provider about orders, and lets the ledger have the payments that it lacks. silent
// are those of which the provider did not tell.
func (r *repair) adoptPayments(ctx context.Context, saleID string, orders []payable) (silent map[sale.OrderID]bool, err error) {
	orders = slices.DeleteFunc(slices.Clone(orders), func(o payable) bool { return o.amount == 0 })
	if r.Provider == nil || len(orders) == 0 {
		return nil, nil
	}
	found, silent, err := r.askAll(ctx, orders)
	if err != nil {
		return nil, err
	}
	if len(silent) > 0 {
		r.report.wait("sale %s: the payment provider does not tell of %d orders", saleID, len(silent))
	}
	if len(found) == 0 {
		return silent, nil
	}
	ids := make([]sale.OrderID, len(found))
	for i := range found {
		ids[i] = found[i].OrderID
	}
	step := Step{Kind: AdoptPayment, Sale: saleID, Count: len(found), Orders: first(ids), What: fmt.Sprintf(
		"%d payments that %s has are asked about before their orders' deadlines count", len(found), r.Provider.Name())}
	return silent, r.do(ctx, step, func() error {
		for page := range slices.Chunk(found, store.MaxPage) {
			if _, err := r.Ledger.AdoptPayments(ctx, page...); err != nil {
				return err
			}
		}
		return nil
	})
}

// askAll asks about several orders at once. An error is the ledger's, or the end of ctx.
func (r *repair) askAll(ctx context.Context, orders []payable) (found []store.Payment, silent map[sale.OrderID]bool, err error) {
	silent = map[sale.OrderID]bool{}
	var mu sync.Mutex // guards the results
	next := make(chan payable)
	var running sync.WaitGroup
	for range min(askers, len(orders)) {
		running.Go(func() {
			for o := range next {
				payments, told, askErr := r.ask(ctx, o)
				mu.Lock()
				found = append(found, payments...)
				if !told {
					silent[o.order] = true
				}
				err = errors.Join(err, askErr)
				mu.Unlock()
			}
		})
	}
	for _, o := range orders {
		mu.Lock()
		failed := err != nil
		mu.Unlock()
		if failed || ctx.Err() != nil {
			break
		}
		next <- o
	}
	close(next)
	running.Wait()
	slices.SortFunc(found, func(a, b store.Payment) int { return slices.Compare([]byte(a.Reference), []byte(b.Reference)) })
	return found, silent, errors.Join(err, ctx.Err())
}

// ask gives the payments of one order that the provider has and the ledger has not. told: the provider
// answered every question.
func (r *repair) ask(ctx context.Context, o payable) (lost []store.Payment, told bool, err error) {
	rows, err := r.Ledger.PaymentsOfOrder(ctx, o.order)
	if err != nil {
		return nil, false, err
	}
	known := map[string]bool{}
	for i := range rows {
		known[rows[i].Reference] = true
	}
	holes := 0
	for n := 1; n <= store.MaxPayments && holes <= holesAllowed; n++ {
		reference := store.PaymentReference(o.order, n)
		if known[reference] {
			holes = 0
			continue
		}
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		_, err := r.Provider.Query(asking, reference)
		cancel()
		switch {
		case errors.Is(err, payment.ErrUnknownReference):
			holes++
		case err != nil:
			return lost, false, nil //nolint:nilerr // an unknown outcome: asked again by the next run
		default:
			holes = 0
			lost = append(lost, store.Payment{OrderID: o.order, Provider: r.Provider.Name(), Reference: reference, AmountMinor: o.amount, Currency: o.currency})
		}
	}
	return lost, true, nil
}
