package apptest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/ledger"
	"headgate.example/apptest/measure"
	"headgate.example/apptest/programs"
)

// dueOrdersEnv sets how many orders fall due together, 100000 for the figure that is printed; dueRoundsEnv
// sets how often.
const (
	dueOrdersEnv = "HEADGATE_TEST_DUE_ORDERS"
	dueRoundsEnv = "HEADGATE_TEST_DUE_ROUNDS"
)

// TestDueTogether: orders whose deadlines lie in the same second are cancelled, and their units can be
// bought again, while another sale goes on. With 100,000 orders it prints how long that took.
func TestDueTogether(t *testing.T) {
	broker, server := need(t, "HEADGATE_TEST_AMQP_URL"), need(t, "HEADGATE_TEST_MYSQL_DSN")
	count, rounds := int(envNumber(t, dueOrdersEnv, 3000)), int(envNumber(t, dueRoundsEnv, 1))
	dsn := freshDatabase(t, server)
	d := &dueTogether{broker: broker, fleet: programs.StartFleet(t, bin, broker, dsn, "due")}
	book, err := ledger.OpenMySQL(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	d.market = &market{edge: d.fleet.Edge, cli: d.fleet.CLI, ledger: book}
	d.counter = redis.NewClient(&redis.Options{Addr: d.fleet.RESP[0], Password: programs.ClientPassword, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = d.counter.Close() })
	d.others = d.buyers(t, 20_000, "o")
	var seconds []float64
	for round := range rounds {
		seconds = append(seconds, d.round(t, round, count).Seconds())
	}
	if count >= 100_000 {
		fmt.Printf("ledger.deadline_seconds_100k: %.1f (%d rounds, %.1f to %.1f)\n",
			measure.Median(seconds)*100_000/float64(count), rounds, slices.Min(seconds), slices.Max(seconds))
		if median := measure.Median(seconds); median > 60 {
			t.Errorf("it took %.1f s, want at most 60", median)
		}
	}
	d.fleet.Stop()
}

type dueTogether struct {
	*market
	broker  string
	fleet   *programs.Fleet
	counter *redis.Client
	others  []crowd.Buyer // of the other sale
}

// round lets orders fall due together, and gives the time from their deadline until every unit can be bought
// again.
func (d *dueTogether) round(t *testing.T, number, count int) time.Duration {
	t.Helper()
	dueSale, otherSale := fmt.Sprintf("due%d", number), fmt.Sprintf("other%d", number)
	for sale, stock := range map[string]int{dueSale: count, otherSale: 1_000_000} {
		d.must(t, "sale", "create", sale, "--title", sale, "--stock", strconv.Itoa(stock), "--limit", "1", "--price", "100", "--open")
	}
	publishOrders(t, d.broker, reserveMany(t, d.counter, dueSale, count))
	are := func(state string) int {
		n, err := d.ledger.Count(t.Context(), dueSale, state)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	waitFor(t, 3*time.Minute, "every order is in the ledger", func() bool { return are("unpaid") == count })

	selling, stop := context.WithCancel(t.Context())
	sold := map[string]int{}
	var others sync.WaitGroup
	others.Go(func() {
		for next := 0; selling.Err() == nil && next+100 <= len(d.others); next += 100 {
			answers := pressFor(t, d.edge, otherSale, d.others[next:next+100], time.Minute)
			for what := range maps.Keys(answers) {
				sold[what] += answers[what]
			}
		}
	})
	due := time.Now().Add(3*time.Second + time.Duration(count)*time.Millisecond/12).UTC() // 11 s for 100,000
	if err := d.ledger.Exec(t.Context(), "UPDATE orders SET deadline = '"+due.Format("2006-01-02 15:04:05.000")+"' WHERE sale_id = '"+dueSale+"'"); err != nil {
		t.Fatal(err)
	}
	if time.Now().After(due) {
		t.Fatal("setting the deadlines took too long")
	}
	waitFor(t, 4*time.Minute, "every unit can be bought again", func() bool { return available(t, d.counter, dueSale) == count })
	took := time.Since(due)
	stop()
	others.Wait()
	if n := are("cancelled"); n != count {
		t.Errorf("%d orders are cancelled, want %d", n, count)
	}
	if sold["202"] < 100 || len(sold) > 1 {
		t.Errorf("meanwhile in the other sale: %v; want nothing but 202", sold)
	}
	t.Logf("%d orders were due at once; their units were back after %s, while %v in another sale", count, took.Round(10*time.Millisecond), sold)
	d.settled(t, dueSale)
	d.settled(t, otherSale)
	return took
}

// available is what the counter can sell of a sale.
func available(t *testing.T, counter *redis.Client, sale string) int {
	t.Helper()
	fields, err := counter.Do(t.Context(), "SALE.INFO", sale).Slice()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "available" {
			n, _ := strconv.Atoi(fmt.Sprint(fields[i+1]))
			return n
		}
	}
	t.Fatalf("SALE.INFO tells no available units: %v", fields)
	return 0
}

// reserveMany reserves and confirms an order for each of so many users of a sale, and gives the orders'
// messages.
func reserveMany(t *testing.T, counter *redis.Client, sale string, count int) (messages []string) {
	t.Helper()
	const batch = 500
	ctx := t.Context()
	for first := 0; first < count; first += batch {
		pipe := counter.Pipeline()
		var replies []*redis.Cmd
		for i := first; i < min(first+batch, count); i++ {
			replies = append(replies, pipe.Do(ctx, "RESERVE", sale, fmt.Sprintf("d%d", i), 1, ""))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		confirm := []any{"CONFIRM"}
		for i, reply := range replies {
			fields, err := reply.Slice() // code, order, state, quantity, slot, expires
			if err != nil || len(fields) != 6 || fields[0] != "reserved" {
				t.Fatalf("reserving: %v, %v", fields, err)
			}
			confirm = append(confirm, fields[1])
			messages = append(messages, dueMessage(fmt.Sprint(fields[1]), sale, fmt.Sprintf("d%d", first+i), fmt.Sprint(fields[4])))
		}
		if err := counter.Do(ctx, confirm...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return messages
}

// dueMessage is what a backend publishes of an order, with a ticket of the fleet's key.
func dueMessage(order, sale, user, slot string) string {
	payload := fmt.Sprintf(`{"order":%q,"sale":%q,"user":%q,"quantity":1,"slot":%s,"key":"","exp":1}`, order, sale, user, slot)
	text := "v1.t1." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(programs.TicketSecret))
	mac.Write([]byte(text))
	ticket := text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	return fmt.Sprintf(`{"version":1,"ticket":%q,"accepted_at":%d}`, ticket, time.Now().UnixMilli())
}

// publishOrders puts messages into the fleet's queue, each confirmed.
func publishOrders(t *testing.T, broker string, messages []string) {
	t.Helper()
	conn, err := amqp.Dial(broker)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // everything was confirmed
	channel, err := conn.Channel()
	if err == nil {
		err = channel.Confirm(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	const window = 1000
	for first := 0; first < len(messages); first += window {
		var confirms []*amqp.DeferredConfirmation
		for _, body := range messages[first:min(first+window, len(messages))] {
			c, err := channel.PublishWithDeferredConfirm("due", "orders", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
			if err != nil {
				t.Fatal(err)
			}
			confirms = append(confirms, c)
		}
		for _, c := range confirms {
			if !c.Wait() {
				t.Fatal("the broker refused an order")
			}
		}
	}
}
