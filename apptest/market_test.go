package apptest

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/ledger"
	"headgate.example/apptest/programs"
)

// market is a running system as a test sees it: one process or many.
type market struct {
	edge   string
	cli    func(args ...string) programs.Result
	ledger *ledger.Ledger
}

// must runs an operator's command that has to succeed.
func (m *market) must(t testing.TB, args ...string) string {
	t.Helper()
	r := m.cli(args...)
	if r.Code != 0 {
		t.Fatalf("headgate %v: exit code %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func (m *market) buyers(t *testing.T, count int, prefix string) []crowd.Buyer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.csv")
	m.must(t, "token", "--users", strconv.Itoa(count), "--prefix", prefix, "--out", file)
	buyers, err := crowd.ReadBuyers(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(buyers) != count {
		t.Fatalf("%d tokens, want %d", len(buyers), count)
	}
	return buyers
}

// settled waits for the audit to hold: exit code 0 means that counter, queue and ledger agree.
func (m *market) settled(t *testing.T, sale string) {
	t.Helper()
	if r := m.cli("audit", "--sale", sale, "--wait", "90s"); r.Code != 0 {
		t.Errorf("audit of sale %s: exit code %d\n%s%s", sale, r.Code, r.Stdout, r.Stderr)
	}
}

func (m *market) orders(t *testing.T, sale string) []ledger.Order {
	t.Helper()
	orders, err := m.ledger.Orders(context.Background(), sale)
	if err != nil {
		t.Fatal(err)
	}
	return orders
}

// outcome is what a crowd must leave behind, whatever happened meanwhile.
type outcome struct {
	sale    string
	stock   int64
	allowed map[string]bool // answers that buyers may get, by Answer.What
	// healthy says that nothing failed: then a sold_out may only come once every unit was held, which
	// the ids of the orders tell, since an id holds the time when it was minted.
	healthy bool
}

const idEpochMillis = 1704067200000 // 2024-01-01: PROTOCOL's order ids count from it

func mintedAt(t *testing.T, id string) time.Time {
	t.Helper()
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		t.Fatalf("order id %q: %v", id, err)
	}
	return time.UnixMilli(n>>22 + idEpochMillis)
}

// checkOutcome compares every answer with the ledger.
func (m *market) checkOutcome(t *testing.T, want outcome, buyers []crowd.Buyer, report *crowd.Report) {
	t.Helper()
	t.Logf("sale %s: %d answers in %s (%.0f a second): %v", want.sale, len(report.Answers), report.Took.Round(time.Millisecond),
		float64(len(report.Answers))/report.Took.Seconds(), report.Counts())
	if report.Undecided > 0 {
		t.Errorf("%d buyers never got a final answer", report.Undecided)
	}
	orderOf := m.checkLedger(t, want)
	var lastMinted time.Time
	for _, id := range orderOf {
		if at := mintedAt(t, id); at.After(lastMinted) {
			lastMinted = at
		}
	}
	// Who was told 503 may have held a unit that came back: then somebody else was rightly told that all were taken.
	counts := report.Counts()
	cameBack := counts["503 unavailable"]+counts["503 overloaded"] > 0
	if want.healthy && cameBack {
		t.Logf("sale %s: units may have come back: whether sold_out came too early is not judged", want.sale)
	}
	complaints := 0
	complain := func(a crowd.Answer, why string) {
		if complaints++; complaints <= 20 {
			t.Errorf("%s (press %d, round %d) was told %s %s: %s", buyers[a.Buyer].User, a.Press, a.Round, a.What(), a.OrderID, why)
		}
	}
	for _, a := range report.Answers {
		order := orderOf[buyers[a.Buyer].User]
		switch {
		case a.Broken || !want.allowed[a.What()]:
			complain(a, "no such answer is allowed here: "+a.Err)
		case a.Accepted() && a.OrderID != order:
			complain(a, "the ledger has order "+order)
		case a.Code == "already_ordered" && a.OrderID != order:
			complain(a, "the ledger has order "+order)
		case a.Code == "sold_out" && order != "":
			complain(a, "and yet has order "+order)
		case a.Code == "sold_out" && want.healthy && !cameBack && a.At.Before(lastMinted):
			complain(a, "units were still taken at "+lastMinted.Format(time.StampMilli)+", the answer came at "+a.At.Format(time.StampMilli))
		case a.Code == "too_soon" && want.healthy && a.Round == 0 && !pressedTwice(a.Buyer):
			complain(a, "it was this buyer's only press")
		}
	}
}

// pressedTwice is every fifth buyer.
func pressedTwice(buyer int) bool { return buyer%5 == 0 }

// checkLedger checks that exactly the stock is sold, at most once to each, and gives each user's order.
func (m *market) checkLedger(t *testing.T, want outcome) map[string]string {
	t.Helper()
	orderOf := make(map[string]string)
	seen := make(map[string]bool)
	var units int64
	for _, o := range m.orders(t, want.sale) {
		if seen[o.ID] {
			t.Errorf("order %s is in the ledger twice", o.ID)
		}
		seen[o.ID] = true
		if !o.Active {
			continue
		}
		if o.State != "unpaid" {
			t.Errorf("order %s of %s is active and %s", o.ID, o.User, o.State)
		}
		if first := orderOf[o.User]; first != "" {
			t.Errorf("%s has two orders: %s and %s", o.User, first, o.ID)
		}
		orderOf[o.User] = o.ID
		units += o.Quantity
	}
	if units != want.stock {
		t.Errorf("the ledger has %d units sold, want %d", units, want.stock)
	}
	sold, err := m.ledger.Sold(context.Background(), want.sale)
	if err != nil || sold != want.stock {
		t.Errorf("the ledger counts %d units as sold (%v), want %d", sold, err, want.stock)
	}
	return orderOf
}

func words(list ...string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, word := range list {
		set[word] = true
	}
	return set
}
