package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	gosqlite "github.com/libtnb/sqlite"
	gormmysql "gorm.io/driver/mysql"
	"gorm.io/gorm"
)

// dialect is what differs between the two databases, apart from the migrations.
type dialect interface {
	name() string
	driverName() string
	dialector(pool *sql.DB) gorm.Dialector
	dsns(cfg Config) (read, write string, err error)
	writers(cfg Config) int
	txOptions() *sql.TxOptions
	snapshotOptions() *sql.TxOptions // for several reads of one moment
	nowQuery() string                // milliseconds since 1970
	// lost reports a transaction that failed only because of another one, and may run again.
	lost(err error) bool
	// badRow reports a statement that was refused for what a row holds; see ErrUnwritable.
	badRow(err error) bool
	// hint says what to do about an error of connecting, in brackets after a space; "" when the error does.
	hint(err error) string
}

func dialectOf(driver string) dialect {
	if driver == MySQL {
		return mysqlDialect{}
	}
	return sqliteDialect{}
}

type mysqlDialect struct{}

func (mysqlDialect) name() string       { return MySQL }
func (mysqlDialect) driverName() string { return "mysql" }

func (mysqlDialect) dialector(pool *sql.DB) gorm.Dialector {
	return gormmysql.New(gormmysql.Config{Conn: pool})
}

func (mysqlDialect) dsns(cfg Config) (read, write string, err error) {
	parsed, err := mysqlConfig(cfg.DSN.Reveal())
	if err != nil {
		return "", "", fmt.Errorf("dsn: %w", err)
	}
	dsn := parsed.FormatDSN()
	return dsn, dsn, nil
}

// mysqlConfig reads a DSN and sets what the ledger relies on: UTC sessions, times as time.Time,
// utf8mb4, strict mode, matched rows as affected rows, time-outs, so that a dead server is noticed,
// and that a connection to a server that has become read-only (a fail-over) leaves the pool. Errors never repeat the DSN: it holds the password.
func mysqlConfig(dsn string) (*mysqldriver.Config, error) {
	if dsn == "" {
		return nil, errors.New("is missing: want user:password@tcp(host:port)/database")
	}
	c, err := mysqldriver.ParseDSN(dsn)
	if err != nil {
		return nil, errors.New("is not of the form user:password@tcp(host:port)/database")
	}
	if c.DBName == "" {
		return nil, errors.New("names no database: want user:password@tcp(host:port)/database")
	}
	c.ParseTime = true
	c.Loc = time.UTC
	c.ClientFoundRows = true
	c.RejectReadOnly = true
	c.InterpolateParams = true // one round trip for each statement
	c.Collation = "utf8mb4_bin"
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 30 * time.Second
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 30 * time.Second
	}
	if c.Params == nil {
		c.Params = map[string]string{}
	}
	c.Params["time_zone"] = "'+00:00'"
	c.Params["sql_mode"] = "'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
	c.Params["innodb_lock_wait_timeout"] = "5"
	return c, nil
}

func (mysqlDialect) writers(cfg Config) int { return cfg.MaxConnections }

func (mysqlDialect) txOptions() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelReadCommitted}
}

func (mysqlDialect) nowQuery() string {
	return "SELECT CAST(ROUND(UNIX_TIMESTAMP(CURRENT_TIMESTAMP(3)) * 1000) AS SIGNED)"
}

// The numbers of MySQL errors after which the same transaction may succeed.
const (
	mysqlLockWait = 1205
	mysqlDeadlock = 1213
)

func (mysqlDialect) lost(err error) bool {
	var refused *mysqldriver.MySQLError
	return errors.As(err, &refused) && (refused.Number == mysqlLockWait || refused.Number == mysqlDeadlock)
}

type sqliteDialect struct{}

func (sqliteDialect) name() string       { return SQLite }
func (sqliteDialect) driverName() string { return gosqlite.DriverName }

func (sqliteDialect) dialector(pool *sql.DB) gorm.Dialector {
	return gosqlite.New(gosqlite.Config{Conn: pool})
}

// dsns gives a reading and a writing connection. The writer begins each transaction with BEGIN
// IMMEDIATE, so that it waits for other processes at the start (at most 10 s) and never fails in the
// middle; readers see the last commit meanwhile (write-ahead log). synchronous=FULL: a commit is on
// the disk when it returns.
func (sqliteDialect) dsns(cfg Config) (read, write string, err error) {
	if strings.ContainsRune(cfg.Path, '?') {
		return "", "", errors.New("path: must not hold a question mark")
	}
	options := url.Values{
		"_busy_timeout": {"10000"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"on"},
		"_time_format":  {"sqlite"},
		"_timezone":     {"UTC"},
		"_inttotime":    {"1"},
		"_texttotime":   {"1"},
		"_txlock":       {"deferred"},
		"_dqs":          {"0"},
	}
	read = cfg.Path + "?" + options.Encode()
	options.Set("_txlock", "immediate")
	return read, cfg.Path + "?" + options.Encode(), nil
}

func (sqliteDialect) writers(Config) int        { return 1 }
func (sqliteDialect) txOptions() *sql.TxOptions { return nil }
func (sqliteDialect) nowQuery() string {
	return "SELECT CAST(ROUND(unixepoch('now', 'subsec') * 1000) AS INTEGER)"
}

// The codes of SQLite for a database that another connection is writing.
const (
	sqliteBusy   = 5
	sqliteLocked = 6
)

func (sqliteDialect) lost(err error) bool {
	var refused interface{ Code() int }
	if !errors.As(err, &refused) {
		return false
	}
	code := refused.Code() & 0xff // extended codes keep the primary one in the low byte
	return code == sqliteBusy || code == sqliteLocked
}

// pauseBetween waits before the next attempt: 2 to 4 ms, doubling to at most a quarter of a second.
func pauseBetween(ctx context.Context, attempt int) error {
	base := min(2*time.Millisecond<<min(attempt-1, 10), 125*time.Millisecond)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(base + rand.N(base)):
		return nil
	}
}

func (mysqlDialect) snapshotOptions() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

func (sqliteDialect) snapshotOptions() *sql.TxOptions { return nil }

// The server's words for what an operator has to mend.
const (
	mysqlAccessDenied    = 1045 // user or password
	mysqlDatabaseDenied  = 1044
	mysqlUnknownDatabase = 1049
)

func (mysqlDialect) hint(err error) string {
	var refused *mysqldriver.MySQLError
	switch {
	case !errors.As(err, &refused):
		return " (is it running, and is the address in database.dsn right?)"
	case refused.Number == mysqlAccessDenied:
		return " (it runs, and refuses the user or password in database.dsn)"
	case refused.Number == mysqlDatabaseDenied:
		return " (it runs; give the user in database.dsn all rights on the database: GRANT ALL)"
	case refused.Number == mysqlUnknownDatabase:
		return " (it runs, and does not have the database in database.dsn: CREATE DATABASE)"
	}
	return ""
}

func (sqliteDialect) hint(error) string { return "" }
