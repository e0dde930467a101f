package apptest

import (
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/apptest/ledger"
	"headgate.example/apptest/programs"
)

// TestBackendsRestartInTurn restarts each of two backends under load, gently and then with kill -9. What
// never left goes to the other one; only what was under way at a killed one is an unknown outcome.
func TestBackendsRestartInTurn(t *testing.T) {
	// On a real broker: the file of the embedded queue is one that two backends and a consumer take turns at, and on a machine
	// that does much else one of them may wait too long.
	dsn := freshDatabase(t, need(t, "HEADGATE_TEST_MYSQL_DSN"))
	fleet := programs.NewFleet(t, bin, programs.FleetSpec{Backends: 2, AMQP: need(t, "HEADGATE_TEST_AMQP_URL"), MySQL: dsn, Prefix: "turn"})
	book, err := ledger.OpenMySQL(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	m := &market{edge: fleet.Edge, cli: fleet.CLI, ledger: book}
	m.must(t, "sale", "create", "turn", "--title", "Turn", "--stock", "100000", "--limit", "1", "--price", "100", "--hold-for", "5s", "--open")
	buyers := m.buyers(t, 80_000, "t")
	n := 0
	waitFor(t, patience, "the edge knows of the sale", func() bool {
		n += 30
		return pressFor(t, m.edge, "turn", buyers[n-30:n], time.Minute)["202"] == 30
	})
	rest := buyers[n:]
	var taken atomic.Int64
	// press lets people press while do does its work, and gives what they were told.
	press := func(what string, do func()) map[string]int {
		done, answers := make(chan struct{}), make(chan map[string]int)
		some := rest[:len(rest)/2]
		rest = rest[len(rest)/2:]
		go func() {
			sum := map[string]int{}
			for at := 0; ; at += 32 {
				for what, count := range pressFor(t, m.edge, "turn", some[at%len(some):min(at%len(some)+32, len(some))], time.Minute) {
					sum[what] += count
					if what == "202" {
						taken.Add(int64(count))
					}
				}
				select {
				case <-done:
					answers <- sum
					return
				default:
				}
				if at+64 > len(some) {
					t.Error("too few buyers")
					<-done
					answers <- sum
					return
				}
			}
		}()
		do()
		close(done)
		sum := <-answers
		t.Logf("%s: %v", what, sum)
		return sum
	}

	// back starts one again, and waits until the edge has noticed, as whoever restarts them in turn would.
	back := func(i int) {
		fleet.StartBackend(i)
		began := time.Now()
		waitFor(t, patience, "the edge has noticed", func() bool {
			return metric(t, fleet.Admin("interceptor")+"/metrics", `^headgate_interceptor_upstream_serves\{[^}]*\} (\d+)$`) == 2
		})
		t.Logf("backend %d serves again %s after it was ready", i+1, time.Since(began).Round(time.Millisecond))
		before := taken.Load()
		waitFor(t, patience, "people buy on", func() bool { return taken.Load() >= before+64 })
	}
	gentle := press("each stopped and started again", func() {
		for i := range fleet.Backends {
			if code := fleet.Backends[i].Stop(40 * time.Second); code != 0 {
				t.Errorf("exit code %d", code)
			}
			back(i)
		}
	})
	hard := press("each killed and started again", func() {
		for i := range fleet.Backends {
			fleet.Backends[i].Kill()
			back(i)
		}
	})
	// A request may cross the close of its connection on the way.
	for _, c := range []struct {
		answers map[string]int
		unknown int
	}{{gentle, 4}, {hard, 2 * fullHands}} {
		if n := c.answers["503 unknown_outcome"]; n > c.unknown {
			t.Errorf("%d unknown outcomes, want at most %d", n, c.unknown)
		}
		for what, count := range c.answers {
			if what != "202" && what != "503 unknown_outcome" {
				t.Errorf("%d times %s", count, what)
			}
		}
	}
	m.settled(t, "turn")
	fleet.Stop()
}
