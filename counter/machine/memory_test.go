//go:build !race

package machine

import (
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// TestRefuseAllocatesNothing is the budget of the path that a sold-out crowd takes.
func TestRefuseAllocatesNothing(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 1, 1))
	sh.sold("a", "u1", "", 1)
	shared := sharedTerms("m", 0, 0, 2)
	sh.open(shared)
	dry, away := group{sh}.user(shared, 0, 0), group{sh}.user(shared, 1, 0)
	for what, ask := range map[string][3]string{
		"sold out": {"a", "u2", ""}, "limit": {"a", "u1", "other"}, "no sale": {"b", "u1", ""}, "already": {"a", "u1", ""},
		"dry": {"m", dry, ""}, "wrong shard": {"m", away, ""},
	} {
		if n := testing.AllocsPerRun(1000, func() { sh.s.Refuse(ask[0], ask[1], ask[2], 1, sh.wall, sh.served) }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// TestHoldSize is the budget of memory: 200 bytes a hold, indexes and user included. One user has one
// hold, which is the dearest case.
func TestHoldSize(t *testing.T) {
	if size := unsafe.Sizeof(hold{}); size > 64 {
		t.Errorf("a hold takes %d bytes", size)
	}
	const n = 100_000
	if bytes := bytesPerHold(t, n); bytes > 200 {
		t.Errorf("%.0f bytes a hold, the budget is 200", bytes)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func fill(t testing.TB, n int) *State {
	sh := newShard(t)
	sh.open(terms("a", int64(n), 1))
	for i := 0; i < n; i += 100 {
		e := Entry{Wall: start + int64(i/100), Served: int64(i / 100)}
		for j := i; j < i+100; j++ {
			e.Commands = append(e.Commands, Command{Kind: Reserve, Sale: "a", User: fmt.Sprintf("u%06d", j), Quantity: 1})
		}
		if r := sh.s.Apply(&e, nil); r[99].Code != CodeReserved {
			t.Fatalf("%+v", r[99])
		}
	}
	return sh.s
}

func bytesPerHold(t testing.TB, n int) float64 {
	before := heap()
	s := fill(t, n)
	after := heap()
	runtime.KeepAlive(s)
	return float64(after-before) / float64(n)
}

// BenchmarkMillionHolds reports what a million holds of as many users take and cost: memory, the pause
// of a snapshot, writing and reading it, and expiring them all in one entry.
func BenchmarkMillionHolds(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		b.ReportMetric(bytesPerHold(b, n), "bytes/hold")
		s := fill(b, n)
		from := time.Now()
		snap := s.Snapshot()
		b.ReportMetric(float64(time.Since(from).Microseconds()), "µs-pause")
		from = time.Now()
		size, err := snap.WriteTo(io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(from).Milliseconds()), "ms-write")
		b.ReportMetric(float64(size)/n, "snapshot-bytes/hold")
		pr, pw := io.Pipe()
		go func() {
			_, err := snap.WriteTo(pw)
			pw.CloseWithError(err)
		}()
		from = time.Now()
		if _, err := Read(pr, testOptions); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(from).Milliseconds()), "ms-write+read")
		from = time.Now()
		s.Apply(&Entry{Wall: start, Served: 10_000_000}, nil)
		b.ReportMetric(float64(time.Since(from).Milliseconds()), "ms-expire-all")
	}
}

func BenchmarkRefuse(b *testing.B) {
	s := fill(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, refused := s.Refuse("a", "somebody", "", 1, start, 0); !refused {
			b.Fatal("not refused")
		}
	}
}

func BenchmarkReserveConfirm(b *testing.B) {
	sh := newShard(b)
	sh.open(terms("a", 1_000_000_000, 0))
	s := sh.s
	s.limits.holds, s.limits.holdsPerSale = 1<<31, 1<<31
	users := make([]string, 100_000)
	for i := range users {
		users[i] = fmt.Sprint("u", i)
	}
	e := Entry{Wall: start, Commands: make([]Command, 1)}
	var results []Result
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		e.Commands[0] = Command{Kind: Reserve, Sale: "a", User: users[i%len(users)], Quantity: 1}
		results = s.Apply(&e, results[:0])
		e.Commands[0] = Command{Kind: Confirm, Order: results[0].Order}
		results = s.Apply(&e, results[:0])
	}
}
