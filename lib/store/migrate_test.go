package store_test

import (
	"context"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// TestMigrateWaits: while another process migrates, its half-made tables are not looked at.
func TestMigrateWaits(t *testing.T) {
	s, err := store.Open(context.Background(), storetest.MySQLConfig(t), servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the test's own
	done := store.Migrating(t, s)
	store.Execute(t, s, "CREATE TABLE goose_db_version (id SERIAL PRIMARY KEY, version_id BIGINT NOT NULL, is_applied BOOLEAN NOT NULL, tstamp TIMESTAMP NULL DEFAULT NOW())")
	migrated := make(chan error, 1)
	go func() { migrated <- s.Migrate(context.Background()) }()
	servicetest.Eventually(t, 30*time.Second, "the migration waits for its lock", func() bool {
		select {
		case err := <-migrated:
			t.Fatalf("Migrate did not wait: %v", err)
		default:
		}
		return store.Count(t, s, "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND state = 'User lock'") == 1
	})
	store.Execute(t, s, "DROP TABLE goose_db_version")
	done()
	if err := <-migrated; err != nil {
		t.Fatalf("Migrate: %v", err)
	}
}
