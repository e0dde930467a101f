package apptest

import (
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/programs"
)

const stopOrders = 20_000

// TestConsumerStops asks one of two consumers to stop in the middle of a full queue: it finishes what it
// has in hand and leaves. Nothing is half written, and the other one gets nothing that was written
// already: no storm of redeliveries.
func TestConsumerStops(t *testing.T) {
	broker := need(t, "HEADGATE_TEST_AMQP_URL")
	dsn := freshDatabase(t, need(t, "HEADGATE_TEST_MYSQL_DSN"))
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a test's end
	fleet := programs.NewFleet(t, bin, programs.FleetSpec{AMQP: broker, MySQL: dsn, Prefix: "stop", Consumers: 2})
	d := &drain{fleet: fleet, broker: broker, db: db, prefix: "stop"}
	m := &market{edge: fleet.Edge, cli: fleet.CLI}
	m.must(t, "sale", "create", "stop", "--title", "Stop", "--stock", strconv.Itoa(stopOrders), "--limit", "1", "--price", "100", "--hold-for", "10m", "--open")
	for _, p := range fleet.Consumers {
		p.Stop(time.Minute)
	}
	d.fill(t, "stop", stopOrders)
	fleet.StartConsumers()
	sold := func() (n int) {
		if err := db.QueryRowContext(t.Context(), "SELECT sold FROM sales WHERE id = 'stop'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	waitFor(t, patience, "the consumers are in the middle of it", func() bool { return sold() > stopOrders/10 })
	if code := fleet.Consumers[0].Stop(time.Minute); code != 0 {
		t.Errorf("exit code %d", code)
	}
	at := sold()
	if at == stopOrders {
		t.Log("the queue was empty before the consumer had stopped")
	}
	waitFor(t, patience, "the other one does the rest", func() bool { return sold() == stopOrders })
	var orders, journal int
	if err := db.QueryRowContext(t.Context(), "SELECT (SELECT COUNT(*) FROM orders WHERE sale_id = 'stop' AND state = 'unpaid'), (SELECT COUNT(*) FROM stock_journal WHERE sale_id = 'stop')").Scan(&orders, &journal); err != nil {
		t.Fatal(err)
	}
	if orders != stopOrders || journal != stopOrders {
		t.Errorf("%d orders and %d journal rows, want %d of each", orders, journal, stopOrders)
	}
	m.settled(t, "stop")
	if at < stopOrders {
		waitFor(t, patience, "the other one shows what it did", func() bool {
			return strings.Contains(page(fleet.Admin("consumer-2")+"/metrics"), `headgate_consumer_orders_total{outcome="written"}`)
		})
	}
	if known := knownOrders(t, fleet.Admin("consumer-2")); known != 0 {
		t.Errorf("%d written orders were delivered to the other consumer again", known)
	}
	t.Logf("stopped at %d of %d orders", at, stopOrders)
	fleet.StartConsumer(0)
	fleet.Stop()
}

// knownOrders is how many messages a consumer got whose orders were in the ledger already. A line shows once it is not 0.
func knownOrders(t *testing.T, admin string) (known int) {
	t.Helper()
	const line = `headgate_consumer_orders_total{outcome="known"} %d`
	for text := range strings.Lines(page(admin + "/metrics")) {
		if _, err := fmt.Sscanf(text, line, &known); err == nil {
			break
		}
	}
	return known
}
