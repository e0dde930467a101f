package apptest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"headgate.example/apptest/ledger"
	"headgate.example/apptest/programs"
)

// dueOrdersEnv sets how many orders fall due together; 100000 for the figure that is printed.
const dueOrdersEnv = "HEADGATE_TEST_DUE_ORDERS"

// TestDueTogether: orders whose deadlines lie in the same second are cancelled, and their units can be
// bought again, while another sale goes on. With 100,000 orders it prints how long that took.
func TestDueTogether(t *testing.T) {
	broker, server := need(t, "HEADGATE_TEST_AMQP_URL"), need(t, "HEADGATE_TEST_MYSQL_DSN")
	count := 3000
	if text := os.Getenv(dueOrdersEnv); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil || count < 1 {
			t.Fatalf("%s: %q is no number", dueOrdersEnv, text)
		}
	}
	dsn := freshDatabase(t, server)
	fleet := programs.StartFleet(t, bin, broker, dsn, "due")
	book, err := ledger.OpenMySQL(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	m := &market{edge: fleet.Edge, cli: fleet.CLI, ledger: book}
	for sale, stock := range map[string]int{"due": count, "other": 1_000_000} {
		m.must(t, "sale", "create", sale, "--title", sale, "--stock", strconv.Itoa(stock), "--limit", "1", "--price", "100", "--open")
	}
	counter := redis.NewClient(&redis.Options{Addr: fleet.RESP[0], Password: programs.ClientPassword, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = counter.Close() })
	publishOrders(t, broker, reserveMany(t, counter, count))
	unpaid := func(state string) int {
		n, err := book.Count(t.Context(), "due", state)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	waitFor(t, 3*time.Minute, "every order is in the ledger", func() bool { return unpaid("unpaid") == count })

	buyers := m.buyers(t, 20_000, "o")
	selling, stop := context.WithCancel(t.Context())
	sold := map[string]int{}
	var others sync.WaitGroup
	others.Go(func() {
		for next := 0; selling.Err() == nil && next+100 <= len(buyers); next += 100 {
			answers := pressFor(t, m.edge, "other", buyers[next:next+100], time.Minute)
			for what := range maps.Keys(answers) {
				sold[what] += answers[what]
			}
		}
	})
	due := time.Now().Add(10 * time.Second).UTC()
	if err := book.Exec(t.Context(), "UPDATE orders SET deadline = '"+due.Format("2006-01-02 15:04:05.000")+"' WHERE sale_id = 'due'"); err != nil {
		t.Fatal(err)
	}
	if time.Now().After(due) {
		t.Fatal("setting the deadlines took too long")
	}
	waitFor(t, 4*time.Minute, "every unit can be bought again", func() bool { return available(t, counter, "due") == count })
	took := time.Since(due)
	stop()
	others.Wait()
	if n := unpaid("cancelled"); n != count {
		t.Errorf("%d orders are cancelled, want %d", n, count)
	}
	if sold["202"] < 100 || len(sold) > 1 {
		t.Errorf("meanwhile in the other sale: %v; want nothing but 202", sold)
	}
	t.Logf("%d orders were due at once; their units were back after %s, while %v in another sale", count, took.Round(10*time.Millisecond), sold)
	if count >= 100_000 {
		fmt.Printf("ledger.deadline_seconds_100k: %.1f\n", took.Seconds()*100_000/float64(count))
		if took > 60*time.Second {
			t.Errorf("it took %s, want at most 60s", took)
		}
	}
	m.settled(t, "due")
	m.settled(t, "other")
	fleet.Stop()
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

// reserveMany reserves and confirms an order for each of so many users of sale "due", and gives the
// orders' messages.
func reserveMany(t *testing.T, counter *redis.Client, count int) (messages []string) {
	t.Helper()
	const batch = 500
	ctx := t.Context()
	for first := 0; first < count; first += batch {
		pipe := counter.Pipeline()
		var replies []*redis.Cmd
		for i := first; i < min(first+batch, count); i++ {
			replies = append(replies, pipe.Do(ctx, "RESERVE", "due", fmt.Sprintf("d%d", i), 1, ""))
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
			messages = append(messages, dueMessage(fmt.Sprint(fields[1]), "due", fmt.Sprintf("d%d", first+i), fmt.Sprint(fields[4])))
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
