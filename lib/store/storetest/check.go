package storetest

import (
	"context"
	"errors"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// failer is what a *rapid.T and a testing.TB share.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

const price = 1999 // of one unit, in every sale that OpenSale opens

// OpenSale creates a sale of this stock that the ledger intends to be open. Orders are to be paid
// within payWithin; a millisecond makes them due at once.
func OpenSale(t failer, s *store.Store, id string, stock int64, payWithin time.Duration) {
	t.Helper()
	ctx := context.Background()
	created := store.Sale{
		ID: id, Title: "a thing", PriceMinor: price, Currency: "CNY", Stock: stock,
		OpensAt: time.Now(), HoldFor: 30 * time.Second, PayWithin: payWithin,
	}
	if err := s.CreateSale(ctx, &created); err != nil {
		t.Fatalf("creating sale %s: %v", id, err)
	}
	_, err := s.ChangeSale(ctx, id, func(store.Sale) ([]store.SaleChange, error) {
		return []store.SaleChange{{Command: store.CommandResume}}, nil
	})
	if err != nil {
		t.Fatalf("opening sale %s: %v", id, err)
	}
}

// CheckSale fails the test unless, in the ledger, sold = sum of the active orders = sum of the
// journal, not above the ceiling; and, for the orders named, that each freed or rejected one has
// exactly the rows that give its units back, and no other one has any. With every order of the sale
// named, the rows are complete, too.
func CheckSale(t failer, s *store.Store, saleID string, ids ...sale.OrderID) {
	t.Helper()
	ctx := context.Background()
	totals, err := s.SaleTotals(ctx, saleID)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if totals.Sold != totals.ActiveUnits || totals.Sold != totals.JournalUnits || totals.Sold > totals.StockCeiling || totals.Sold < 0 {
		t.Fatalf("sale %s: sold %d, active units %d, journal %d, ceiling %d: want the first three equal and not above the last",
			saleID, totals.Sold, totals.ActiveUnits, totals.JournalUnits, totals.StockCeiling)
	}
	for _, id := range ids {
		checkOrder(t, s, id)
	}
}

func checkOrder(t failer, s *store.Store, id sale.OrderID) {
	t.Helper()
	ctx := context.Background()
	order, err := s.OrderByID(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	rows, err := s.Journal(ctx, order.SaleID, id-1, 2)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var sold, freed, rejected int
	var units int64
	for _, row := range rows {
		if row.OrderID != id {
			continue
		}
		units += row.Units
		switch row.Kind {
		case store.JournalSold:
			sold++
		case store.JournalFreed:
			freed++
		case store.JournalRejected:
			rejected++
		}
	}
	_, err = s.OutboxByID(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("%v", err)
	}
	got := [4]int{sold, freed, rejected, 0}
	if err == nil {
		got[3] = 1
	}
	var want [4]int // journal rows sold, freed, rejected; outbox rows
	switch order.State {
	case sale.Unpaid, sale.Paid:
		want = [4]int{1, 0, 0, 0}
	case sale.Cancelled:
		want = [4]int{1, 1, 0, 1}
	case sale.Rejected:
		want = [4]int{0, 0, 1, 1}
	}
	if got != want {
		t.Fatalf("order %s is %s: journal rows sold, freed, rejected and outbox rows are %v, want %v", id, order.State, got, want)
	}
	active := order.State == sale.Unpaid || order.State == sale.Paid
	if order.Active() != active || active && units != order.Quantity || !active && units != 0 {
		t.Fatalf("order %s is %s: active %v, journal units %d of quantity %d", id, order.State, order.Active(), units, order.Quantity)
	}
}
