package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/mysql/*.sql migrations/sqlite/*.sql
var migrations embed.FS

// Migrate brings the tables to this program's version. Several processes may call it at once: one
// works, the others wait for it.
func (s *Store) Migrate(ctx context.Context) error {
	pool, err := s.write.DB()
	if err != nil {
		return fmt.Errorf("store: migrating: %w", err)
	}
	for attempt := 1; ; attempt++ {
		err = s.migrate(ctx, pool)
		if err == nil || attempt == MaxAttempts || s.dialect.name() == MySQL {
			break
		}
		// SQLite: each migration is a transaction. Another process that took the same step first
		// makes this one fail, and its step is seen on the next attempt.
		if pauseErr := pauseBetween(ctx, attempt); pauseErr != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("store: migrating the tables: %w", err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, pool *sql.DB) (err error) {
	if s.dialect.name() == MySQL {
		// Not goose's own locker: before it locks, goose makes and reads its table.
		unlock, lockErr := lockMySQL(ctx, pool)
		if lockErr != nil {
			return lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	provider, err := s.steps(pool)
	if err != nil {
		return err
	}
	done, err := provider.Up(ctx)
	for _, step := range done {
		s.log.Info("migrated the ledger", "step", step.Source.Path, "took", step.Duration)
	}
	return err
}

// steps are the migrations of this dialect. A released one never changes: see TestMigrateForward.
func (s *Store) steps(pool *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+s.dialect.name())
	if err != nil {
		return nil, err
	}
	dialect := goose.DialectSQLite3
	if s.dialect.name() == MySQL {
		dialect = goose.DialectMySQL
	}
	return goose.NewProvider(dialect, pool, files, goose.WithDisableGlobalRegistry(true))
}

const migrationWait = 60 * time.Second

// lockMySQL lets one process at a time migrate a database, on a connection of its own. The server frees
// the lock when the connection ends, however the process dies.
func lockMySQL(ctx context.Context, pool *sql.DB) (unlock func() error, err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var got sql.NullInt64
	err = conn.QueryRowContext(ctx, "SELECT GET_LOCK(CONCAT('headgate ', MD5(DATABASE())), ?)", int(migrationWait.Seconds())).Scan(&got)
	if err == nil && got.Int64 != 1 {
		err = errors.New("another process has been migrating the database for a minute: see what it waits for")
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return func() error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), "SELECT RELEASE_LOCK(CONCAT('headgate ', MD5(DATABASE())))")
		return errors.Join(err, conn.Close())
	}, nil
}
