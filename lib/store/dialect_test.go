package store_test

import (
	"context"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// TestMySQLSettings: what the ledger relies on is set, also when the DSN says otherwise.
func TestMySQLSettings(t *testing.T) {
	for _, dsn := range []string{
		"root@tcp(127.0.0.1:1)/x",
		"root@tcp(127.0.0.1:1)/x?rejectReadOnly=false&parseTime=false&loc=Local&clientFoundRows=false&sql_mode=''",
	} {
		formatted, err := store.MySQLDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		c, err := mysqldriver.ParseDSN(formatted)
		if err != nil {
			t.Fatal(err)
		}
		if !c.RejectReadOnly {
			t.Errorf("%s: a connection to a server that has become read-only stays in the pool", dsn)
		}
		if !c.ParseTime || c.Loc != time.UTC || !c.ClientFoundRows || c.Params["time_zone"] != "'+00:00'" || c.Params["sql_mode"] == "''" {
			t.Errorf("%s: the driver gets %s", dsn, formatted)
		}
	}
}

// TestPingWhileWriting: a long transaction of our own does not make the ledger look dead.
func TestPingWhileWriting(t *testing.T) {
	for name, configure := range databases {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, configure(t))
			store.Writing(t, s, func() {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				if err := s.Ping(ctx); err != nil {
					t.Errorf("Ping while a transaction is open: %v", err)
				}
			})
		})
	}
}

// TestMySQLText: every text of the ledger is utf8mb4, compared byte by byte, and sessions are in UTC.
func TestMySQLText(t *testing.T) {
	s := storetest.MySQL(t)
	const texts = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND character_set_name IS NOT NULL"
	if all := store.Count(t, s, texts); all < 20 {
		t.Fatalf("only %d columns of text were found", all)
	}
	if wrong := store.Count(t, s, texts+" AND (character_set_name <> 'utf8mb4' OR collation_name <> 'utf8mb4_bin') AND table_name <> 'goose_db_version'"); wrong != 0 {
		t.Errorf("%d columns are not utf8mb4_bin", wrong)
	}
	if ok := store.Count(t, s, "SELECT @@session.time_zone = '+00:00' AND @@character_set_connection = 'utf8mb4' AND @@session.sql_mode LIKE '%STRICT_ALL_TABLES%'"); ok != 1 {
		t.Error("the session is not in UTC, not in utf8mb4 or not strict")
	}
}
