package apptest

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/ledger"
	"headgate.example/apptest/programs"
)

// The crowd before a full queue.
const (
	fullReady  = 40 // messages that the queue takes
	fullBuyers = 26_000
	fullAfter  = 8_000 // of them press when it is drained again
	fullHands  = 16    // buyers at a time
	fullFor    = 4 * time.Second
)

// TestQueueFull stops the consumer in front of a queue that takes a few orders only: once it is full,
// edges say `overloaded` without reserving, but for one order now and then that finds out; when it is
// drained they sell again by themselves.
func TestQueueFull(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { runQueueFull(t, programs.FleetSpec{}) })
	t.Run("rabbitmq", func(t *testing.T) {
		runQueueFull(t, programs.FleetSpec{AMQP: need(t, "HEADGATE_TEST_AMQP_URL"), Prefix: "full",
			MySQL: freshDatabase(t, need(t, "HEADGATE_TEST_MYSQL_DSN"))})
	})
}

func runQueueFull(t *testing.T, spec programs.FleetSpec) {
	spec.Edit = func(program string, c *programs.Config) {
		switch program {
		case "backend", "consumer":
			c.Set("queue.max_ready", fullReady)
		case "headgate":
			c.Set("backend.queue.max_ready", fullReady)
			c.Set("consumer.queue.max_ready", fullReady)
		}
	}
	fleet := programs.NewFleet(t, bin, spec)
	open := func() (*ledger.Ledger, error) { return ledger.OpenSQLite(fleet.LedgerFile) }
	if spec.MySQL != "" {
		open = func() (*ledger.Ledger, error) { return ledger.OpenMySQL(spec.MySQL) }
	}
	book, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	m := &market{edge: fleet.Edge, cli: fleet.CLI, ledger: book}
	m.must(t, "sale", "create", "full", "--title", "Full", "--stock", "10000", "--limit", "1", "--price", "100", "--open")
	buyers := m.buyers(t, fullBuyers, "f")
	n := 0
	waitFor(t, patience, "the edge knows of the sale", func() bool {
		n += 30
		return pressFor(t, m.edge, "full", buyers[n-30:n], time.Minute)["202"] == 30
	})
	fleet.Consumer.Kill()
	reached, began := counted(t, fleet), time.Now()

	answers := pressFor(t, m.edge, "full", buyers[n:fullBuyers-fullAfter], fullFor)
	took := time.Since(began)
	inVain := counted(t, fleet) - reached
	held := m.show(t, "full").Counter.Held
	t.Logf("in %s: %v; %d orders reached the shop, %d units held afterwards", took.Round(time.Millisecond), answers, inVain, held)
	for what := range answers {
		if what != "202" && what != "503 overloaded" {
			t.Errorf("%d times %s", answers[what], what)
		}
	}
	if answers["503 overloaded"] < 500 {
		t.Errorf("only %d were told overloaded", answers["503 overloaded"])
	}
	// What was under way when it was full, the probes, and room for a queue that overshoots a little.
	if most := answers["202"] + 2*fullHands + 2*int(took/time.Second); inVain > most {
		t.Errorf("%d orders reached the shop, want at most %d: they were reserved in vain", inVain, most)
	}
	if held != 0 {
		t.Errorf("%d units are held for orders that were refused", held)
	}

	fleet.StartConsumer(0)
	back := time.Now()
	n = fullBuyers - fullAfter
	waitFor(t, patience, "it sells again", func() bool {
		n++
		return pressFor(t, m.edge, "full", buyers[n:n+1], time.Minute)["202"] == 1
	})
	t.Logf("sells again %s after the consumer was back", time.Since(back).Round(time.Millisecond))
	waitFor(t, patience, "and to everybody", func() bool {
		some := pressFor(t, m.edge, "full", buyers[n+1:n+31], time.Minute)
		n += 30
		return some["202"] == 30
	})
	m.settled(t, "full")
	fleet.Stop()
}

// counted is how many orders the edge has sent to the shop.
func counted(t *testing.T, fleet *programs.Fleet) int {
	t.Helper()
	return metric(t, fleet.Admin("interceptor")+"/metrics", `^headgate_interceptor_upstream_attempts_total\{[^}]*lane="orders"[^}]*\} (\d+)$`)
}

// metric adds up the figures of the lines that fit.
func metric(t *testing.T, url, line string) (sum int) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)"+line).FindAllSubmatch(text, -1)
	if len(found) == 0 {
		t.Fatalf("no line fits %s", line)
	}
	for _, match := range found {
		n, _ := strconv.Atoi(string(match[1])) // digits
		sum += n
	}
	return sum
}

// pressFor lets each buyer press once, fullHands at a time, each hand at most 200 times a second, until
// all have or the time is over.
func pressFor(t *testing.T, edge, sale string, buyers []crowd.Buyer, most time.Duration) map[string]int {
	t.Helper()
	var group sync.WaitGroup
	var next atomic.Int64
	var mu sync.Mutex
	answers := map[string]int{}
	end := time.Now().Add(most)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: fullHands}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	for range min(fullHands, len(buyers)) {
		group.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for ; time.Now().Before(end); <-tick.C {
				i := int(next.Add(1)) - 1
				if i >= len(buyers) {
					return
				}
				what := pressOnce(client, edge, sale, buyers[i])
				mu.Lock()
				answers[what]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return answers
}

// pressOnce gives the status and the refusal's code.
func pressOnce(client *http.Client, edge, sale string, buyer crowd.Buyer) string {
	r, err := http.NewRequest(http.MethodPost, edge+"/api/sales/"+sale+"/orders", nil)
	if err != nil {
		return err.Error()
	}
	r.Header.Set("Authorization", "Bearer "+buyer.Token)
	response, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close() //nolint:errcheck // only read
	_, _ = io.Copy(io.Discard, response.Body)
	what := strconv.Itoa(response.StatusCode)
	if code := response.Header.Get("Headgate-Code"); code != "" {
		what += " " + code
	}
	return what
}
