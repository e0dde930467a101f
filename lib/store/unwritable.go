package store

import (
	"errors"

	mysqldriver "github.com/go-sql-driver/mysql"
	"gorm.io/gorm"
)

// ErrUnwritable is a batch that the database refused for what one of its rows holds: trying again
// cannot help, halving the batch finds the row. Nothing of the batch was written. A database that is
// away, full, read-only or busy never gives it.
var ErrUnwritable = errors.New("the ledger cannot hold a row of this batch")

// unwritable reports an error that speaks of a row's content.
func unwritable(d dialect, err error) bool {
	return errors.Is(err, gorm.ErrCheckConstraintViolated) || errors.Is(err, gorm.ErrInvalidData) || d.badRow(err)
}

// badRow knows MySQL's and MariaDB's numbers for values that do not fit their columns.
func (mysqlDialect) badRow(err error) bool {
	var refused *mysqldriver.MySQLError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Number {
	case 1048, // NULL in a column without NULL
		1264,       // out of range
		1292,       // no such date
		1366,       // no such character
		1406,       // too long
		1690,       // a sum out of range
		3819, 4025: // a CHECK, in MySQL and in MariaDB
		return true
	}
	return false
}

// The codes of SQLite for values that do not fit.
const (
	sqliteTooBig     = 18
	sqliteConstraint = 19
	sqliteMismatch   = 20
)

func (sqliteDialect) badRow(err error) bool {
	var refused interface{ Code() int }
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code() & 0xff {
	case sqliteTooBig, sqliteConstraint, sqliteMismatch:
		return true
	}
	return false
}
