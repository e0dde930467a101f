package machine

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"headgate.example/lib/sale"
)

// TestTransfersAtRandom: whatever shards do with each other, in whatever order messages come, nothing is
// made and nothing is lost.
func TestTransfersAtRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(t, "shards")
		tm := sharedTerms("m", rapid.Int64Range(0, 30).Draw(t, "stock"), 0, n)
		if tm.Stock > 3 && rapid.Bool().Draw(t, "staged") {
			tm.Releases = []sale.Release{{At: start + 500, Units: tm.Stock / 3}}
		}
		states := make([]*State, n)
		wall := int64(start)
		do := func(i int, c Command) Result {
			e := Entry{Wall: wall, Served: wall - start, Commands: []Command{c}}
			decoded, err := DecodeEntry(e.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			r := states[i].Apply(&decoded, nil)[0]
			if err := states[i].CheckInvariants(); err != nil {
				t.Fatalf("%s: %v", c.Kind, err)
			}
			return r
		}
		for i := range states {
			states[i] = New(Options{Shard: tm.Shards[i], Number: i})
			do(i, Command{Kind: OpenSale, Terms: tm})
			do(i, Command{Kind: ResumeSale, Sale: "m", Revision: 2})
		}
		type gift struct {
			taker, giver int
			given        int64
		}
		var onTheWay []gift
		var orders []sale.OrderID
		revision := int64(2)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			wall += rapid.Int64Range(0, 200).Draw(t, "pass")
			i := rapid.IntRange(0, n-1).Draw(t, "shard")
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0, 1:
				r := do(i, Command{Kind: Reserve, Sale: "m", User: fmt.Sprint("u", rapid.IntRange(0, 20).Draw(t, "user")),
					Quantity: rapid.Int64Range(1, 4).Draw(t, "quantity"), Key: genKey.Draw(t, "key")})
				if r.Code.Refusal() {
					t.Fatalf("a shard of several says %s", r.Code)
				}
				if r.Code == CodeReserved {
					orders = append(orders, r.Order)
				}
			case 2:
				if len(orders) > 0 {
					id := rapid.SampledFrom(orders).Draw(t, "order")
					do(id.Shard(), Command{Kind: rapid.SampledFrom([]Kind{Confirm, Abort, Release}).Draw(t, "end"), Order: id})
				}
			case 3, 4:
				taker := (i + rapid.IntRange(1, n-1).Draw(t, "taker")) % n
				row, _ := states[taker].Collect("m")
				taken := takenOf(row.Transfers, tm.Shards[i])
				r := do(i, Command{Kind: Ask, Sale: "m", Value: tm.Shards[taker], Total: max(taken-rapid.Int64Range(0, 2).Draw(t, "late"), 0),
					Quantity: rapid.Int64Range(0, 5).Draw(t, "want"), ForDebt: rapid.Bool().Draw(t, "debt")})
				onTheWay = append(onTheWay, gift{taker, i, r.Detail})
			case 5:
				if len(onTheWay) > 0 {
					m := rapid.SampledFrom(onTheWay).Draw(t, "gift")
					do(m.taker, Command{Kind: Accept, Sale: "m", Value: tm.Shards[m.giver], Total: m.given})
				}
			case 6:
				stock := rapid.Int64Range(0, 30).Draw(t, "total")
				for i := range states {
					do(i, Command{Kind: PauseSale, Sale: "m", Revision: revision + 1})
					do(i, Command{Kind: SetStock, Sale: "m", Revision: revision + 2, Total: stock})
					do(i, Command{Kind: ResumeSale, Sale: "m", Revision: revision + 3})
				}
				revision += 3
			}
			var rows []Collected
			for i := range states {
				row, _ := states[i].Collect("m")
				rows = append(rows, row)
			}
			if err := CheckShards(rows, rows); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func takenOf(transfers []Transfer, peer string) int64 {
	for _, t := range transfers {
		if t.Peer == peer {
			return t.Taken
		}
	}
	return 0
}
