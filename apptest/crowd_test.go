package apptest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/ledger"
	"headgate.example/apptest/programs"
)

// The size of the crowds.
const (
	crowdBuyers = 50_000
	crowdStock  = 500
)

// healthyAnswers are what buyers may be told when nothing fails: that they have it, that it is gone, or
// to press again. A sale is paused until it is opened, and an edge sees a change 250 ms later.
func healthyAnswers() map[string]bool {
	return words("202", "409 sold_out", "409 already_ordered", "429 too_soon", "429 rate_limited", "503 overloaded", "503 unavailable", "503 paused")
}

// TestCrowdEmbedded lets 50,000 signed-in buyers, a fifth of them pressing twice at the same instant,
// buy 500 units through `headgate dev`.
func TestCrowdEmbedded(t *testing.T) {
	dev := programs.NewDev(t, bin, nil)
	dev.Start()
	m := devMarket(t, dev)
	runCrowd(t, m)
	if code := dev.Stop(40 * time.Second); code != 0 {
		t.Errorf("the program ended with exit code %d when asked to stop\n%s", code, dev.Log())
	}
}

// devMarket is the market of the one-process program, with its SQLite ledger.
func devMarket(t *testing.T, dev *programs.Dev) *market {
	t.Helper()
	book, err := ledger.OpenSQLite(filepath.Join(dev.Data, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	return &market{edge: dev.Edge, cli: dev.CLI, ledger: book}
}

// TestCrowdReal is the same crowd on the four programs as separate processes, RabbitMQ and MariaDB.
func TestCrowdReal(t *testing.T) {
	amqp := need(t, "HEADGATE_TEST_AMQP_URL")
	dsn := freshDatabase(t, need(t, "HEADGATE_TEST_MYSQL_DSN"))
	fleet := programs.StartFleet(t, bin, amqp, dsn, "crowd")
	book, err := ledger.OpenMySQL(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	runCrowd(t, &market{edge: fleet.Edge, cli: fleet.CLI, ledger: book})
	fleet.Stop()
}

// freshDatabase makes a database of the test's own and gives its DSN; server has none in it.
func freshDatabase(t testing.TB, server string) string {
	t.Helper()
	if !strings.HasSuffix(server, "/") {
		server += "/"
	}
	admin, err := ledger.OpenMySQL(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	name := fmt.Sprintf("headgate_apptest_%d", time.Now().UnixNano())
	if err := admin.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Exec(context.Background(), "DROP DATABASE "+name) })
	return server + name
}

func runCrowd(t *testing.T, m *market) {
	t.Helper()
	m.must(t, "sale", "create", "crowd", "--title", "Crowd", "--stock", "500", "--limit", "1", "--price", "9900", "--open")
	buyers := m.buyers(t, crowdBuyers, "u")
	report, err := crowd.Run(t.Context(), crowd.Plan{
		Base: m.edge, Sale: "crowd", Connections: 3000, Twice: pressedTwice, Rounds: 20, Pause: 3 * time.Second, Timeout: 30 * time.Second,
	}, buyers)
	if err != nil {
		t.Fatal(err)
	}
	m.settled(t, "crowd")
	m.checkOutcome(t, outcome{sale: "crowd", stock: crowdStock, allowed: healthyAnswers(), healthy: true}, buyers, report)
	if n := report.Counts()["202"]; n < crowdStock {
		t.Errorf("%d times 202 for %d orders: somebody has an order and was never told", n, crowdStock)
	}
}
