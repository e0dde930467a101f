package machine

import (
	"fmt"
	"reflect"
	"runtime"
	"testing"

	"headgate.example/lib/sale"
)

// makeReady makes all the memory that a State wants.
func makeReady(s *State) {
	for w, missing := s.Wants(); missing; w, missing = s.Wants() {
		s.Keep(w.Make())
	}
}

// TestMemoryIsReady: with its memory made ready, a rush takes next to none for holds, accounts and the users' table.
func TestMemoryIsReady(t *testing.T) {
	const n = 60_000
	rush := func(ready bool) uint64 {
		sh := newShard(t)
		sh.open(terms("a", n, 1))
		if ready {
			makeReady(sh.s)
		}
		entries := entriesOf(n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, b := range entries {
			if err := sh.s.ApplyEncoded(b, nil); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if got := sh.s.Totals(); got.HeldOrders != n {
			t.Fatalf("%d orders", got.HeldOrders)
		}
		if _, missing := sh.s.Wants(); missing {
			t.Error("memory is wanted for a sale without units")
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	cold, warm := rush(false)/n, rush(true)/n
	if cold < 120 || warm > 40 {
		t.Errorf("an order takes %d bytes, %d with memory made ready; want more than 120, and at most 40", cold, warm)
	}
}

// entriesOf are reservations of so many users, in entries of 100.
func entriesOf(n int) (entries [][]byte) {
	for i := 0; i < n; i += 100 {
		var e Encoded
		for j := i; j < i+100; j++ {
			e.Add(&Command{Kind: Reserve, Sale: "a", User: fmt.Sprintf("u%06d", j), Quantity: 1}, EntryVersion)
		}
		entries = append(entries, AppendEntry(nil, start+int64(i/100), int64(i/100), &e))
	}
	return entries
}

// TestMemoryWantedIsBounded: never more is made ready than for the orders that can come, and than the limit.
func TestMemoryWantedIsBounded(t *testing.T) {
	sh := newShard(t)
	if _, missing := sh.s.Wants(); missing {
		t.Error("memory is wanted without a sale")
	}
	room := func(want int) {
		t.Helper()
		makeReady(sh.s)
		holds, accounts := sh.s.holds.room(), sh.s.accounts.room()
		if holds < want || accounts < want || holds > want+chunkLen || accounts > want+chunkLen {
			t.Errorf("room for %d holds and %d accounts, want %d", holds, accounts, want)
		}
	}
	sh.open(terms("a", 3000, 1))
	room(3000)
	sh.open(terms("b", 5000, 1))
	room(8000)
	sh.s.limits.ready = 9000
	sh.open(terms("c", sale.MaxUnits, 1))
	room(9000)
	sh.s.limits.holdsPerSale = 700
	room(2100)
	sh.s.limits.holds = 600
	room(600)
	sh.s.limits.holds, sh.s.limits.holdsPerSale = MaxHolds, MaxHoldsPerSale
	room(9000)
	for _, id := range []string{"a", "b", "c"} {
		sh.want(Command{Kind: CloseSale, Sale: id, Revision: 3}, CodeOK)
	}
	room(0)
	ends := terms("d", 4000, 1)
	ends.EndsAt = sh.wall + 1000
	ends.Releases = []sale.Release{{At: sh.wall + 500, Units: 3000}}
	sh.open(ends)
	room(4000)
	sh.pass(1000)
	room(0)
}

// TestMemoryOfPurgedOrdersIsRoom: what finished orders leave is used again, and no more is made ready for that.
func TestMemoryOfPurgedOrdersIsRoom(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 2000, 1))
	makeReady(sh.s)
	for i := range 2000 {
		sh.reserve("a", fmt.Sprint("u", i), "", 1)
	}
	chunks := len(sh.s.holds.chunks)
	sh.pass(30_000)     // they expire
	sh.pass(86_400_000) // and are purged
	if held := sh.s.holds.len(); held != 0 {
		t.Fatalf("%d holds are left", held)
	}
	makeReady(sh.s)
	if now := len(sh.s.holds.chunks) + len(sh.s.holds.ready); now != chunks {
		t.Errorf("%d chunks of holds, there were %d", now, chunks)
	}
}

// TestReadyMemoryKeepsWhatIsThere: memory that is made ready in the middle of a rush, with snapshots between, changes no outcome.
func TestReadyMemoryKeepsWhatIsThere(t *testing.T) {
	const n = 20_000
	plain, readied := newShard(t), newShard(t)
	for _, sh := range []*shard{plain, readied} {
		sh.open(terms("a", 2*n, 1))
	}
	var want, got []Result
	entries := entriesOf(n)
	for round := range 2 { // the second time everybody has their order already
		for i, b := range entries {
			if err := plain.s.ApplyEncoded(b, func(r []Result) { want = append(want, r...) }); err != nil {
				t.Fatal(err)
			}
			if round == 0 && i == len(entries)/2 {
				makeReady(readied.s)
			}
			if i%10 == 0 {
				readied.s.Snapshot()
			}
			if err := readied.s.ApplyEncoded(b, func(r []Result) { got = append(got, r...) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("memory that is made ready changes an outcome")
	}
	if err := readied.s.CheckInvariants(); err != nil {
		t.Error(err)
	}
}
