package store_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// filler makes the tables as large as those of a shop after its sales: 4096 rows each, so that the database chooses its plans as it would there.
var filler = []string{
	"CREATE TABLE digits (d INT PRIMARY KEY)",
	"INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7)",
	"CREATE TABLE nums (n INT PRIMARY KEY)",
	"INSERT INTO nums SELECT a.d + 8*b.d + 64*c.d + 512*e.d FROM digits a, digits b, digits c, digits e",
	"DROP TABLE digits",
	"INSERT INTO users (name, password_hash, roles, created_at) SELECT CONCAT('v', n), '', '', NOW(3) FROM nums",
	`INSERT INTO sale_changes SELECT CONCAT('f', n % 100), 1 + n DIV 100, 'pause', '', NOW(3), NOW(3) FROM nums`,
	`INSERT INTO orders (id, sale_id, user_id, quantity, active_slot, slot, state, amount_minor, currency, request_key, reason, deadline, accepted_at, created_at, updated_at)
		SELECT 1000000 + n, CONCAT('f', n % 7), CONCAT('v', n % 900), 1, IF(n % 3 = 0, 1 + n, NULL), 1 + n, IF(n % 3 = 0, 'paid', 'cancelled'), 1, 'CNY', '', '', NOW(3), NOW(3), NOW(3), NOW(3) FROM nums`,
	`INSERT INTO stock_journal (order_id, kind, sale_id, units, reason, created_at) SELECT 1000000 + n, 'sold', CONCAT('f', n % 7), 1, 'why', NOW(3) FROM nums`,
	`INSERT INTO outbox (order_id, sale_id, reason, state, attempts, answer, due_at, created_at, updated_at)
		SELECT 1000000 + n, CONCAT('f', n % 7), '', ELT(1 + n % 3, 'done', 'due', 'parked'), 1, '', NOW(3), NOW(3), NOW(3) FROM nums`,
	`INSERT INTO dead_letters (digest, order_id, topic, body, reason, created_at, discarded_at) SELECT CONCAT('f', n), 0, 'orders', 'x', '', NOW(3), IF(n % 100 = 0, NULL, NOW(3)) FROM nums`,
	`INSERT INTO parked_messages (digest, order_id, topic, body, reason, attempts, due_at, created_at, updated_at)
		SELECT CONCAT('f', n), 0, 'orders', 'x', '', 1, NOW(3) + INTERVAL n SECOND, NOW(3), NOW(3) FROM nums`,
	`INSERT INTO payments (order_id, provider, reference, state, amount_minor, currency, page, expires_at, paid_minor, paid_at, attempts, answer, check_at, created_at, updated_at)
		SELECT 1000000 + n, 'bank', CONCAT('f', n), 'paid', 1, 'CNY', '', NOW(3), 1, NOW(3), 0, '', NULL, NOW(3), NOW(3) FROM nums`,
	`INSERT INTO refunds (payment_id, order_id, provider, reference, amount_minor, currency, reason, state, attempts, answer, due_at, created_at, updated_at)
		SELECT 1000000 + n, 1000000 + n, 'bank', CONCAT('f', n), 1, 'CNY', '', IF(n % 100 = 0, 'due', 'done'), 0, '', NOW(3), NOW(3), NOW(3) FROM nums`,
	"DROP TABLE nums",
}

// TestIndexesMySQL is TestIndexes where the database chooses by the tables' figures: no statement reads a
// whole table that grows, or sorts one.
func TestIndexesMySQL(t *testing.T) {
	s := storetest.MySQL(t)
	for _, statement := range filler {
		store.Execute(t, s, statement)
	}
	grows := []string{"users", "sale_changes", "orders", "stock_journal", "outbox", "dead_letters", "parked_messages", "payments", "refunds"}
	store.Execute(t, s, "ANALYZE TABLE "+strings.Join(grows, ", "))
	plain, statements := store.Exercised(t, s)
	explained := 0
	for _, statement := range statements {
		var steps []map[string]any
		if err := plain.Raw("EXPLAIN " + statement).Scan(&steps).Error; err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		explained++
		for _, step := range steps {
			column := func(name string) string {
				switch v := step[name].(type) {
				case string:
					return v
				case []byte:
					return string(v)
				}
				return ""
			}
			if !slices.Contains(grows, column("table")) {
				continue
			}
			counts := strings.Contains(statement, "count(*)") || strings.Contains(statement, "COUNT(*)") || strings.Contains(statement, "LIMIT 1")
			whole := column("type") == "ALL" || column("type") == "index" && !counts
			groups := strings.Contains(statement, "GROUP BY") // sorts a handful of states
			if whole || !groups && strings.Contains(column("Extra"), "filesort") {
				t.Errorf("%s\n\tis done by: %v", statement, step)
			}
		}
	}
	if explained < 40 {
		t.Fatalf("only %d statements were explained: the recorder is not in place", explained)
	}
}
