package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"headgate.example/lib/config"
	"headgate.example/lib/sqlitefile"
)

// Errors that callers tell apart with errors.Is. Any other error means that the database did not
// answer or refused: nothing is known of the outcome of a write, and repeating the call is safe for
// every method that says so.
var (
	ErrNotFound       = errors.New("no such row in the ledger")
	ErrDuplicate      = errors.New("already in the ledger")
	ErrNotCancellable = errors.New("the order is not in a state that can be cancelled")
	// ErrBusy is a deadlock or lock wait that outlasted every retry.
	ErrBusy = errors.New("the ledger is busy: the transaction lost against others on every attempt")
	// ErrDiverged is a sale whose sold count contradicts its orders or its ceiling: it is being paused
	// with an alarm, and nothing of it was changed.
	ErrDiverged = errors.New("counter and ledger have diverged")
)

// The drivers of Config.
const (
	SQLite = "sqlite"
	MySQL  = "mysql"
)

// Limits of the store.
const (
	MaxConnections = 1000
	// MaxPage bounds the rows that one listing call returns; a higher limit is lowered to it.
	MaxPage = 1000
	// MaxAttempts bounds how often one call runs its transaction when it loses against others.
	MaxAttempts = 8
)

// Config says where the ledger is.
type Config struct {
	// Driver is sqlite or mysql (which also speaks to MariaDB). Default sqlite.
	Driver string `yaml:"driver"`
	// Path is the SQLite file; its folder must exist. A new file is readable by its owner only. Only
	// with driver sqlite.
	Path string `yaml:"path"`
	// DSN is user:password@tcp(host:port)/database. Only with driver mysql. Time zone, time parsing,
	// character set and SQL mode are set by the store whatever the DSN says.
	DSN config.Secret `yaml:"dsn" secret:"address"`
	// MaxConnections bounds the connections of this process to the database. Default 10. SQLite has
	// one connection that writes, besides the others.
	MaxConnections int `yaml:"max_connections"`
}

// DefaultConfig is SQLite without a path: the program's own defaults name the file.
func DefaultConfig() Config { return Config{Driver: SQLite, MaxConnections: 10} }

// Validate checks each field and the relations between them.
func (c *Config) Validate(p *config.Problems) {
	switch c.Driver {
	case SQLite:
		if c.Path == "" {
			p.Addf("path", "is missing: name the SQLite file")
		}
		if c.DSN.Reveal() != "" {
			p.Addf("dsn", "belongs to driver mysql: remove it, or set driver: mysql")
		}
	case MySQL:
		if _, err := mysqlConfig(c.DSN.Reveal()); err != nil {
			p.Addf("dsn", "%v", err)
		}
		if c.Path != "" {
			p.Addf("path", "belongs to driver sqlite: remove it, or set driver: sqlite")
		}
	default:
		p.Addf("driver", "must be %s or %s, is %q", SQLite, MySQL, c.Driver)
	}
	if c.MaxConnections < 2 || c.MaxConnections > MaxConnections {
		p.Addf("max_connections", "must be 2 to %d, is %d", MaxConnections, c.MaxConnections)
	}
}

// Store is an open ledger. It is safe for concurrent use.
type Store struct {
	read    *gorm.DB
	write   *gorm.DB // SQLite: one connection, BEGIN IMMEDIATE; MySQL: the same pool as read
	dialect dialect
	log     *slog.Logger
}

// Open connects to the database, and keeps trying with growing pauses (at most 5 s) until it answers
// or ctx is done. It does not create tables: see Migrate. told hears meanwhile why it waits, and nil when it does not
// any more.
func Open(ctx context.Context, cfg Config, log *slog.Logger, told ...func(error)) (*Store, error) {
	var problems config.Problems
	cfg.Validate(&problems)
	if err := problems.Err(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		s, err := open(ctx, cfg, log)
		for _, tell := range told {
			tell(err)
		}
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("store: the database did not answer: %w", err)
		}
		log.Warn("the database does not answer; trying again", "driver", cfg.Driver, "pause", pause, "error", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("store: the database did not answer: %w", err)
		case <-time.After(pause):
		}
	}
}

func open(ctx context.Context, cfg Config, log *slog.Logger) (*Store, error) {
	d := dialectOf(cfg.Driver)
	readDSN, writeDSN, err := d.dsns(cfg)
	if err != nil {
		return nil, err
	}
	// A path that is a URI or names no file is left to SQLite.
	if cfg.Driver == SQLite && !strings.HasPrefix(cfg.Path, "file:") && !strings.HasPrefix(cfg.Path, ":") {
		if err := sqlitefile.Create(cfg.Path); err != nil {
			return nil, fmt.Errorf("creating the database: %w", err)
		}
	}
	s := &Store{dialect: d, log: log}
	if s.write, err = connect(ctx, d, writeDSN, d.writers(cfg)); err != nil {
		return nil, err
	}
	s.read = s.write
	if readDSN != writeDSN {
		if s.read, err = connect(ctx, d, readDSN, cfg.MaxConnections); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func connect(ctx context.Context, d dialect, dsn string, connections int) (*gorm.DB, error) {
	pool, err := sql.Open(d.driverName(), dsn)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	if err := pool.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reaching the database%s: %w", d.hint(err), err), pool.Close())
	}
	db, err := gorm.Open(d.dialector(pool), &gorm.Config{
		TranslateError:         true,
		SkipDefaultTransaction: true, // transactions are begun where the rules need them
		Logger:                 logger.Discard,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database: %w", err), pool.Close())
	}
	return db, nil
}

// Close closes the connections. Calls under way fail.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*gorm.DB{s.write, s.read} {
		if db == nil {
			continue
		}
		pool, err := db.DB()
		if err == nil {
			err = pool.Close() // closing twice is harmless when both are one pool
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Ping asks the database whether it answers. On SQLite it reads: the one connection that writes may
// be busy with a transaction, which is no reason to look dead.
func (s *Store) Ping(ctx context.Context) error {
	pool, err := s.read.DB()
	if err != nil {
		return err
	}
	if err := pool.PingContext(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// transact runs fn in one READ COMMITTED transaction (BEGIN IMMEDIATE on SQLite). When it loses
// against another transaction, it is rolled back and runs again from the start, at most MaxAttempts
// times: fn must not keep anything from an earlier attempt.
func (s *Store) transact(ctx context.Context, fn func(tx *gorm.DB) error) error {
	for attempt := 1; ; attempt++ {
		err := s.once(ctx, fn)
		if err == nil || !s.dialect.lost(err) {
			return err
		}
		if attempt == MaxAttempts {
			return fmt.Errorf("%w (%d attempts): %w", ErrBusy, attempt, err)
		}
		if err := pauseBetween(ctx, attempt); err != nil {
			return err
		}
	}
}

// once runs fn in one transaction. A failure of fn rolls it back explicitly: MySQL keeps the locks
// of a failed statement until then.
func (s *Store) once(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return s.write.WithContext(ctx).Transaction(fn, s.dialect.txOptions())
}

// now is the database's clock, in milliseconds' precision.
func (s *Store) now(tx *gorm.DB) (time.Time, error) {
	var now int64
	if err := tx.Raw(s.dialect.nowQuery()).Scan(&now).Error; err != nil {
		return time.Time{}, fmt.Errorf("store: reading the database's clock: %w", err)
	}
	return time.UnixMilli(now).UTC(), nil
}

// Now is the database's clock: what deadlines are compared with.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.now(s.read.WithContext(ctx)) }

func page(limit int) int {
	if limit < 1 || limit > MaxPage {
		return MaxPage
	}
	return limit
}

// clip cuts text to at most n bytes, at a character's boundary, and leaves out what is no text: it may come
// from a broker, a provider or a database.
func clip(text string, n int) string {
	return strings.ToValidUTF8(text[:min(len(text), n)], "")
}
