package machine

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"headgate.example/lib/sale"
)

// TestTable compares the hash table with a map, with few hashes so that probes collide and wrap.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tab table
		want := map[ref]uint32{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			r := ref(rapid.IntRange(1, 60).Draw(t, "ref"))
			hash, known := want[r]
			if !known {
				hash = rapid.SampledFrom([]uint32{0, 1, 6, 7, 8, 15, 0xff000007, 0x0000ffff}).Draw(t, "hash")
			}
			if found := tab.find(hash, func(x ref) bool { return x == r }); (found == r) != known {
				t.Fatalf("ref %d is found as %d, known %v", r, found, known)
			}
			if known {
				tab.remove(hash, r)
				delete(want, r)
			} else {
				tab.add(hash, r)
				want[r] = hash
			}
		}
		for r, hash := range want {
			if tab.find(hash, func(x ref) bool { return x == r }) != r {
				t.Fatalf("ref %d is lost", r)
			}
		}
	})
}

// TestIDPages compares the pages with a sorted set, over several pages.
func TestIDPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p idPages
		want := map[sale.OrderID]bool{}
		next := sale.OrderID(10_000)
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			for range rapid.IntRange(0, 700).Draw(t, "added at the end") {
				next += 3
				p.add(next)
				want[next] = true
			}
			first := sale.OrderID(rapid.Int64Range(1, int64(next)).Draw(t, "from"))
			last := min(next, first+sale.OrderID(rapid.IntRange(0, 2000).Draw(t, "stretch")))
			for id := first; id <= last; id++ {
				if want[id] {
					p.remove(id)
					delete(want, id)
				} else if id%7 == 0 {
					p.add(id)
					want[id] = true
				}
			}
			after := sale.OrderID(rapid.Int64Range(0, int64(next)).Draw(t, "after"))
			var got []sale.OrderID
			p.each(after, func(id sale.OrderID) bool { got = append(got, id); return true })
			ids := slices.Sorted(maps.Keys(want))
			from, known := slices.BinarySearch(ids, after)
			if known {
				from++
			}
			if !slices.Equal(got, ids[from:]) || p.live != len(want) {
				t.Fatalf("%d ids above %d, want %d; %d live, want %d", len(got), after, len(ids)-from, p.live, len(want))
			}
		}
	})
}
