package storetest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

func testRedelivery(t *testing.T, s *store.Store) {
	id := newSaleID()
	OpenSale(t, s, id, 10, time.Hour)
	a, b := accepted(id, "u1", 1), accepted(id, "u2", 1)
	a.Key, a.Quantity = "key-1", 2
	write(t, s, []store.Accepted{b, a, a}, store.Written, store.Written, store.Known)
	write(t, s, []store.Accepted{a, b}, store.Known, store.Known)
	order := state(t, s, a.Order, sale.Unpaid)
	if order.Binding() != a.Binding || order.AmountMinor != 2*1999 || order.Currency != "CNY" || order.RequestKey != "key-1" {
		t.Fatalf("the order is %+v, accepted %+v", order, a)
	}
	if wait := order.Deadline.Sub(order.CreatedAt); wait != time.Hour {
		t.Fatalf("the deadline is %s after the order, want 1h", wait)
	}
	CheckSale(t, s, id, a.Order, b.Order)
}

func testMismatch(t *testing.T, s *store.Store) {
	id := newSaleID()
	OpenSale(t, s, id, 10, time.Hour)
	a := accepted(id, "u1", 1)
	for what, spoil := range map[string]func(*store.Accepted){
		"user":     func(x *store.Accepted) { x.User = "u2" },
		"quantity": func(x *store.Accepted) { x.Quantity = 2 },
		"slot":     func(x *store.Accepted) { x.Slot = 2 },
		"sale":     func(x *store.Accepted) { x.Sale = "other" },
	} {
		other := a
		spoil(&other)
		report := write(t, s, []store.Accepted{a, other}, []store.Outcome{store.Written, store.Known}[min(1, seen(t, s, a.Order))], store.Mismatch)
		if report.Results[1].Why == "" {
			t.Fatalf("%s: a mismatch within the batch has no reason", what)
		}
		report = write(t, s, []store.Accepted{other}, store.Mismatch)
		if report.Results[0].Why == "" {
			t.Fatalf("%s: a mismatch with the row has no reason", what)
		}
	}
	gone := a
	gone.Expired = true // the counter says the opposite of an active row
	write(t, s, []store.Accepted{gone}, store.Mismatch)
	state(t, s, a.Order, sale.Unpaid)
	CheckSale(t, s, id, a.Order)
}

func seen(t *testing.T, s *store.Store, id sale.OrderID) int {
	t.Helper()
	rows, err := s.OrdersByIDs(context.Background(), []sale.OrderID{id})
	must(t, err)
	return len(rows)
}

// testSlotClash: another id holds the slot. The offending rows alone are refused.
func testSlotClash(t *testing.T, s *store.Store) {
	id := newSaleID()
	OpenSale(t, s, id, 10, time.Hour)
	first := accepted(id, "u1", 1)
	write(t, s, []store.Accepted{first}, store.Written)
	clash, fine := accepted(id, "u1", 1), accepted(id, "u2", 1)
	inBatch := accepted(id, "u2", 1)
	report := write(t, s, []store.Accepted{clash, fine, inBatch}, store.Rejected, store.Written, store.Rejected)
	if report.Attempts < 2 || !strings.Contains(report.Results[0].Why, first.Order.String()) {
		t.Fatalf("the report is %+v", report)
	}
	rejected := state(t, s, clash.Order, sale.Rejected)
	if rejected.Active() || rejected.Reason == "" {
		t.Fatalf("the rejected order is %+v", rejected)
	}
	row, err := s.OutboxByID(context.Background(), clash.Order)
	must(t, err)
	if row.State != store.OutboxDue || row.SaleID != id {
		t.Fatalf("the outbox row is %+v", row)
	}
	write(t, s, []store.Accepted{clash}, store.Known)
	CheckSale(t, s, id, first.Order, clash.Order, fine.Order, inBatch.Order)

	_, err = s.CancelOrder(context.Background(), first.Order, "u1")
	must(t, err)
	reuse := accepted(id, "u1", 1) // the slot is free again
	write(t, s, []store.Accepted{reuse}, store.Written)
	CheckSale(t, s, id, first.Order, reuse.Order)
}

func testExpired(t *testing.T, s *store.Store) {
	id := newSaleID()
	OpenSale(t, s, id, 10, time.Hour)
	late, taken := accepted(id, "u1", 1), accepted(id, "u1", 1)
	late.Expired = true
	write(t, s, []store.Accepted{late, taken}, store.Written, store.Written)
	state(t, s, late.Order, sale.OrderExpired)
	write(t, s, []store.Accepted{late}, store.Known)
	if _, err := s.CancelOrder(context.Background(), taken.Order, "u1"); err != nil {
		t.Fatal(err)
	}
	taken.Expired = true // released by now, which the ledger knows
	write(t, s, []store.Accepted{taken}, store.Known)
	state(t, s, taken.Order, sale.Cancelled)
	revived := late
	revived.Expired = false
	write(t, s, []store.Accepted{revived}, store.Mismatch)
	state(t, s, late.Order, sale.OrderExpired)
	CheckSale(t, s, id, late.Order, taken.Order)
}

// testOverCeiling: one sale diverges, the others of the batch are written.
func testOverCeiling(t *testing.T, s *store.Store) {
	ctx := context.Background()
	full, fine := newSaleID(), newSaleID()
	OpenSale(t, s, full, 2, time.Hour)
	OpenSale(t, s, fine, 2, time.Hour)
	one := accepted(full, "u0", 1)
	write(t, s, []store.Accepted{one}, store.Written)
	a, b, c := accepted(full, "u1", 1), accepted(full, "u2", 1), accepted(fine, "u1", 1)
	late := accepted(full, "u3", 1)
	late.Expired = true
	report := write(t, s, []store.Accepted{one, a, b, c, late},
		store.Known, store.OverCeiling, store.OverCeiling, store.Written, store.Written)
	if !slices.Equal(report.Paused, []string{full}) {
		t.Fatalf("paused %v, want %s", report.Paused, full)
	}
	if n := seen(t, s, a.Order) + seen(t, s, b.Order); n != 0 {
		t.Fatalf("%d orders of the diverged sale were written", n)
	}
	diverged, err := s.SaleByID(ctx, full)
	must(t, err)
	changes, err := s.ChangesAfter(ctx, full, 0)
	must(t, err)
	last := changes[len(changes)-1]
	if diverged.Intent != store.IntentPaused || diverged.Alarm == "" || last.Command != store.CommandPause || last.Revision != diverged.Revision {
		t.Fatalf("the diverged sale is %+v, its last change %+v", diverged, last)
	}
	write(t, s, []store.Accepted{a}, store.Written) // fits now: one unit is left under the ceiling
	write(t, s, []store.Accepted{b}, store.OverCeiling)
	again, err := s.SaleByID(ctx, full)
	must(t, err)
	if again.Revision != diverged.Revision {
		t.Fatalf("paused twice: revision %d, then %d", diverged.Revision, again.Revision)
	}
	CheckSale(t, s, full, one.Order, a.Order, b.Order, late.Order)
	CheckSale(t, s, fine, c.Order)
}

func testNoSale(t *testing.T, s *store.Store) {
	id := newSaleID()
	OpenSale(t, s, id, 2, time.Hour)
	write(t, s, []store.Accepted{accepted("nowhere", "u1", 1), accepted(id, "u1", 1)}, store.NoSale, store.Written)
}

func testBadBatches(t *testing.T, s *store.Store) {
	ctx := context.Background()
	if report, err := s.WriteOrders(ctx, nil); err != nil || len(report.Results) != 0 {
		t.Fatalf("an empty batch: %+v, %v", report, err)
	}
	if _, err := s.WriteOrders(ctx, make([]store.Accepted, store.MaxBatch+1)); err == nil {
		t.Fatal("a batch beyond the limit was taken")
	}
	if _, err := s.WriteOrders(ctx, []store.Accepted{{}}); err == nil {
		t.Fatal("an order without a binding was taken")
	}
	if _, err := s.OrdersByIDs(ctx, make([]sale.OrderID, store.MaxPage+1)); err == nil {
		t.Fatal("a list of ids beyond the limit was taken")
	}
}

func testListings(t *testing.T, s *store.Store) {
	ctx := context.Background()
	id := newSaleID()
	OpenSale(t, s, id, 10, time.Hour)
	user := "lister"
	var batch []store.Accepted
	for slot := range int64(5) {
		batch = append(batch, accepted(id, user, slot+1))
	}
	write(t, s, batch, store.Written, store.Written, store.Written, store.Written, store.Written)
	if _, err := s.CancelOrder(ctx, batch[1].Order, user); err != nil {
		t.Fatal(err)
	}
	want := func(rows []store.Order, err error, indexes ...int) {
		t.Helper()
		must(t, err)
		var got, wanted []sale.OrderID
		for _, row := range rows {
			got = append(got, row.ID)
		}
		for _, i := range indexes {
			wanted = append(wanted, batch[i].Order)
		}
		if !slices.Equal(got, wanted) {
			t.Fatalf("listed %v, want %v", got, wanted)
		}
	}
	rows, err := s.OrdersByUser(ctx, user, 0, 2)
	want(rows, err, 4, 3)
	rows, err = s.OrdersByUser(ctx, user, batch[3].Order, 10)
	want(rows, err, 2, 1, 0)
	rows, err = s.ActiveOrders(ctx, id, 0, 2)
	want(rows, err, 0, 2)
	rows, err = s.ActiveOrders(ctx, id, batch[2].Order, 2)
	want(rows, err, 3, 4)
	rows, err = s.OrdersByIDs(ctx, []sale.OrderID{batch[4].Order, newID(), batch[0].Order})
	want(rows, err, 0, 4)
	totals, err := s.SaleTotals(ctx, id)
	must(t, err)
	if totals.ActiveOrders != 4 || totals.Orders[sale.Cancelled] != 1 || totals.Orders[sale.Unpaid] != 4 {
		t.Fatalf("totals %+v", totals)
	}
	_, err = s.SaleTotals(ctx, "nowhere")
	wantError(t, err, store.ErrNotFound)
	sales, err := s.Sales(ctx)
	must(t, err)
	if !slices.ContainsFunc(sales, func(x store.Sale) bool { return x.ID == id && x.Sold == 4 }) {
		t.Fatalf("the list of sales lacks %s with 4 sold", id)
	}
}
