//go:build !race

package audit_test

import (
	"context"
	"testing"

	"headgate.example/backend/audit"
	"headgate.example/lib/queue"
)

// The race detector makes the database, which is pure Go, thirty times slower, and finds nothing here that it does
// not find in few orders.
func TestFiftyThousandOrders(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 50,000 orders")
	}
	s := newSystem(t, 50_000)
	bindings := s.orders(50_000)
	run := func() audit.Report {
		return audit.Run(t.Context(), s.counter, s.ledger, func(context.Context) (queue.Depth, error) { return s.depth, nil }, audit.Options{})
	}
	s.depth = queue.Depth{Ready: 50_000}
	if r := run(); r.Verdict != audit.NotSettled || r.Sales[0].Travelling != 50_000 {
		t.Fatalf("verdict %s, %d travel", r.Verdict, r.Sales[0].Travelling)
	} else {
		t.Logf("all in the queue: %s", r.Took)
	}
	for start := 0; start < len(bindings); start += 500 {
		s.write(bindings[start : start+500]...)
	}
	s.depth = queue.Depth{}
	r := run()
	if r.Verdict != audit.Holds || r.Sales[0].Compared != 50_000 {
		t.Fatalf("verdict %s, %d compared", r.Verdict, r.Sales[0].Compared)
	}
	t.Logf("all in the ledger: %s", r.Took)
}
