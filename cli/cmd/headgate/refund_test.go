package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.example/cli"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

// TestRefundCommands: money comes for a cancelled order, of which the provider knows nothing, so that it refuses to give it
// back. It is listed, refused once more when it is retried, and gone when an operator has settled it.
func TestRefundCommands(t *testing.T) {
	config, _ := system(t)
	on := func(args ...string) result {
		return command(append(append([]string{"refunds"}, args...), "--config", config)...)
	}
	cfg, err := cli.LoadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	on("list").want(t, 0, "REFUND")
	on("retry", "--all").want(t, 0, "no refund is parked")
	strangeMoney(t, cfg, 1, "sandbox")
	listed := func(args ...string) (refunds []cli.Refund) {
		r := on(append([]string{"list", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(r.out), &refunds); r.code != 0 || err != nil {
			t.Fatalf("exit code %d, %v\n%s%s", r.code, err, r.out, r.errOut)
		}
		return refunds
	}
	parked := func() bool { l := listed(); return len(l) == 1 && l[0].Attempts == 1 }
	servicetest.Eventually(t, 20*time.Second, "the refund is parked", parked)
	before := listed()[0]
	on("list").want(t, 0, "parked", before.OrderID, "4200 CNY", "4200 CNY came, 19900 CNY were asked for", "refuses")
	on("retry", "1").want(t, 0, "refund 1 of order "+before.OrderID, "asks for it again")
	servicetest.Eventually(t, 20*time.Second, "it is refused again", func() bool { return parked() && listed()[0].UpdatedAt > before.UpdatedAt })
	on("retry", "--all").want(t, 0, "refund 1 of order")
	servicetest.Eventually(t, 20*time.Second, "it is refused again", parked)
	on("settle", "1").want(t, 1, "note")
	on("settle", "1", "--note", "transfer 4711").want(t, 0, "settled by hand")
	on("settle", "1", "--note", "once more").want(t, 0, "left as it is: done")
	if left := listed(); len(left) != 0 {
		t.Errorf("still parked: %+v", left)
	}
	if all := listed("--all"); len(all) != 1 || !strings.Contains(all[0].Answer, "transfer 4711") {
		t.Errorf("in every state: %+v", all)
	}
	strangeMoney(t, cfg, 2, "bank") // nobody answers for it: it stays due
	on("settle", "2", "--note", "transfer 4712").want(t, 1, "not parked but due", "twice")
	on("retry", "2").want(t, 0, "left as it is: due")
	on("retry").want(t, 2, "--all")
	on("retry", "one").want(t, 2, "no refund's number")
	on("retry", "7").want(t, 1, "not_found")
	on("list", "--state", "lost").want(t, 2, "--state")
}

// strangeMoney writes an order into the ledger, cancels it while it is being paid, and notes that money came.
func strangeMoney(t *testing.T, cfg cli.Config, number int, provider string) {
	t.Helper()
	ctx := t.Context()
	ledger, err := store.Open(ctx, cfg.Backend.Database, servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close() //nolint:errcheck // every write is checked
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	order := store.Accepted{Binding: sale.Binding{Order: sale.MakeOrderID(1000, number, 0), Sale: "1", User: fmt.Sprint("u", number), Quantity: 1, Slot: 1}, AcceptedAt: time.Now()}
	_, err = ledger.WriteOrders(ctx, []store.Accepted{order})
	must(err)
	_, p, err := ledger.BeginPayment(ctx, order.Order, order.User, store.PaymentTerms{Provider: provider, AskAfter: time.Hour})
	must(err)
	_, err = ledger.CancelOrder(ctx, order.Order, order.User)
	must(err)
	_, err = ledger.ReceivePayment(ctx, p.Provider, p.Reference, store.Money{AmountMinor: 4200, Currency: "CNY", At: time.Now()})
	must(err)
}
