//go:build !race

package repair_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"headgate.example/backend/repair"
	"headgate.example/lib/store"
)

// The race detector makes the database, which is pure Go, thirty times slower, and finds nothing here that it does
// not find in few orders.
func TestManyParts(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 20,000 orders")
	}
	const count = 20_000
	s := newSystem(t, count, 1)
	orders := make([]store.Accepted, count)
	for i := range orders {
		orders[i] = s.buy(fmt.Sprintf("u%d", i), "")
	}
	s.write(orders...)
	s.counter.Lose()
	cut := &cutShort{Counter: s.counter, left: 3}
	if r := s.repairWith(cut, true); !strings.Contains(r.Error, "part 4 of 8") || !strings.Contains(r.Error, "the cable") {
		t.Fatalf("%+v", r)
	}
	_, err := s.ledger.CancelOrder(t.Context(), orders[0].Order, orders[0].User) // meanwhile
	s.must(err)
	if r := s.repair(true); !strings.HasPrefix(kinds(r), "restore_shard:19999") {
		t.Fatalf("%+v", r)
	}
	s.push()
	s.relay()
	s.holds(count - 1)
}

// cutShort is a counter whose cable is cut after some parts.
type cutShort struct {
	repair.Counter
	left int
}

func (c *cutShort) RestoreShard(ctx context.Context, shard string, text []byte) error {
	if c.left--; c.left < 0 {
		return errors.New("the cable is cut")
	}
	return c.Counter.RestoreShard(ctx, shard, text)
}
