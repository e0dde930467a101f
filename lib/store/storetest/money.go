package storetest

import (
	"context"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// CheckMoney fails the test unless, for each of these orders, every paid amount is the order's or a
// refund's: an order is paid exactly when one of its paid payments has no refund row, and then it has
// one such payment, of the order's amount; every refund is of a paid payment and of what came. It
// gives what came and what goes back.
func CheckMoney(t failer, s *store.Store, ids ...sale.OrderID) (came, back int64) {
	t.Helper()
	ctx := context.Background()
	refunds := map[int64]store.Refund{}
	var after int64
	for {
		rows, err := s.ListRefunds(ctx, "", after, store.MaxPage)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, r := range rows {
			refunds[r.PaymentID] = r
			after = r.ID
		}
		if len(rows) < store.MaxPage {
			break
		}
	}
	for _, id := range ids {
		order, err := s.OrderByID(ctx, id)
		if err != nil {
			continue // no row: nothing can have been paid for it
		}
		payments, err := s.PaymentsOfOrder(ctx, id)
		if err != nil {
			t.Fatalf("%v", err)
		}
		paying := 0
		for _, p := range payments {
			refund, refunded := refunds[p.ID]
			switch {
			case p.State != store.PaymentPaid && (refunded || p.PaidMinor != 0):
				t.Fatalf("payment %s of order %s is %s, with %d paid and refund %+v", p.Reference, id, p.State, p.PaidMinor, refund)
			case refunded && refund.AmountMinor != p.PaidMinor:
				t.Fatalf("payment %s: %d came, %d goes back", p.Reference, p.PaidMinor, refund.AmountMinor)
			case p.State == store.PaymentPaid && !refunded:
				paying++
				if p.PaidMinor != order.AmountMinor {
					t.Fatalf("order %s costs %d, payment %s brought %d and is not refunded", id, order.AmountMinor, p.Reference, p.PaidMinor)
				}
			}
			came += p.PaidMinor
			back += refund.AmountMinor
		}
		if want := map[bool]int{true: 1}[order.State == sale.Paid]; paying != want {
			t.Fatalf("order %s is %s and has %d payments that paid it, want %d", id, order.State, paying, want)
		}
	}
	return came, back
}
