// Package ledger reads Headgate's ledger with plain SQL: the oracle of the tests, which trusts none of
// Headgate's own code.
package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// MaxOrders bounds what Orders reads.
const MaxOrders = 1_000_000

// Order is one row.
type Order struct {
	ID       string
	User     string
	Quantity int64
	State    string
	Active   bool // holds units: its active_slot is not NULL
}

// Ledger is an open database.
type Ledger struct{ db *sql.DB }

// OpenSQLite opens the file for reading, also while a program writes it.
func OpenSQLite(path string) (*Ledger, error) {
	return open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(5000)")
}

// OpenMySQL opens a MySQL or MariaDB database.
func OpenMySQL(dsn string) (*Ledger, error) { return open("mysql", dsn) }

func open(driver, dsn string) (*Ledger, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	return &Ledger{db: db}, nil
}

// Close ends the connection.
func (l *Ledger) Close() error { return l.db.Close() }

// Orders gives every order of a sale, whatever its state, by ascending id.
func (l *Ledger) Orders(ctx context.Context, saleID string) ([]Order, error) {
	rows, err := l.db.QueryContext(ctx,
		"SELECT id, user_id, quantity, state, active_slot IS NOT NULL FROM orders WHERE sale_id = ? ORDER BY id LIMIT ?", saleID, MaxOrders)
	if err != nil {
		return nil, fmt.Errorf("reading the orders of sale %s: %w", saleID, err)
	}
	defer rows.Close() //nolint:errcheck // only read
	var orders []Order
	for rows.Next() {
		var o Order
		if err := rows.Scan(&o.ID, &o.User, &o.Quantity, &o.State, &o.Active); err != nil {
			return nil, fmt.Errorf("reading the orders of sale %s: %w", saleID, err)
		}
		orders = append(orders, o)
	}
	return orders, rows.Err()
}

// Sold gives the units that the ledger counts as sold.
func (l *Ledger) Sold(ctx context.Context, saleID string) (sold int64, err error) {
	err = l.db.QueryRowContext(ctx, "SELECT sold FROM sales WHERE id = ?", saleID).Scan(&sold)
	if err != nil {
		return 0, fmt.Errorf("reading sale %s: %w", saleID, err)
	}
	return sold, nil
}

// Exec runs a statement, such as one that makes a database for a test.
func (l *Ledger) Exec(ctx context.Context, statement string) error {
	_, err := l.db.ExecContext(ctx, statement)
	return err
}

// Count is how many orders of a sale are in a state.
func (l *Ledger) Count(ctx context.Context, saleID, state string) (n int, err error) {
	err = l.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM orders WHERE sale_id = ? AND state = ?", saleID, state).Scan(&n)
	return n, err
}
