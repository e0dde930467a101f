package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// testConcurrent: several consumers write overlapping batches over several sales, in different
// orders, while buyers cancel and the sweep runs.
func testConcurrent(t *testing.T, s *store.Store) {
	const consumers, orders, users, batchSize = 4, 240, 200, 30
	sales := []string{newSaleID(), newSaleID(), newSaleID()}
	OpenSale(t, s, sales[0], 1000, time.Hour)
	OpenSale(t, s, sales[1], 1000, time.Millisecond)
	OpenSale(t, s, sales[2], 40, time.Hour) // diverges on the way
	all := make([]store.Accepted, orders)
	for i := range all {
		all[i] = accepted(sales[i%len(sales)], fmt.Sprintf("u%d", i%users), 1) // the last 40 clash with the first
	}
	var wg sync.WaitGroup
	for c := range consumers {
		wg.Go(func() { consume(t, s, all, uint64(c), batchSize) })
	}
	wg.Go(func() { disturb(t, s, all) })
	wg.Wait()
	ids := make([]sale.OrderID, len(all))
	for i := range all {
		ids[i] = all[i].Order
	}
	for i, id := range sales {
		var mine []sale.OrderID
		for j := i; j < len(ids); j += len(sales) {
			mine = append(mine, ids[j])
		}
		CheckSale(t, s, id, mine...)
	}
	rows, err := s.OrdersByIDs(context.Background(), ids)
	must(t, err)
	byID := map[sale.OrderID]bool{}
	for _, row := range rows {
		byID[row.ID] = true
	}
	for _, a := range all {
		if a.Sale != sales[2] && !byID[a.Order] {
			t.Fatalf("order %s of sale %s has no row", a.Order, a.Sale)
		}
	}
}

// consume writes all orders, in a random order of its own, each batch overlapping the next.
func consume(t *testing.T, s *store.Store, all []store.Accepted, seed uint64, batchSize int) {
	random := rand.New(rand.NewPCG(seed, 1))
	mine := make([]store.Accepted, len(all))
	for i, j := range random.Perm(len(all)) {
		mine[i] = all[j]
	}
	for at := 0; at < len(mine); at += batchSize / 2 {
		batch := mine[at:min(at+batchSize, len(mine))]
		report, err := s.WriteOrders(context.Background(), batch)
		if errors.Is(err, store.ErrBusy) {
			at -= batchSize / 2 // the same batch again, as a consumer does
			continue
		}
		if err != nil {
			t.Errorf("WriteOrders: %v", err)
			return
		}
		for i, result := range report.Results {
			if result.Outcome == store.Mismatch || result.Outcome == store.NoSale {
				t.Errorf("order %s: %+v", batch[i].Order, result)
			}
		}
	}
}

func disturb(t *testing.T, s *store.Store, all []store.Accepted) {
	for i, a := range all {
		if _, err := s.CancelOrder(context.Background(), a.Order, a.User); err != nil &&
			!errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrNotCancellable) && !errors.Is(err, store.ErrBusy) {
			t.Errorf("CancelOrder: %v", err)
		}
		if i%10 == 0 {
			if _, err := s.CancelDue(context.Background(), 20); err != nil && !errors.Is(err, store.ErrBusy) {
				t.Errorf("CancelDue: %v", err)
			}
		}
	}
}

// testCancelled: a context that ends anywhere in a transaction leaves nothing half-done and no
// connection behind, and the same batch can be written again.
func testCancelled(t *testing.T, s *store.Store) {
	id := newSaleID()
	OpenSale(t, s, id, 10_000, time.Hour)
	var ids []sale.OrderID
	for round := range 60 {
		batch := make([]store.Accepted, 20)
		for i := range batch {
			batch[i] = accepted(id, fmt.Sprintf("u%d-%d", round, i), 1)
			ids = append(ids, batch[i].Order)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(round)*100*time.Microsecond)
		cut, err := s.WriteOrders(ctx, batch)
		if err == nil && cut.Count(store.Written) != len(batch) {
			t.Fatalf("round %d: %+v", round, cut)
		}
		if err == nil {
			if _, err := s.CancelOrder(ctx, batch[0].Order, batch[0].User); err != nil && ctx.Err() == nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		cancel()
		report, err := s.WriteOrders(context.Background(), batch)
		must(t, err)
		if n := report.Count(store.Written) + report.Count(store.Known); n != len(batch) {
			t.Fatalf("round %d: %+v", round, report)
		}
		if w := report.Count(store.Written); w != 0 && w != len(batch) {
			t.Fatalf("round %d: %d of a batch were written before its context ended", round, len(batch)-w)
		}
	}
	CheckSale(t, s, id, ids...)
}
