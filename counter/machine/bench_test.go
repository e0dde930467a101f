package machine

import (
	"fmt"
	"testing"
)

// BenchmarkReserveNew gives entries of 1000 new users to a state of half a million, which is more than
// caches hold. One operation is one reservation.
func BenchmarkReserveNew(b *testing.B) {
	const known, perEntry = 500_000, 1000
	sh := newShard(b)
	sh.open(terms("a", 1_000_000_000, 1))
	s := sh.s
	entry := func(number int) *Entry {
		e := &Entry{Wall: start + int64(number), Served: int64(number)}
		for i := range perEntry {
			user := uint64(number*perEntry+i) * 0x9e3779b97f4a7c15 >> 24
			e.Commands = append(e.Commands, Command{Kind: Reserve, Sale: "a", User: fmt.Sprintf("u%012d", user), Quantity: 1})
		}
		return e
	}
	var results []Result
	number := 0
	for ; number < known/perEntry; number++ {
		results = s.Apply(entry(number), results[:0])
	}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += perEntry {
		b.StopTimer()
		number++
		e := entry(number)
		b.StartTimer()
		results = s.Apply(e, results[:0])
	}
	if results[0].Code != CodeReserved {
		b.Fatalf("%+v", results[0])
	}
}
