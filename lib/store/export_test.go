package store

import (
	"context"
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
