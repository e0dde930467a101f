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
	for _, id := range ids {
		order, err := s.OrderByID(ctx, id)
		if err != nil {
			continue // no row: nothing can have been paid for it
		}
		payments, err := s.PaymentsOfOrder(ctx, id)
		if err != nil {
			t.Fatalf("%v", err)
		}
		refunds := refundsOf(t, s, payments)
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

// refundsOf gives the refunds of payments, by payment.
func refundsOf(t failer, s *store.Store, payments []store.Payment) map[int64]store.Refund {
	t.Helper()
	ids := make([]int64, len(payments))
	for i, p := range payments {
		ids[i] = p.ID
	}
	rows, err := s.RefundsOf(context.Background(), ids...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	refunds := map[int64]store.Refund{}
	for _, r := range rows {
		if _, twice := refunds[r.PaymentID]; twice {
			t.Fatalf("payment %d has two refunds", r.PaymentID)
		}
		refunds[r.PaymentID] = r
	}
	return refunds
}
