package store

import (
	"context"
	"regexp"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"

	"headgate.example/lib/config"
)

// Execute runs a statement behind the store's back.
func Execute(t testing.TB, s *Store, statement string, args ...any) {
	t.Helper()
	if err := s.write.Exec(statement, args...).Error; err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// BeforeInsert runs a function once, within the next transaction that inserts, just before it does.
func BeforeInsert(t testing.TB, s *Store, run func()) {
	t.Helper()
	var ran atomic.Bool
	hook := func(*gorm.DB) {
		if ran.CompareAndSwap(false, true) { // run may insert, too
			run()
		}
	}
	if err := s.write.Callback().Create().Before("gorm:create").Register("test:before", hook); err != nil {
		t.Fatal(err)
	}
}

// Writing runs a function while a transaction of the store is open.
func Writing(t testing.TB, s *Store, run func()) {
	t.Helper()
	err := s.transact(context.Background(), func(*gorm.DB) error { run(); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

// MySQLDSN is the DSN that the driver gets.
func MySQLDSN(dsn string) (string, error) {
	_, write, err := mysqlDialect{}.dsns(Config{Driver: MySQL, DSN: config.Secret(dsn)})
	return write, err
}

// Migrating plays another process of the same database that is migrating it, until the function that
// it returns is called.
func Migrating(t testing.TB, s *Store) (done func()) {
	t.Helper()
	pool, err := s.write.DB()
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lockMySQL(context.Background(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unlock(); err != nil {
			t.Error(err)
		}
	}
}

// Count reads one number.
func Count(t testing.TB, s *Store, query string) (n int) {
	t.Helper()
	if err := s.read.Raw(query).Scan(&n).Error; err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// MigrateTo brings the tables to an earlier version; 0: to the newest. It gives the version.
func MigrateTo(t testing.TB, s *Store, version int64) int64 {
	t.Helper()
	pool, err := s.write.DB()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := s.steps(pool)
	if err != nil {
		t.Fatal(err)
	}
	if version == 0 {
		_, err = steps.Up(t.Context())
	} else {
		_, err = steps.UpTo(t.Context(), version)
	}
	if err != nil {
		t.Fatal(err)
	}
	if version, err = steps.GetDBVersion(t.Context()); err != nil {
		t.Fatal(err)
	}
	return version
}

// Schema is the statements that make the tables as they are now, in a stable order.
func Schema(t testing.TB, s *Store) (statements []string) {
	t.Helper()
	if s.dialect.name() == SQLite {
		err := s.read.Raw(`SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type = 'index', name`).Scan(&statements).Error
		if err != nil {
			t.Fatal(err)
		}
		return statements
	}
	var tables []string
	err := s.read.Raw("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name").Scan(&tables).Error
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		var name, statement string
		if err := s.read.Raw("SHOW CREATE TABLE "+table).Row().Scan(&name, &statement); err != nil {
			t.Fatal(err)
		}
		statements = append(statements, autoIncrement.ReplaceAllString(statement, ""))
	}
	return statements
}

var autoIncrement = regexp.MustCompile(` AUTO_INCREMENT=\d+`)
