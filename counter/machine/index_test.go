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

// TestIDIndex compares the index with a map, over several pages.
func TestIDIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x idIndex
		want := map[sale.OrderID]ref{}
		next, refs := sale.OrderID(10_000), ref(0)
		add := func(id sale.OrderID) {
			refs++
			x.add(id, refs)
			want[id] = refs
		}
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			for range rapid.IntRange(0, 1200).Draw(t, "added at the end") {
				next += 3
				add(next)
			}
			first := sale.OrderID(rapid.Int64Range(1, int64(next)).Draw(t, "from"))
			last := min(next+10, first+sale.OrderID(rapid.IntRange(0, 4000).Draw(t, "stretch")))
			spared := sale.OrderID(rapid.IntRange(1, 5).Draw(t, "one of so many is spared"))
			for id := first; id <= last; id++ {
				if want[id] != 0 && id%spared != 1 {
					x.remove(id)
					delete(want, id)
				} else if want[id] == 0 && id%7 == 0 {
					add(id)
				}
			}
			next = max(next, last)
			for id := first - 10; id <= last+10; id++ {
				if got := x.find(id); got != want[id] {
					t.Fatalf("id %d is found as %d, want %d", id, got, want[id])
				}
			}
			checkIDIndex(t, &x, len(want))
		}
		for id := range want {
			x.remove(id)
		}
		checkIDIndex(t, &x, 0)
	})
}

func checkIDIndex(t *rapid.T, x *idIndex, live int) {
	var ids []sale.OrderID
	for n, p := range x.pages {
		dead := 0
		for _, r := range p.refs[:p.used] {
			dead += b2i(r == 0)
		}
		if x.firsts[n] != p.ids[0] || dead != int(p.dead) || p.dead > p.used/2 {
			t.Fatalf("page %d begins with %d, noted as %d; of %d ids %d are removed, noted %d", n, p.ids[0], x.firsts[n], p.used, dead, p.dead)
		}
		live -= int(p.used - p.dead)
		ids = append(ids, p.ids[:p.used]...)
	}
	if live != 0 || len(x.firsts) != len(x.pages) || !slices.IsSorted(ids) {
		t.Fatalf("%d ids too few, or they are not in order", live)
	}
}
