package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

func paying() store.PaymentTerms {
	return store.PaymentTerms{Provider: "bank", Margin: 30 * time.Second, AskAfter: time.Hour}
}

// priced opens a sale and writes one order of it.
func priced(t *testing.T, s *store.Store, payWithin time.Duration) store.Accepted {
	t.Helper()
	id := newSaleID()
	OpenSale(t, s, id, 10, payWithin)
	a := accepted(id, "u1", 1)
	write(t, s, []store.Accepted{a}, store.Written)
	return a
}

func yuan(amount int64) store.Money {
	return store.Money{AmountMinor: amount, Currency: "CNY", At: time.Now()}
}

func testPayments(t *testing.T, s *store.Store) {
	ctx := context.Background()
	a := priced(t, s, time.Hour)
	_, _, err := s.BeginPayment(ctx, a.Order, "u2", paying())
	wantError(t, err, store.ErrNotFound)
	order, p, err := s.BeginPayment(ctx, a.Order, "u1", paying())
	must(t, err)
	if p.AmountMinor != price || !p.ExpiresAt.Before(order.Deadline) || p.State != store.PaymentOpen || p.CheckAt == nil {
		t.Fatalf("begun: %+v of %+v", p, order)
	}
	must(t, s.SetPaymentPage(ctx, p.ID, "/pay/1"))
	_, again, err := s.BeginPayment(ctx, a.Order, "u1", paying())
	must(t, err)
	if again.ID != p.ID || again.Page != "/pay/1" {
		t.Fatalf("pressed again: %+v, want payment %d", again, p.ID)
	}
	_, err = s.ReceivePayment(ctx, "bank", "nothing", yuan(price))
	wantError(t, err, store.ErrNotFound)
	_, err = s.ReceivePayment(ctx, "other", p.Reference, yuan(price))
	wantError(t, err, store.ErrNotFound)
	for i := range 3 {
		r, err := s.ReceivePayment(ctx, "bank", p.Reference, yuan(price))
		must(t, err)
		if r.New != (i == 0) || r.Refund != "" || r.Order.State != sale.Paid {
			t.Fatalf("time %d: %+v", i, r)
		}
	}
	_, err = s.CancelOrder(ctx, a.Order, "u1")
	wantError(t, err, store.ErrNotCancellable)
	_, _, err = s.BeginPayment(ctx, a.Order, "u1", paying())
	wantError(t, err, store.ErrNotPayable)
	must(t, s.ClosePayment(ctx, p.ID, "late word")) // paid is final
	state(t, s, a.Order, sale.Paid)
	CheckMoney(t, s, a.Order)
	CheckSale(t, s, a.Sale, a.Order)
}

// testLateMoney: money for an order that no longer waits for it, of a wrong amount, or a second time,
// goes back; once, however often it is told.
func testLateMoney(t *testing.T, s *store.Store) {
	ctx := context.Background()
	cancelled, short := priced(t, s, time.Hour), priced(t, s, time.Hour)
	_, late, err := s.BeginPayment(ctx, cancelled.Order, "u1", paying())
	must(t, err)
	_, err = s.CancelOrder(ctx, cancelled.Order, "u1")
	must(t, err)
	must(t, s.ClosePayment(ctx, late.ID, "expired")) // the provider changes its mind later
	_, less, err := s.BeginPayment(ctx, short.Order, "u1", paying())
	must(t, err)
	for range 2 {
		for reference, amount := range map[string]int64{late.Reference: price, less.Reference: price - 1} {
			r, err := s.ReceivePayment(ctx, "bank", reference, yuan(amount))
			must(t, err)
			if r.New && r.Refund == "" || r.Order.State == sale.Paid {
				t.Fatalf("%s: %+v, want a refund", reference, r)
			}
		}
	}
	state(t, s, short.Order, sale.Unpaid)
	if came, back := CheckMoney(t, s, cancelled.Order, short.Order); came != 2*price-1 || back != 2*price-1 {
		t.Fatalf("%d came, %d go back, want %d each", came, back, 2*price-1)
	}
	due, err := s.ClaimRefunds(ctx, 10, time.Hour)
	must(t, err)
	if len(due) != 2 || due[0].Attempts != 1 || due[0].Reason == "" {
		t.Fatalf("claimed %+v", due)
	}
	must(t, s.SettleRefund(ctx, due[0].ID, store.RefundParked, "refused", 0))
	must(t, s.SettleRefund(ctx, due[0].ID, store.RefundDone, "given back", 0))   // says another consumer, which asked meanwhile
	must(t, s.SettleRefund(ctx, due[0].ID, store.RefundDue, "too late", 0))      // done is final
	must(t, s.SettleRefund(ctx, due[1].ID, store.RefundDue, "no answer\xff", 0)) // a provider's words may be any bytes
	again, err := s.ClaimRefunds(ctx, 10, time.Hour)
	must(t, err)
	if len(again) != 1 || again[0].ID != due[1].ID || again[0].Attempts != 2 || again[0].Answer != "no answer" {
		t.Fatalf("claimed again: %+v", again)
	}
	parkedRefund(t, s, due[0].ID, due[1].ID)
	open, err := s.ListRefunds(ctx, store.RefundDue, 0, 10)
	must(t, err)
	if len(open) != 1 || open[0].ID != due[1].ID {
		t.Fatalf("open refunds: %+v", open)
	}
}

// testDueWithPayment: a deadline waits for an open payment, not for one that is closed or doubtful.
func testDueWithPayment(t *testing.T, s *store.Store) {
	ctx := context.Background()
	const payWithin = 1500 * time.Millisecond
	id := newSaleID()
	OpenSale(t, s, id, 10, payWithin)
	var batch []store.Accepted
	var payments []store.Payment
	for i := range 3 {
		a := accepted(id, fmt.Sprintf("u%d", i), 1)
		write(t, s, []store.Accepted{a}, store.Written)
		_, p, err := s.BeginPayment(ctx, a.Order, a.User, paying())
		must(t, err)
		batch, payments = append(batch, a), append(payments, p)
	}
	ids := []sale.OrderID{batch[0].Order, batch[1].Order, batch[2].Order}
	report, err := s.CancelDueOrders(ctx, ids)
	must(t, err)
	if report.Cancelled != 0 || report.Unpaid != 3 || report.DueIn <= 0 || report.DueIn > payWithin {
		t.Fatalf("before the deadline: %+v", report)
	}
	servicetest.Eventually(t, 30*time.Second, "the deadlines have passed", func() bool {
		report, err = s.CancelDueOrders(ctx, ids)
		must(t, err)
		return report.DueIn < -payWithin/4 // the last one's, too
	})
	if sweep, err := s.CancelDue(ctx, 10); err != nil || sweep.Cancelled+report.Cancelled != 0 || report.Unpaid != 3 {
		t.Fatalf("with open payments: %+v, %+v, %v", report, sweep, err)
	}
	must(t, s.ClosePayment(ctx, payments[0].ID, "expired"))
	must(t, s.RetryPayment(ctx, payments[1].ID, 0, "no answer", true))
	report, err = s.CancelDueOrders(ctx, ids)
	must(t, err)
	if report.Cancelled != 2 || report.Unpaid != 1 {
		t.Fatalf("one closed, one doubtful: %+v", report)
	}
	claimed, err := s.ClaimPayments(ctx, 10, time.Hour)
	must(t, err)
	if len(claimed) != 1 || claimed[0].ID != payments[1].ID || claimed[0].Attempts != 1 {
		t.Fatalf("to be asked: %+v, want the doubtful one", claimed)
	}
	r, err := s.ReceivePayment(ctx, "bank", payments[2].Reference, yuan(price)) // after the deadline, and first
	must(t, err)
	if r.Order.State != sale.Paid {
		t.Fatalf("paid before anybody cancelled: %+v", r)
	}
	CheckMoney(t, s, ids...)
	CheckSale(t, s, id, ids...)
}

// testPaymentRace: of payment, cancellation and deadline, at the same moment and each more than once,
// one wins; the money agrees with it.
func testPaymentRace(t *testing.T, s *store.Store) {
	ctx := context.Background()
	const orders, payWithin = 24, 2 * time.Second
	id := newSaleID()
	OpenSale(t, s, id, orders, payWithin)
	all := make([]sale.OrderID, orders)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range all {
		a := accepted(id, fmt.Sprintf("u%d", i), 1)
		all[i] = a.Order
		write(t, s, []store.Accepted{a}, store.Written)
		_, p, err := s.BeginPayment(ctx, a.Order, a.User, paying())
		must(t, err)
		for range 2 {
			wg.Go(func() {
				<-start
				if _, err := s.ReceivePayment(ctx, "bank", p.Reference, yuan(price)); err != nil {
					t.Errorf("receiving: %v", err)
				}
			})
		}
		wg.Go(func() {
			<-start
			_, _ = s.CancelOrder(ctx, a.Order, a.User) // may lose; the checks below say whether it did
		})
	}
	close(start)
	wg.Wait()
	paid := 0
	for _, id := range all {
		order, err := s.OrderByID(ctx, id)
		must(t, err)
		if order.State != sale.Paid && order.State != sale.Cancelled {
			t.Fatalf("order %s is %s", id, order.State)
		}
		if order.State == sale.Paid {
			paid++
		}
	}
	if came, back := CheckMoney(t, s, all...); came != orders*price || came-back != int64(paid)*price {
		t.Fatalf("%d orders paid, %d came, %d go back", paid, came, back)
	}
	CheckSale(t, s, id, all...)
}

// parkedRefund: what the provider refuses waits for an operator, who has it asked for again, or says how he gave it
// back; nothing else is touched by him. The refund is due at the end.
func parkedRefund(t *testing.T, s *store.Store, done, id int64) {
	t.Helper()
	ctx := context.Background()
	if r, changed, err := s.RetryRefund(ctx, id); err != nil || changed || r.State != store.RefundDue || r.Attempts != 2 {
		t.Fatalf("a refund that is due was retried: %+v, %v, %v", r, changed, err)
	}
	if r, changed, err := s.RetryRefund(ctx, done); err != nil || changed || r.State != store.RefundDone {
		t.Fatalf("a refund that is done was retried: %+v, %v, %v", r, changed, err)
	}
	_, _, err := s.RetryRefund(ctx, 1<<40)
	wantError(t, err, store.ErrNotFound)
	must(t, s.SettleRefund(ctx, id, store.RefundParked, "refused", 0))
	must(t, s.SettleRefund(ctx, id, store.RefundDue, "no answer", 0)) // of a consumer whose lease had ended
	if claimed, err := s.ClaimRefunds(ctx, 10, time.Hour); err != nil || len(claimed) != 0 {
		t.Fatalf("parked, and yet claimed: %+v, %v", claimed, err)
	}
	if r, changed, err := s.RetryRefund(ctx, id); err != nil || !changed || r.State != store.RefundDue || r.Attempts != 0 {
		t.Fatalf("retried: %+v, %v, %v", r, changed, err)
	}
	if claimed, err := s.ClaimRefunds(ctx, 10, time.Hour); err != nil || len(claimed) != 1 || claimed[0].ID != id {
		t.Fatalf("retried, and claimed %+v, %v", claimed, err)
	}
	if r, changed, err := s.FinishRefund(ctx, id, "too early"); err != nil || changed || r.State != store.RefundDue {
		t.Fatalf("a refund that is asked for was finished by hand: %+v, %v, %v", r, changed, err)
	}
	must(t, s.SettleRefund(ctx, done, store.RefundParked, "refused", 0))
	if parked, err := s.ListRefunds(ctx, store.RefundParked, 0, 10); err != nil || len(parked) != 0 {
		t.Fatalf("parked after it was done: %+v, %v", parked, err)
	}
}
