package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Interleavings checks what the contract says of any order of events: whatever the interleaving of batches (with
// duplicates, slot clashes, redeliveries and expired holds), cancellations and sweeps, the figures of each sale
// agree with its rows.
func Interleavings(t *testing.T, s *store.Store) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{s: s, orders: map[sale.OrderID]store.Accepted{}}
		for i := range 2 {
			id := newSaleID()
			payWithin := []time.Duration{time.Millisecond, time.Hour}[i] // the first sale's orders are due at once
			OpenSale(t, s, id, rapid.Int64Range(1, 8).Draw(t, "stock"), payWithin)
			m.sales = append(m.sales, id)
		}
		t.Repeat(map[string]func(*rapid.T){
			"write":  m.write,
			"cancel": m.cancel,
			"sweep":  m.sweep,
			"":       m.checkFigures,
		})
		m.checkRows(t)
	})
}

type model struct {
	s      *store.Store
	sales  []string
	ids    []sale.OrderID // ascending
	orders map[sale.OrderID]store.Accepted
}

func (m *model) write(t *rapid.T) {
	batch := make([]store.Accepted, rapid.IntRange(1, 6).Draw(t, "batch"))
	for i := range batch {
		if len(m.ids) > 0 && rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
			batch[i] = m.orders[rapid.SampledFrom(m.ids).Draw(t, "redelivered")]
			continue
		}
		a := accepted(rapid.SampledFrom(m.sales).Draw(t, "sale"), fmt.Sprintf("u%d", rapid.IntRange(1, 4).Draw(t, "user")), rapid.Int64Range(1, 2).Draw(t, "slot"))
		a.Quantity = rapid.Int64Range(1, 3).Draw(t, "quantity")
		a.Expired = rapid.IntRange(0, 5).Draw(t, "expired") == 0
		batch[i] = a
		m.orders[a.Order], m.ids = a, append(m.ids, a.Order)
	}
	before := m.rows(t)
	report, err := m.s.WriteOrders(context.Background(), batch)
	if err != nil {
		t.Fatalf("WriteOrders: %v", err)
	}
	after := m.rows(t)
	for i, result := range report.Results {
		old, had := before[batch[i].Order]
		row, has := after[batch[i].Order]
		switch {
		case had && (result.Outcome != store.Known || row.State != old.State):
			t.Fatalf("order %s was %s, is %s, the report says %+v", batch[i].Order, old.State, row.State, result)
		case !had && result.Outcome == store.OverCeiling && has:
			t.Fatalf("order %s has a row, the report says %+v", batch[i].Order, result)
		case !had && result.Outcome != store.OverCeiling && (!has || row.State != result.State):
			t.Fatalf("order %s has row %v, the report says %+v", batch[i].Order, row.State, result)
		}
	}
}

func (m *model) rows(t *rapid.T) map[sale.OrderID]store.Order {
	rows, err := m.s.OrdersByIDs(context.Background(), m.ids)
	if err != nil {
		t.Fatalf("%v", err)
	}
	byID := make(map[sale.OrderID]store.Order, len(rows))
	for _, row := range rows {
		byID[row.ID] = row
	}
	return byID
}

func (m *model) cancel(t *rapid.T) {
	if len(m.ids) == 0 {
		t.Skip("no order yet")
	}
	id := rapid.SampledFrom(m.ids).Draw(t, "cancelled")
	before, had := m.rows(t)[id]
	_, err := m.s.CancelOrder(context.Background(), id, m.orders[id].User)
	switch {
	case !had && !errors.Is(err, store.ErrNotFound),
		had && before.State == sale.Unpaid && err != nil,
		had && before.State != sale.Unpaid && !errors.Is(err, store.ErrNotCancellable):
		t.Fatalf("cancelling order %s (row %v, %s): %v", id, had, before.State, err)
	}
}

func (m *model) sweep(t *rapid.T) {
	if _, err := m.s.CancelDue(context.Background(), rapid.IntRange(1, 4).Draw(t, "limit")); err != nil {
		t.Fatalf("CancelDue: %v", err)
	}
}

func (m *model) checkFigures(t *rapid.T) {
	for _, id := range m.sales {
		CheckSale(t, m.s, id)
	}
}

func (m *model) checkRows(t *rapid.T) {
	for _, id := range m.sales {
		mine := slices.DeleteFunc(slices.Clone(m.ids), func(o sale.OrderID) bool { return m.orders[o].Sale != id })
		CheckSale(t, m.s, id, mine...)
	}
}
