package store_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/lib/config"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSQLite(t *testing.T) { storetest.Run(t, storetest.SQLite) }

func TestMySQL(t *testing.T) { storetest.Run(t, storetest.MySQL) }

// databases are the drivers that tests outside the suite run on.
var databases = map[string]func(testing.TB) store.Config{
	"sqlite": storetest.SQLiteConfig, "mysql": storetest.MySQLConfig,
}

// TestMigrateAtOnce: programs that start together bring up one ledger.
func TestMigrateAtOnce(t *testing.T) {
	for name, configure := range databases {
		t.Run(name, func(t *testing.T) {
			cfg := configure(t)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					s, err := store.Open(context.Background(), cfg, servicetest.Log(t))
					if err != nil {
						t.Errorf("Open: %v", err)
						return
					}
					if err := s.Migrate(context.Background()); err != nil {
						t.Errorf("Migrate: %v", err)
					}
					if err := s.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
			}
			wg.Wait()
			s := storetest.Open(t, cfg) // and once more, with nothing to do
			if err := s.Ping(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestOpenGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	cfg := store.Config{Driver: store.MySQL, DSN: config.Secret("root:hidden@tcp(" + servicetest.FreePort(t) + ")/x"), MaxConnections: 2}
	_, err := store.Open(ctx, cfg, servicetest.Log(t))
	if err == nil || strings.Contains(err.Error(), "hidden") {
		t.Fatalf("Open without a server: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := store.Config{Driver: store.SQLite, Path: "x.db", MaxConnections: 2}
	for name, c := range map[string]struct {
		spoil func(*store.Config)
		want  string
	}{
		"good":            {func(*store.Config) {}, ""},
		"driver":          {func(c *store.Config) { c.Driver = "oracle" }, "driver"},
		"no path":         {func(c *store.Config) { c.Path = "" }, "path"},
		"dsn with sqlite": {func(c *store.Config) { c.DSN = "x" }, "dsn"},
		"no dsn":          {func(c *store.Config) { c.Driver, c.Path = store.MySQL, "" }, "dsn"},
		"bad dsn":         {func(c *store.Config) { c.Driver, c.Path, c.DSN = store.MySQL, "", "root:hidden@nowhere" }, "dsn"},
		"no database":     {func(c *store.Config) { c.Driver, c.Path, c.DSN = store.MySQL, "", "root:hidden@tcp(a:1)/" }, "no database"},
		"connections":     {func(c *store.Config) { c.MaxConnections = 1 }, "max_connections"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			c.spoil(&cfg)
			var p config.Problems
			cfg.Validate(&p)
			err := p.Err()
			if c.want == "" && err == nil {
				return
			}
			if err == nil || c.want == "" || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
				t.Fatalf("got %v, want a problem that names %q", err, c.want)
			}
		})
	}
}

// BenchmarkWriteOrders writes batches of 500 new orders; rows/s is what counts.
func BenchmarkWriteOrders(b *testing.B) {
	for name, configure := range databases {
		b.Run(name, func(b *testing.B) {
			s := storetest.Open(b, configure(b))
			storetest.OpenSale(b, s, "bench", sale.MaxUnits, time.Hour)
			const size = 500
			next := int64(0)
			rows := 0
			for b.Loop() {
				batch := make([]store.Accepted, size)
				for i := range batch {
					next++
					batch[i] = store.Accepted{
						Binding:    sale.Binding{Order: sale.MakeOrderID(next, 1, 0), Sale: "bench", User: fmt.Sprintf("u%06d", next), Quantity: 1, Slot: 1},
						AcceptedAt: time.Now(),
					}
				}
				report, err := s.WriteOrders(context.Background(), batch)
				if err != nil || report.Count(store.Written) != size {
					b.Fatalf("%+v, %v", report, err)
				}
				rows += size
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
