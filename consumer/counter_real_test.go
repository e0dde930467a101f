package consumer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"headgate.example/consumer"
	"headgate.example/counter"
	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

// TestRealCounter runs the consumer against a counter with its log: reserve, consume (whose CONFIRM is
// the only one), cancel, and buy the freed units again.
func TestRealCounter(t *testing.T) {
	const stock = 20
	ctx, w := context.Background(), newWorld(t, stock, time.Hour)
	real := startCounter(t)
	now := time.Now().UnixMilli()
	terms := sale.Terms{
		ID: saleID, Revision: 1, Stock: stock, Limit: 1, OpensAt: now - 1000, HoldForMillis: 30_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	}
	w.eventually("the counter opens the sale", func() bool { return real.OpenSale(ctx, terms) == nil })
	if err := real.ResumeSale(ctx, saleID, 2); err != nil {
		t.Fatal(err)
	}
	w.start(consumer.WithCounter(real))
	var all []store.Accepted
	buy := func(user string) store.Accepted {
		t.Helper()
		r, err := real.Reserve(ctx, saleID, user, 1, "")
		if err != nil || r.Refused() {
			t.Fatalf("reserving for %s: %+v, %v", user, r, err)
		}
		a := store.Accepted{Binding: sale.Binding{Order: r.Order, Sale: saleID, User: user, Quantity: 1, Slot: r.Slot}}
		w.publishOrders(a)
		all = append(all, a)
		return a
	}
	for i := range stock {
		buy(fmt.Sprintf("u%d", i))
	}
	w.drained()
	w.states(sale.Unpaid, all...)
	for _, a := range all[:5] {
		if _, err := w.store.CancelOrder(ctx, a.Order, a.User); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("the counter has the units back", func() bool {
		info, err := real.SaleInfo(ctx, saleID)
		return err == nil && info.Available == 5 && info.Confirmed == stock-5
	})
	for i := range 5 { // the same buyers, whose slot is free again
		buy(fmt.Sprintf("u%d", i))
	}
	w.drained()
	w.states(sale.Unpaid, all[5:]...)
	w.states(sale.Cancelled, all[:5]...)
	info, err := real.SaleInfo(ctx, saleID)
	if err != nil || info.Confirmed != stock || info.Held != 0 || info.Available != 0 {
		t.Fatalf("the counter has %+v, %v", info, err)
	}
	w.check(all...)
}

func startCounter(t *testing.T) *client.Client {
	t.Helper()
	cfg := counter.DefaultConfig()
	cfg.Listen, cfg.RaftListen, cfg.DataDir, cfg.Bootstrap = "127.0.0.1:0", "", t.TempDir(), true
	ctx, cancel := context.WithCancel(context.Background())
	server, err := counter.Open(ctx, cfg, service.NewRuntime("counter", servicetest.Log(t)))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	cc := client.DefaultConfig()
	cc.Shards[0].Addresses = []string{server.Addr()}
	c, err := client.Open(cc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the counter: %v", err)
		}
	})
	return c
}
