package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"headgate.example/lib/queue"
	"headgate.example/lib/sqlitefile"

	"modernc.org/sqlite"
)

// schemaVersion is what this program writes and reads.
const schemaVersion = 1

// The columns are explained in DESIGN.md. Row numbers are never used twice.
const schema = `
CREATE TABLE message (
	seq          INTEGER PRIMARY KEY AUTOINCREMENT,
	topic        TEXT    NOT NULL,
	visible_at   INTEGER NOT NULL,
	owner        INTEGER NOT NULL DEFAULT 0,
	attempts     INTEGER NOT NULL DEFAULT 0,
	published_at INTEGER NOT NULL,
	id           TEXT    NOT NULL,
	reason       TEXT    NOT NULL DEFAULT '',
	body         BLOB    NOT NULL
);
CREATE INDEX message_due ON message (topic, visible_at);
CREATE TABLE subscriber (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	topic   TEXT    NOT NULL,
	beat_at INTEGER NOT NULL
);
PRAGMA user_version = 1;`

func openFile(path string) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if err := sqlitefile.Create(path); err != nil {
		return nil, err
	}
	address := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: "_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", address.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4) // publish, claim, and two readers
	db.SetMaxIdleConns(4)
	return db, nil
}

// createSchema brings a new file to schemaVersion and refuses a later one.
func createSchema(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // back to the pool
	if _, err := conn.ExecContext(ctx, `PRAGMA journal_mode = WAL`); err != nil {
		return fmt.Errorf("journal mode: %w", err)
	}
	if err := begin(ctx, conn, settleTimeout); err != nil {
		return err
	}
	var version int
	err = conn.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version)
	switch {
	case err == nil && version > schemaVersion:
		err = fmt.Errorf("the file has format %d, and this program reads up to %d: start a newer program", version, schemaVersion)
	case err == nil && version == 0:
		_, err = conn.ExecContext(ctx, schema)
	}
	return finish(conn, err)
}

// prepare opens a connection of its own with a level of durability (FULL: fsync at each commit).
func prepare(ctx context.Context, db *sql.DB, synchronous string) (*sql.Conn, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	for _, pragma := range []string{
		`PRAGMA synchronous = ` + synchronous,
		`PRAGMA busy_timeout = 0`, // begin has finer pauses
		`PRAGMA wal_autocheckpoint = 4000`,
		`PRAGMA journal_size_limit = 67108864`,
		`PRAGMA cache_size = -16384`,
	} {
		if _, err := conn.ExecContext(ctx, pragma); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", pragma, err), conn.Close())
		}
	}
	return conn, nil
}

// begin starts a writing transaction, and waits while another handle writes.
func begin(ctx context.Context, conn *sql.Conn, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for try := 0; ; try++ {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), `BEGIN IMMEDIATE`)
		if err == nil {
			return nil
		}
		if !isBusy(err) {
			return fmt.Errorf("%w: %w", queue.ErrStorage, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: another process kept the file locked for %s", queue.ErrTimeout, patience)
		}
		pause := 100 * time.Microsecond
		if try > 50 {
			pause = time.Millisecond
		}
		time.Sleep(pause)
	}
}

// commit ends a transaction well. Its failure leaves the outcome unknown, the transaction rolled back
// as far as this process can tell.
func commit(conn *sql.Conn) error {
	_, err := conn.ExecContext(context.Background(), `COMMIT`)
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("%w: commit: %w", queue.ErrStorage, err), rollback(conn))
}

func rollback(conn *sql.Conn) error {
	if _, err := conn.ExecContext(context.Background(), `ROLLBACK`); err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	return nil
}

// finish commits, or rolls back when the work has failed.
func finish(conn *sql.Conn, work error) error {
	if work == nil {
		return commit(conn)
	}
	_ = rollback(conn) // fails when SQLite has rolled back by itself
	return work
}

func isBusy(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	const busy, locked = 5, 6 // SQLITE_BUSY, SQLITE_LOCKED
	code := e.Code() & 0xff
	return code == busy || code == locked
}

// isFull says whether SQLite reports a full disk.
func isFull(err error) bool {
	var e *sqlite.Error
	const full = 13 // SQLITE_FULL
	return errors.As(err, &e) && e.Code()&0xff == full
}
