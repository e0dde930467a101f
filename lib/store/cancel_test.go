package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// diverge opens a sale with n unpaid orders of 2 units and leaves 1 unit in its sold count.
func diverge(t *testing.T, s *store.Store, id string, firstOrder int64, n int, payWithin time.Duration) []store.Accepted {
	t.Helper()
	storetest.OpenSale(t, s, id, 100, payWithin)
	batch := make([]store.Accepted, n)
	for i := range batch {
		batch[i] = store.Accepted{
			Binding: sale.Binding{
				Order: sale.MakeOrderID(firstOrder+int64(i), 1, 0), Sale: id, User: fmt.Sprintf("u%d", i), Quantity: 2, Slot: 1,
			},
			AcceptedAt: time.Now(),
		}
	}
	if report, err := s.WriteOrders(context.Background(), batch); err != nil || report.Count(store.Written) != n {
		t.Fatalf("writing the orders: %+v, %v", report, err)
	}
	store.Execute(t, s, "UPDATE sales SET sold = 1 WHERE id = ?", id)
	return batch
}

func wantStopped(t *testing.T, s *store.Store, id string) {
	t.Helper()
	current, err := s.SaleByID(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := s.ChangesAfter(context.Background(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	if current.Intent != store.IntentPaused || current.Alarm == "" || len(changes) != 2 || changes[1].Command != store.CommandPause {
		t.Fatalf("the diverged sale is %+v, its changes %+v; want it paused once, with an alarm", current, changes)
	}
}

func wantState(t *testing.T, s *store.Store, want sale.OrderState, batch ...store.Accepted) {
	t.Helper()
	for _, a := range batch {
		if order, err := s.OrderByID(context.Background(), a.Order); err != nil || order.State != want {
			t.Fatalf("order %s is %s (%v), want %s", a.Order, order.State, err, want)
		}
	}
}

// TestSweepPastDivergence: sales whose sold counts contradict their orders are paused with an alarm,
// and the sweep goes on with the others', however old the rows that it leaves.
func TestSweepPastDivergence(t *testing.T) {
	for name, configure := range databases {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			s := storetest.Open(t, configure(t))
			first := diverge(t, s, "a", 100, 3, time.Millisecond)
			second := diverge(t, s, "c", 200, 3, time.Millisecond)
			storetest.OpenSale(t, s, "b", 10, time.Millisecond)
			fine := store.Accepted{Binding: sale.Binding{Order: sale.MakeOrderID(300, 1, 0), Sale: "b", User: "u1", Quantity: 1, Slot: 1}}
			if _, err := s.WriteOrders(ctx, []store.Accepted{fine}); err != nil {
				t.Fatal(err)
			}
			var paused []string
			servicetest.Eventually(t, 30*time.Second, "the order of the sale that is right is cancelled", func() bool {
				report, err := s.CancelDue(ctx, 2) // the diverged sales' rows, which are older, fill every page
				if err != nil {
					t.Fatalf("CancelDue: %v", err)
				}
				paused = append(paused, report.Paused...)
				return report.Cancelled == 1
			})
			slices.Sort(paused)
			if !slices.Equal(paused, []string{"a", "c"}) {
				t.Fatalf("paused %v, want a and c, once each", paused)
			}
			for _, id := range []string{"a", "c"} {
				wantStopped(t, s, id)
			}
			wantState(t, s, sale.Unpaid, append(first, second...)...)
			wantState(t, s, sale.Cancelled, fine)
			storetest.CheckSale(t, s, "b", fine.Order)
			again, err := s.CancelDue(ctx, 2)
			if err != nil || again.Cancelled != 0 || len(again.Paused) != 0 {
				t.Fatalf("the next sweep: %+v, %v", again, err)
			}
			store.Execute(t, s, "UPDATE sales SET sold = 6 WHERE id = 'a'") // repaired
			for range 2 {
				if _, err := s.CancelDue(ctx, 2); err != nil {
					t.Fatal(err)
				}
			}
			wantState(t, s, sale.Cancelled, first...)
			storetest.CheckSale(t, s, "a", first[0].Order, first[1].Order, first[2].Order)
		})
	}
}

// TestCancelInDivergedSale: the buyer's cancellation fails as a divergence, and the sale is paused.
func TestCancelInDivergedSale(t *testing.T) {
	for name, configure := range databases {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, configure(t))
			batch := diverge(t, s, "a", 100, 2, time.Hour)
			for range 2 {
				_, err := s.CancelOrder(context.Background(), batch[0].Order, batch[0].User)
				if !errors.Is(err, store.ErrDiverged) {
					t.Fatalf("CancelOrder: %v, want ErrDiverged", err)
				}
			}
			wantStopped(t, s, "a")
			wantState(t, s, sale.Unpaid, batch...)
		})
	}
}
