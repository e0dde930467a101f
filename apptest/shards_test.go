package apptest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/ledger"
	"headgate.example/apptest/programs"
)

// The size of the crowds over several shards.
const (
	shardBuyers = 10_000
	shardStock  = 301
)

// startShards runs the programs with a counter of several shards, on the embedded queue and SQLite.
func startShards(t *testing.T, count int) (*programs.Fleet, *market) {
	t.Helper()
	fleet := programs.NewFleet(t, bin, programs.FleetSpec{Shards: count})
	book, err := ledger.OpenSQLite(fleet.LedgerFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	return fleet, &market{edge: fleet.Edge, cli: fleet.CLI, ledger: book}
}

// saleFigures is what `headgate sale show --json` tells of the counter.
type saleFigures struct {
	Phase   string `json:"phase"`
	Pending bool   `json:"pending"`
	Alarm   string `json:"alarm"`
	Counter struct {
		Stock, Available, Held, Confirmed, Debt int64
		InTransfer                              int64 `json:"in_transfer"`
		Silent                                  []string
		Shards                                  []struct {
			Shard                                string
			Alloc, Taken, Given, Available, Held int64
			Scheduled, Confirmed, Debt, Revision int64
		}
	} `json:"counter"`
}

func (m *market) show(t *testing.T, sale string) (figures saleFigures) {
	t.Helper()
	programs.DecodeJSON(t, m.must(t, "sale", "show", sale, "--json"), &figures)
	return figures
}

// byShard sorts buyers by the shard that serves them, as `headgate ring` tells.
func (m *market) byShard(t *testing.T, buyers []crowd.Buyer) map[string][]crowd.Buyer {
	t.Helper()
	args := []string{"ring", "--json"}
	for _, b := range buyers {
		args = append(args, "--key", b.User)
	}
	var report struct{ Owners map[string]string }
	programs.DecodeJSON(t, m.must(t, args...), &report)
	sorted := make(map[string][]crowd.Buyer)
	for _, b := range buyers {
		sorted[report.Owners[b.User]] = append(sorted[report.Owners[b.User]], b)
	}
	return sorted
}

// press lets one buyer press until there is a final answer, and gives it.
func (m *market) press(t *testing.T, sale string, buyer crowd.Buyer, rounds int) crowd.Answer {
	t.Helper()
	report, err := crowd.Run(t.Context(), crowd.Plan{Base: m.edge, Sale: sale, Connections: 2, Rounds: rounds, Pause: 2 * time.Second}, []crowd.Buyer{buyer})
	if err != nil {
		t.Fatal(err)
	}
	return report.Answers[len(report.Answers)-1]
}

// TestLastUnitOfAnotherShard: the only unit lies on the first shard, and a buyer of the third gets it.
func TestLastUnitOfAnotherShard(t *testing.T) {
	fleet, m := startShards(t, 3)
	m.must(t, "sale", "create", "last", "--title", "Last", "--stock", "1", "--limit", "1", "--price", "100", "--open")
	sorted := m.byShard(t, m.buyers(t, 30, "l"))
	if a := m.press(t, "last", sorted["s3"][0], 5); !a.Accepted() {
		t.Errorf("a buyer of the empty shard was told %s", a.What())
	}
	for _, shard := range []string{"s1", "s2", "s3"} {
		if a := m.press(t, "last", sorted[shard][1], 5); a.Code != "sold_out" {
			t.Errorf("a buyer of shard %s was told %s", shard, a.What())
		}
	}
	m.settled(t, "last")
	m.checkLedger(t, outcome{sale: "last", stock: 1})
	show := m.must(t, "sale", "show", "last")
	for _, want := range []string{"shard s1", "alloc 1 + taken 0 - given 1", "shard s3", "alloc 0 + taken 1 - given 0"} {
		if !strings.Contains(show, want) {
			t.Errorf("sale show lacks %q:\n%s", want, show)
		}
	}
	if out := m.must(t, "audit", "--sale", "last"); !strings.Contains(out, "ok shard s2") || !strings.Contains(out, "in transfer") {
		t.Errorf("audit does not show the shards:\n%s", out)
	}
	fleet.Stop()
}

// TestCrowdOverTwoShards lets 10,000 buyers, a fifth of them pressing twice at once, buy from two shards.
// Most of them belong to the second one, which has to borrow nearly everything that the first has.
func TestCrowdOverTwoShards(t *testing.T) {
	fleet, m := startShards(t, 2)
	m.must(t, "sale", "create", "two", "--title", "Two", "--stock", strconv.Itoa(shardStock), "--limit", "1", "--price", "100", "--open")
	sorted := m.byShard(t, m.buyers(t, 2*shardBuyers, "w"))
	buyers := sorted["s2"][:shardBuyers-1500]
	buyers = append(buyers, sorted["s1"][:shardBuyers-len(buyers)]...)
	report, err := crowd.Run(t.Context(), crowd.Plan{
		Base: m.edge, Sale: "two", Connections: 1000, Twice: pressedTwice, Rounds: 30, Pause: 2 * time.Second, Timeout: 30 * time.Second,
	}, buyers)
	if err != nil {
		t.Fatal(err)
	}
	m.settled(t, "two")
	m.checkOutcome(t, outcome{sale: "two", stock: shardStock, allowed: healthyAnswers(), healthy: true}, buyers, report)
	if figures := m.show(t, "two").Counter; len(figures.Shards) != 2 || figures.Shards[1].Taken < shardStock/4 || figures.Shards[1].Confirmed <= figures.Shards[0].Confirmed {
		t.Errorf("the second shard borrowed too little: %+v", figures)
	}
	fleet.Stop()
}

// TestOneShardIsKilled kills one of three shards in the middle of a sale. Buyers of the others go on,
// nobody is told that all is sold while its units lie there, and after its restart everything is sold.
func TestOneShardIsKilled(t *testing.T) {
	t.Parallel()
	const stock, buyerCount = 600, 3000
	fleet, m := startShards(t, 3)
	m.must(t, "sale", "create", "kill", "--title", "Kill", "--stock", strconv.Itoa(stock), "--limit", "1", "--price", "100", "--hold-for", "5s", "--open")
	buyers := m.buyers(t, buyerCount, "x")
	sorted := m.byShard(t, buyers)
	shardOf := make(map[string]string)
	for shard, mine := range sorted {
		for _, b := range mine {
			shardOf[b.User] = shard
		}
	}

	killed := make(chan struct{})
	var report *crowd.Report
	finished := make(chan error, 1)
	go func() {
		var err error
		report, err = crowd.Run(t.Context(), crowd.Plan{
			Base: m.edge, Sale: "kill", Connections: 64, Rounds: 60, Pause: 2 * time.Second, Timeout: 20 * time.Second,
			OnAnswer: func(count int64) {
				if count == stock/3 {
					close(killed)
				}
			},
		}, buyers)
		finished <- err
	}()
	<-killed
	fleet.Counters[1].Kill()
	down := time.Now()

	// Those of the living shards get all that lies there.
	waitFor(t, patience, "the living shards have sold their units", func() bool {
		figures := m.show(t, "kill")
		if !slices.Equal(figures.Counter.Silent, []string{"s2"}) || figures.Phase == "sold_out" {
			t.Logf("with a silent shard: %+v", figures)
		}
		return figures.Counter.Available == 0 && figures.Counter.Held == 0 && slices.Equal(figures.Counter.Silent, []string{"s2"})
	})
	if r := m.cli("audit", "--sale", "kill"); r.Code != 3 {
		t.Errorf("an audit without one shard: exit code %d\n%s", r.Code, r.Stdout)
	}
	// Those whose shard is away are told to wait, longer and longer, and without asking it each time.
	newcomers := m.byShard(t, m.buyers(t, 600, "late"))["s2"]
	pressed := 0
	waitFor(t, patience, "Retry-After grows", func() bool {
		a := m.press(t, "kill", newcomers[pressed], 1)
		if pressed++; a.What() != "503 unavailable" {
			t.Errorf("a newcomer of the silent shard was told %s", a.What())
		}
		return a.RetryAfter > 2 || pressed == len(newcomers)
	})
	up := time.Now()
	fleet.StartCounter(1)
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	m.settled(t, "kill")
	// Holds that died with the edge's calls have expired since: others can buy them.
	late, err := crowd.Run(t.Context(), crowd.Plan{Base: m.edge, Sale: "kill", Rounds: 30, Pause: time.Second}, m.buyers(t, 50, "n"))
	if err != nil {
		t.Fatal(err)
	}
	m.settled(t, "kill")
	t.Logf("the latecomers: %v", late.Counts())
	allowed := healthyAnswers()
	allowed["503 unknown_outcome"], allowed["no answer"] = true, true
	m.checkOutcome(t, outcome{sale: "kill", stock: stock, allowed: allowed}, buyers, report)
	sold, waits := 0, make(map[int]int)
	for _, a := range report.Answers {
		shard, meanwhile := shardOf[buyers[a.Buyer].User], a.At.After(down) && a.Sent.Before(up)
		switch {
		case meanwhile && a.Sent.After(down) && a.At.Before(up) && a.Code == "sold_out":
			t.Errorf("%s was told sold_out while shard s2 was away with units", buyers[a.Buyer].User)
		case meanwhile && a.Sent.After(down) && a.At.Before(up) && a.Accepted() && shard != "s2":
			sold++
		case meanwhile && a.Code == "unavailable":
			waits[a.RetryAfter]++
		}
	}
	if sold == 0 {
		t.Error("nobody bought at the living shards while one was away")
	}
	for seconds := range waits {
		if seconds > 16 { // twice the longest mark
			t.Errorf("Retry-After of %d s", seconds)
		}
	}
	t.Logf("%d bought at the living shards meanwhile; Retry-After: %v", sold, waits)
	fleet.Stop()
}

// TestStockChangesOverShards raises and cuts the stock in the middle of a sale, below what one shard has
// sold: the others pay.
func TestStockChangesOverShards(t *testing.T) {
	t.Parallel()
	fleet, m := startShards(t, 2)
	m.must(t, "sale", "create", "stock", "--title", "Stock", "--stock", "40", "--limit", "1", "--price", "100", "--open")
	sorted := m.byShard(t, m.buyers(t, 200, "c"))
	first, second := sorted["s1"], sorted["s2"]
	buy := func(buyers []crowd.Buyer, accepted int, otherwise string) {
		t.Helper()
		report, err := crowd.Run(t.Context(), crowd.Plan{Base: m.edge, Sale: "stock", Connections: 20, Rounds: 20, Pause: time.Second}, buyers)
		if err != nil {
			t.Fatal(err)
		}
		if n := report.Counts()["202"]; n != accepted || report.Undecided > 0 {
			t.Errorf("%d of %d bought, want %d, the others %s: %v", n, len(buyers), accepted, otherwise, report.Counts())
		}
	}
	buy(first[:18], 18, "")                   // of its 20
	m.must(t, "sale", "stock", "stock", "24") // the first owes 6, the second keeps 12
	m.settled(t, "stock")
	if f := m.show(t, "stock"); f.Pending || f.Alarm != "" || f.Counter.Debt != 0 || f.Counter.Available != 6 || f.Phase != "open" {
		t.Errorf("after the cut: %+v", f)
	}
	m.must(t, "sale", "stock", "stock", "10") // below what is sold
	m.settled(t, "stock")
	if f := m.show(t, "stock"); f.Pending || f.Counter.Debt != 8 || f.Counter.Available != 0 {
		t.Errorf("what nobody can pay is owed: %+v", f)
	}
	buy(second[:3], 0, "sold_out")
	m.must(t, "sale", "stock", "stock", "30") // pays what is owed first
	// Edge and shards may believe for a moment that all is gone. It ends by itself, for buyers of each shard.
	for _, buyer := range []crowd.Buyer{first[18], second[3]} {
		waitFor(t, patience, "what was returned is sold", func() bool {
			report, err := crowd.Run(t.Context(), crowd.Plan{Base: m.edge, Sale: "stock", Connections: 2, Rounds: 20, Pause: time.Second}, []crowd.Buyer{buyer})
			if err != nil {
				t.Fatal(err)
			}
			return err == nil && report.Counts()["202"] == 1
		})
	}
	buy(slices.Concat(first[19:28], second[4:13]), 10, "sold_out")
	m.settled(t, "stock")
	m.checkLedger(t, outcome{sale: "stock", stock: 30})
	if out := m.must(t, "audit", "--sale", "stock", "--json"); !strings.Contains(out, `"in_transfer"`) {
		t.Errorf("audit: %s", out)
	}
	fmt.Fprintln(t.Output(), m.must(t, "sale", "show", "stock"))
	fleet.Stop()
}
