package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gosqlite "github.com/libtnb/sqlite"

	"headgate.example/lib/config"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

// DSNEnv names the server that MySQL uses, without a database: root@tcp(127.0.0.1:3306)/
const DSNEnv = "HEADGATE_TEST_MYSQL_DSN"

// SQLiteConfig is a ledger in a file of the test's own.
func SQLiteConfig(t testing.TB) store.Config {
	t.Helper()
	return store.Config{Driver: store.SQLite, Path: filepath.Join(t.TempDir(), "ledger.db"), MaxConnections: 8}
}

// MySQLConfig is a database of the test's own on the server that DSNEnv names, dropped after the
// test; without DSNEnv the test is skipped.
func MySQLConfig(t testing.TB) store.Config {
	t.Helper()
	server := servicetest.Need(t, DSNEnv)
	name := "headgate_test_" + strings.ToLower(rand.Text())
	execute(t, server, "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, server, "DROP DATABASE IF EXISTS "+name) })
	base, options, _ := strings.Cut(server, "?")
	dsn := base + name
	if options != "" {
		dsn += "?" + options
	}
	return store.Config{Driver: store.MySQL, DSN: config.Secret(dsn), MaxConnections: 16}
}

// RefuseUser makes a ledger's database refuse every order of a user, as it does rows that do not fit.
func RefuseUser(t testing.TB, cfg store.Config, user string) {
	t.Helper()
	if cfg.Driver == store.SQLite {
		executeOn(t, gosqlite.DriverName, cfg.Path, "CREATE TRIGGER refuse_user BEFORE INSERT ON orders WHEN NEW.user_id = '"+user+"' BEGIN SELECT RAISE(ABORT, 'such a user does not fit'); END")
		return
	}
	execute(t, cfg.DSN.Reveal(), "ALTER TABLE orders ADD CONSTRAINT refuse_user CHECK (user_id <> '"+user+"')")
}

func execute(t testing.TB, dsn, statement string) {
	t.Helper()
	executeOn(t, "mysql", dsn, statement)
}

func executeOn(t testing.TB, driver, dsn, statement string) {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatalf("opening the database: %v", err)
	}
	defer db.Close() //nolint:errcheck // the statement's error counts
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Open opens and migrates a ledger and closes it after the test.
func Open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	s, err := store.Open(ctx, cfg, servicetest.Log(t))
	if err != nil {
		t.Fatalf("opening the ledger: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the ledger: %v", err)
		}
	})
	if err := s.Migrate(ctx); err != nil {
		t.Fatalf("migrating the ledger: %v", err)
	}
	return s
}

// SQLite opens a ledger of the test's own on SQLite.
func SQLite(t testing.TB) *store.Store { t.Helper(); return Open(t, SQLiteConfig(t)) }

// MySQL opens a ledger of the test's own on MySQL or MariaDB, or skips the test.
func MySQL(t testing.TB) *store.Store { t.Helper(); return Open(t, MySQLConfig(t)) }
