package apptest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/programs"
)

// Each round kills the program once or twice while this many buyers press.
const (
	killBuyers = 1500
	killStock  = 600
)

// TestKillRounds kills the one-process program with kill -9 at random moments under load, starts it
// again on the same data, and compares every answer that buyers got with the ledger. The seed is
// printed; HEADGATE_KILL_SEED repeats it, HEADGATE_KILL_ROUNDS sets the number of rounds.
func TestKillRounds(t *testing.T) {
	t.Parallel()
	rounds := int(envNumber(t, "HEADGATE_KILL_ROUNDS", 3))
	seed := envNumber(t, "HEADGATE_KILL_SEED", time.Now().UnixNano())
	t.Logf("HEADGATE_KILL_SEED=%d HEADGATE_KILL_ROUNDS=%d", seed, rounds)
	random := rand.New(rand.NewPCG(uint64(seed), 0))

	dev := programs.NewDev(t, bin, nil)
	dev.Start()
	m := devMarket(t, dev)
	buyers, newcomers := m.buyers(t, killBuyers, "k"), m.buyers(t, 100, "n")
	for round := range rounds {
		killRound(t, dev, m, buyers, newcomers, fmt.Sprintf("kill%d", round), random)
		if t.Failed() {
			t.Fatalf("stopped after round %d; repeat with HEADGATE_KILL_SEED=%d", round, seed)
		}
	}
	m.settled(t, "kill0") // earlier rounds still agree
}

// killRound runs one crowd and kills the program once or twice while it presses.
func killRound(t *testing.T, dev *programs.Dev, m *market, buyers, newcomers []crowd.Buyer, sale string, random *rand.Rand) {
	t.Helper()
	// The moments are numbers of answers, so that they fall into the load whatever the machine's speed.
	moments := []int64{1 + random.Int64N(killBuyers/2)}
	if random.IntN(2) == 0 {
		moments = append(moments, moments[0]+1+random.Int64N(killBuyers))
	}
	pressThrough(t, m, trouble{sale: sale, stock: killStock, moments: moments, fault: func() {
		dev.Kill()
		dev.Start()
	}}, buyers, newcomers)
}

// trouble is a fault, or several, in the middle of a crowd.
type trouble struct {
	sale    string
	stock   int64
	before  func()  // called when the sale is open, before anybody presses; nil: nothing
	moments []int64 // numbers of answers after which fault is called, ascending
	fault   func()
	after   func(*crowd.Report) // called when the crowd has its answers; nil: nothing
}

// pressThrough opens a sale, lets buyers press through the trouble, and then compares every answer that
// they got with the ledger, and counter, queue and ledger with each other. Newcomers buy what was held by
// presses that came to nothing: no unit is stuck.
func pressThrough(t *testing.T, m *market, tr trouble, buyers, newcomers []crowd.Buyer) {
	t.Helper()
	m.must(t, "sale", "create", tr.sale, "--title", "Trouble", "--stock", strconv.FormatInt(tr.stock, 10), "--limit", "1", "--price", "100", "--hold-for", "2s", "--open")
	if tr.before != nil {
		tr.before()
	}
	reached := make(chan int64, len(tr.moments))
	next := 0
	finished := make(chan struct{})
	var report *crowd.Report
	var runErr error
	var mu sync.Mutex // guards next
	go func() {
		defer close(finished)
		report, runErr = crowd.Run(t.Context(), crowd.Plan{
			Base: m.edge, Sale: tr.sale, Connections: 64, Rounds: 60, Pause: time.Second, Timeout: 10 * time.Second,
			Key: func(buyer int) string { // half of the buyers send a key, as a careful client does
				if buyer%2 == 0 {
					return ""
				}
				return fmt.Sprintf("%s-%d", tr.sale, buyer)
			},
			OnAnswer: func(count int64) {
				mu.Lock()
				defer mu.Unlock()
				if next < len(tr.moments) && count >= tr.moments[next] {
					next++
					reached <- count
				}
			},
		}, buyers)
	}()
	for range tr.moments {
		select {
		case count := <-reached:
			t.Logf("sale %s: trouble after %d answers", tr.sale, count)
			tr.fault()
		case <-finished:
		}
	}
	<-finished
	if runErr != nil {
		t.Fatal(runErr)
	}
	if tr.after != nil {
		tr.after(report)
	}
	m.settled(t, tr.sale)
	// What was held by a press that died with the program has expired: others can buy it.
	late, err := crowd.Run(t.Context(), crowd.Plan{Base: m.edge, Sale: tr.sale, Rounds: 30, Pause: time.Second}, newcomers)
	if err != nil {
		t.Fatal(err)
	}
	m.settled(t, tr.sale)
	want := outcome{sale: tr.sale, stock: tr.stock, allowed: killAnswers()}
	m.checkOutcome(t, want, buyers, report)
	m.checkOutcome(t, want, newcomers, late)
}

// killAnswers are what buyers may be told while the program is killed and started again.
func killAnswers() map[string]bool {
	allowed := healthyAnswers()
	for _, word := range []string{"no answer", "503 unknown_outcome"} {
		allowed[word] = true
	}
	return allowed
}

func envNumber(t *testing.T, name string, byDefault int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		t.Fatalf("%s: want a whole number from 1, got %q", name, text)
	}
	return n
}
