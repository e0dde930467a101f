package store_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// release writes the fixture of a version that has none yet, once it is released:
//
//	go test ./store -run TestMigrateForward -release   (with HEADGATE_TEST_MYSQL_DSN set)
var release = flag.Bool("release", false, "write the schema of versions that have no fixture")

// rows are in the released ledgers: the first version's tables have them all.
const rows = "testdata/released/rows.sql"

func fixture(driver string, version int64) string {
	return filepath.Join("testdata", "released", fmt.Sprintf("%s-%05d.sql", driver, version))
}

// TestMigrateForward: the ledger of every released version, with what its shop had sold, becomes this
// version's, whole, with several programs starting at once. What was released never changes: the steps
// still make each released schema.
func TestMigrateForward(t *testing.T) {
	for name, configure := range databases {
		t.Run(name, func(t *testing.T) {
			newest := storetest.Open(t, configure(t))
			want := store.Schema(t, newest)
			last := store.MigrateTo(t, newest, 0)
			for version := int64(1); version <= last; version++ {
				if _, err := os.Stat(fixture(configure(t).Driver, version)); version == last && err != nil && !*release {
					continue // not released yet; once there is a later one it must have been
				}
				t.Run(fmt.Sprintf("from %d", version), func(t *testing.T) {
					cfg := configure(t)
					checkReleased(t, configure(t), version)
					forward(t, cfg, version, want)
				})
			}
		})
	}
}

// checkReleased: the migrations up to a version make the schema that was released as it.
func checkReleased(t *testing.T, cfg store.Config, version int64) {
	t.Helper()
	s := openOnly(t, cfg)
	store.MigrateTo(t, s, version)
	made := strings.Join(store.Schema(t, s), ";\n\n") + ";\n"
	file := fixture(cfg.Driver, version)
	released, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && *release {
		released, err = []byte(made), os.WriteFile(file, []byte(made), 0o644)
	}
	if err != nil {
		t.Fatalf("version %d has no fixture; once it is released: go test -run TestMigrateForward -release: %v", version, err)
	}
	if made != string(released) {
		t.Fatalf("the migrations no longer make the schema that was released as version %d (%s): add a migration instead of changing one\n%s", version, file, made)
	}
}

func openOnly(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), cfg, servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// forward makes a released ledger and lets four programs migrate it at once.
func forward(t *testing.T, cfg store.Config, version int64, want []string) {
	t.Helper()
	old := openOnly(t, cfg)
	execute := func(file string) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range strings.Split(string(text), ";\n") {
			if strings.TrimSpace(statement) != "" {
				store.Execute(t, old, statement)
			}
		}
	}
	execute(fixture(cfg.Driver, version))
	for v := range version + 1 {
		store.Execute(t, old, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, ?)", v, true)
	}
	execute(rows)

	var starting sync.WaitGroup
	for range 4 {
		s := openOnly(t, cfg)
		starting.Go(func() {
			if err := s.Migrate(context.Background()); err != nil {
				t.Errorf("Migrate: %v", err)
			}
		})
	}
	starting.Wait()
	if got := strings.Join(store.Schema(t, old), "\n"); got != strings.Join(want, "\n") {
		t.Fatalf("from version %d the schema becomes\n%s\nwant\n%s", version, got, strings.Join(want, "\n"))
	}
	checkKept(t, old)
}

// checkKept: what a released ledger had is there, and goes on.
func checkKept(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	unpaid, cancelled := sale.OrderID(381000000000000001), sale.OrderID(381000000000000002)
	storetest.CheckSale(t, s, "kettle", unpaid, cancelled)
	if user, err := s.UserByName(ctx, "ada"); err != nil || user.Roles != "admin" {
		t.Errorf("the user is %+v, %v", user, err)
	}
	if order, err := s.CancelOrder(ctx, unpaid, "1"); err != nil || order.State != sale.Cancelled {
		t.Errorf("cancelling: %+v, %v", order, err)
	}
	if letters, err := s.ListDeadLetters(ctx, 0, 0); err != nil || len(letters) != 1 || string(letters[0].Body) != "whole" {
		t.Errorf("dead letters: %+v, %v", letters, err)
	}
	if parked, err := s.ListParked(ctx, 0, 0); err != nil || len(parked) != 1 {
		t.Errorf("parked messages: %+v, %v", parked, err)
	}
	if changes, err := s.ChangesAfter(ctx, "kettle", 0); err != nil || len(changes) != 2 {
		t.Errorf("changes: %+v, %v", changes, err)
	}
	storetest.CheckSale(t, s, "kettle", unpaid, cancelled)
}
