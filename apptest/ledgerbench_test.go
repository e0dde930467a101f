package apptest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"headgate.example/apptest/measure"
	"headgate.example/apptest/programs"
)

const (
	drainPairs       = 5
	drainOrders      = 30_000 // of one run
	tutorialRun      = 2 * time.Second
	tutorialSessions = 32
)

// BenchmarkLedgerDrain measures the real consumer from a full queue to committed rows, its CONFIRM at
// the real counter included, against the design of the tutorials (one transaction a request: UPDATE of
// the stock, INSERT of the order; 32 connections) and against LOAD DATA of the rows that it wrote, all
// on the same MariaDB. It prints the figures for `make bench-ledger`.
func BenchmarkLedgerDrain(b *testing.B) {
	broker := need(b, "HEADGATE_TEST_AMQP_URL")
	dsn := freshDatabase(b, need(b, "HEADGATE_TEST_MYSQL_DSN"))
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a benchmark's end
	d := &drain{fleet: programs.StartFleet(b, bin, broker, dsn, "drain"), broker: broker, prefix: "drain", db: db}
	for b.Loop() {
		var ratios, drained, single, loads []float64
		for pair := range drainPairs {
			var rates [2]float64
			for turn := range rates {
				switch side := (turn + pair) % 2; side { // each goes first in half of the pairs
				case 0:
					rates[side] = d.run(b, fmt.Sprintf("drain%d", pair))
				default:
					rates[side] = d.tutorial(b, pair)
				}
			}
			drained, single, ratios = append(drained, rates[0]), append(single, rates[1]), append(ratios, rates[0]/rates[1])
			loads = append(loads, d.loadData(b, fmt.Sprintf("drain%d", pair)))
		}
		fmt.Printf("ledger.drain.orders_vs_single_row_tx: %.1f (%d pairs, %.1f to %.1f; one consumer %.0f orders/s, one transaction a request %.0f orders/s)\n",
			measure.Median(ratios), drainPairs, slices.Min(ratios), slices.Max(ratios), measure.Median(drained), measure.Median(single))
		rows := 2 * measure.Median(drained) // each order with its journal row
		fmt.Printf("ledger.rows_vs_load_data: %.2f (one consumer %.0f rows/s, queue and counter included; LOAD DATA of the same rows %.0f/s)\n",
			rows/measure.Median(loads), rows, measure.Median(loads))
	}
	d.fleet.Stop()
}

// drain is what the runs share.
type drain struct {
	fleet  *programs.Fleet
	broker string
	prefix string // of the fleet's queues
	db     *sql.DB
}

// run fills the queue while no consumer runs, starts one, and gives the orders a second between the
// first and the last row that it commits.
func (d *drain) run(b *testing.B, sale string) float64 {
	b.Helper()
	m := &market{cli: d.fleet.CLI}
	m.must(b, "sale", "create", sale, "--title", "Drain", "--stock", strconv.Itoa(drainOrders), "--limit", "1", "--price", "100", "--hold-for", "10m", "--open")
	d.fleet.Consumer.Stop(time.Minute)
	d.fill(b, sale, drainOrders)
	d.fleet.StartConsumer(0)
	var first, last time.Time
	var before int64
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(2 * time.Minute)
	for sold := int64(0); sold < drainOrders; <-tick.C {
		if err := d.db.QueryRowContext(b.Context(), "SELECT sold FROM sales WHERE id = ?", sale).Scan(&sold); err != nil {
			b.Fatal(err)
		}
		last = time.Now()
		if sold > 0 && first.IsZero() {
			first, before = last, sold
		}
		if last.After(end) {
			b.Fatalf("%d of %d orders were written\n%s", sold, drainOrders, d.fleet.Consumer.Log())
		}
	}
	return float64(drainOrders-before) / last.Sub(first).Seconds()
}

// fill takes units at the counter, as the edge does, and publishes the orders.
func (d *drain) fill(b testing.TB, sale string, orders int) {
	b.Helper()
	counter := redis.NewClient(&redis.Options{Addr: d.fleet.RESP[0], Password: programs.ClientPassword, Protocol: 2, DisableIdentity: true})
	defer counter.Close() //nolint:errcheck // a benchmark's end
	conn, err := amqp.Dial(d.broker)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a benchmark's end
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		b.Fatal(err)
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, orders))
	const at = 500
	for n := 0; n < orders; n += at {
		pipe := counter.Pipeline()
		users := make([]string, at)
		replies := make([]*redis.Cmd, at)
		for i := range users {
			users[i] = fmt.Sprintf("%s-%d", sale, n+i)
			replies[i] = pipe.Do(b.Context(), "RESERVE", sale, users[i], 1, "")
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
		confirm := []any{"CONFIRM"}
		for i, reply := range replies {
			hold, err := reply.Slice()
			if err != nil || len(hold) < 6 || hold[0] != "reserved" {
				b.Fatalf("RESERVE said %v, %v", hold, err)
			}
			confirm = append(confirm, hold[1])
			message := orderMessage(fmt.Sprint(hold[1]), sale, users[i])
			if err := ch.Publish(d.prefix, "orders", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: message}); err != nil {
				b.Fatal(err)
			}
		}
		if err := counter.Do(b.Context(), confirm...).Err(); err != nil {
			b.Fatal(err)
		}
	}
	for range orders {
		if c := <-confirms; !c.Ack {
			b.Fatal("the broker refused a message")
		}
	}
}

// orderMessage is what the backend publishes, with a ticket as the edge signs it.
func orderMessage(order, sale, user string) []byte {
	now := time.Now().UnixMilli()
	payload := fmt.Sprintf(`{"order":"%s","sale":"%s","user":"%s","quantity":1,"slot":1,"key":"","exp":%d}`, order, sale, user, now+600_000)
	signed := "v1.t1." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(programs.TicketSecret))
	mac.Write([]byte(signed))
	return fmt.Appendf(nil, `{"version":1,"ticket":"%s.%s","accepted_at":%d}`, signed, base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), now)
}

// tutorial gives the orders a second of the design that is usually shown.
func (d *drain) tutorial(b *testing.B, run int) float64 {
	b.Helper()
	d.exec(b, "CREATE TABLE IF NOT EXISTS tutorial_stock (id INT PRIMARY KEY, n BIGINT NOT NULL)")
	d.exec(b, "CREATE TABLE IF NOT EXISTS tutorial_orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, sale INT NOT NULL, user VARCHAR(64) NOT NULL, created DATETIME(3) NOT NULL, UNIQUE KEY once (sale, user))")
	d.exec(b, "INSERT INTO tutorial_stock VALUES (?, 1000000000)", run)
	d.db.SetMaxIdleConns(tutorialSessions)
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	var done, next atomic.Int64
	var sessions sync.WaitGroup
	began := time.Now()
	for range tutorialSessions {
		sessions.Go(func() {
			for time.Since(began) < tutorialRun {
				if err := tutorialOrder(ctx, d.db, run, fmt.Sprintf("user-%d", next.Add(1))); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	sessions.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

func tutorialOrder(ctx context.Context, db *sql.DB, sale int, user string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	result, err := tx.ExecContext(ctx, "UPDATE tutorial_stock SET n = n - 1 WHERE id = ? AND n > 0", sale)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%d rows: %w", n, err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO tutorial_orders (sale, user, created) VALUES (?, ?, NOW(3))", sale, user); err != nil {
		return err
	}
	return tx.Commit()
}

// loadData gives the rows a second of LOAD DATA with the orders and journal rows of a sale, into tables
// of the same shape.
func (d *drain) loadData(b *testing.B, sale string) float64 {
	b.Helper()
	var rows int
	var took time.Duration
	for _, table := range []string{"orders", "stock_journal"} {
		text, n := d.dump(b, table, sale)
		if n != drainOrders {
			b.Fatalf("%d rows in %s, want %d", n, table, drainOrders)
		}
		mysql.RegisterReaderHandler("rows", func() io.Reader { return bytes.NewReader(text) })
		d.exec(b, "DROP TABLE IF EXISTS loaded")
		d.exec(b, "CREATE TABLE loaded LIKE "+table)
		began := time.Now()
		d.exec(b, "LOAD DATA LOCAL INFILE 'Reader::rows' INTO TABLE loaded CHARACTER SET utf8mb4")
		took += time.Since(began)
		rows += n
	}
	mysql.DeregisterReaderHandler("rows")
	d.exec(b, "DROP TABLE loaded")
	return float64(rows) / took.Seconds()
}

// dump gives a table's rows of a sale in the form that LOAD DATA reads, and their number.
func (d *drain) dump(b *testing.B, table, sale string) ([]byte, int) {
	b.Helper()
	rows, err := d.db.QueryContext(b.Context(), "SELECT * FROM "+table+" WHERE sale_id = ? ORDER BY 1", sale)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // only read
	columns, err := rows.Columns()
	if err != nil {
		b.Fatal(err)
	}
	values, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	var text bytes.Buffer
	n := 0
	for ; rows.Next(); n++ {
		if err := rows.Scan(targets...); err != nil {
			b.Fatal(err)
		}
		for i, v := range values {
			field := `\N`
			if v.Valid {
				field = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`).Replace(v.String)
			}
			text.WriteString(field)
			text.WriteByte("\t\n"[min(i/(len(values)-1), 1)])
		}
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	return text.Bytes(), n
}

func (d *drain) exec(b *testing.B, statement string, args ...any) {
	b.Helper()
	if _, err := d.db.ExecContext(b.Context(), statement, args...); err != nil {
		b.Fatalf("%s: %v", statement, err)
	}
}
