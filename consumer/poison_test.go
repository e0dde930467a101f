package consumer_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// TestPoisonedBatch: of a batch of 1000 the database cannot hold one row. It is found by halving: 999
// orders are stored, one message is a dead letter with the database's word.
func TestPoisonedBatch(t *testing.T) {
	for name, config := range map[string]func(testing.TB) store.Config{"sqlite": storetest.SQLiteConfig, "mysql": storetest.MySQLConfig} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			w := newWorldOn(t, storetest.Open(t, cfg), 1000, time.Hour)
			storetest.RefuseUser(t, cfg, "poison")
			w.cfg.BatchSize, w.cfg.Workers, w.cfg.Linger = 1000, 1, time.Second
			good := w.many(999, sale.Held)
			bad := w.mintFor(1, "poison", 1, sale.Held)
			var bodies [][]byte
			for _, a := range append(append(append([]store.Accepted{}, good[:700]...), bad), good[700:]...) {
				bodies = append(bodies, w.body(a))
			}
			w.publish(bodies...)
			w.start()
			w.drained()
			w.states(sale.Unpaid, good...)
			w.noRow(bad)
			letters := w.letters()
			if len(letters) != 1 || letters[0].OrderID != bad.Order || !bytes.Equal(letters[0].Body, bodies[700]) {
				t.Fatalf("dead letters %+v, want the one of order %s, whole", letters, bad.Order)
			}
			if !strings.Contains(letters[0].Reason, "refuse_user") && !strings.Contains(letters[0].Reason, "does not fit") {
				t.Errorf("the dead letter's reason %q is not the database's", letters[0].Reason)
			}
			if n := w.ledger.writes.Load(); n > 22 {
				t.Errorf("%d transactions to find one of 1000, want 1 and 2 for each halving", n)
			}
			w.check(good...)
		})
	}
}
