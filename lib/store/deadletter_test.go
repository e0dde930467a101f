package store_test

import (
	"context"
	"testing"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// TestDiscardWhileConsumed: a consumer that writes the order between the look for its row and the
// insert wins; only the letter goes. On SQLite nobody comes between: a transaction begins by locking.
func TestDiscardWhileConsumed(t *testing.T) {
	ctx := context.Background()
	s := storetest.MySQL(t)
	storetest.OpenSale(t, s, "1", 10, time.Hour)
	accepted := store.Accepted{
		Binding:    sale.Binding{Order: sale.MakeOrderID(1, 1, 0), Sale: "1", User: "u1", Quantity: 1, Slot: 1},
		AcceptedAt: time.Now(),
	}
	if err := s.AddDeadLetter(ctx, store.DeadLetter{OrderID: accepted.Order, Topic: "orders", Body: []byte("x"), Reason: "why"}); err != nil {
		t.Fatal(err)
	}
	letters, err := s.ListDeadLetters(ctx, 0, 0)
	if err != nil || len(letters) != 1 {
		t.Fatalf("the dead letters are %+v, %v", letters, err)
	}
	store.BeforeInsert(t, s, func() {
		if report, err := s.WriteOrders(ctx, []store.Accepted{accepted}); err != nil || report.Count(store.Written) != 1 {
			t.Errorf("the consumer's write: %+v, %v", report, err)
		}
	})
	if rejected, err := s.DiscardDeadLetter(ctx, letters[0].ID, &accepted); err != nil || rejected {
		t.Fatalf("DiscardDeadLetter: %v, %v; want the consumer's order to stay", rejected, err)
	}
	order, err := s.OrderByID(ctx, accepted.Order)
	if err != nil || order.State != sale.Unpaid {
		t.Fatalf("the order is %+v, %v; want it as the consumer wrote it", order, err)
	}
	if letters, err = s.ListDeadLetters(ctx, 0, 0); err != nil || len(letters) != 0 {
		t.Fatalf("dead letters after the discard: %+v, %v", letters, err)
	}
	storetest.CheckSale(t, s, "1", accepted.Order)
}
