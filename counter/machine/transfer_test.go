package machine

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"headgate.example/hashring"
	"headgate.example/lib/sale"
)

// sharedTerms are the terms of a sale that shards s1, s2, ... share.
func sharedTerms(id string, stock, limit int64, shards int) *sale.Terms {
	t := terms(id, stock, limit)
	t.Shards = nil
	for i := range shards {
		t.Shards = append(t.Shards, fmt.Sprint("s", i+1))
	}
	return t
}

// group is several shards, driven by hand. They are numbered from 7, so that the first is testOptions.
type group []*shard

func newGroup(t testing.TB, n int) group {
	var g group
	for i := range n {
		g = append(g, &shard{t: t, s: New(Options{Shard: fmt.Sprint("s", i+1), Number: 7 + i}), wall: start})
	}
	return g
}

// all applies a command at every shard.
func (g group) all(c Command) {
	g[0].t.Helper()
	for _, sh := range g {
		sh.want(c, CodeOK)
	}
	g.check(c.Sale)
}

func (g group) rows(id string) (rows []Collected) {
	for _, sh := range g {
		if row, known := sh.s.Collect(id); known {
			rows = append(rows, row)
		}
	}
	return rows
}

func (g group) check(id string) {
	g[0].t.Helper()
	rows := g.rows(id)
	if err := CheckShards(rows, rows); err != nil {
		g[0].t.Fatal(err)
	}
}

// user gives the i-th user whom a shard serves.
func (g group) user(of *sale.Terms, at, i int) string {
	ring, err := hashring.New(of.Shards, hashring.Params{Partitions: of.Ring.Partitions, Replicas: of.Ring.Replicas, Load: of.Ring.Load})
	if err != nil {
		g[0].t.Fatal(err)
	}
	for n := 0; ; n++ {
		if user := fmt.Sprint("u", n); ring.Owner(user) == of.Shards[at] {
			if i--; i < 0 {
				return user
			}
		}
	}
}

// borrow lets one shard ask another, and accept.
func (g group) borrow(id string, taker, giver int, want int64, forDebt bool) (units int64) {
	g[0].t.Helper()
	name := func(i int) string { return g[i].s.opts.Shard }
	asked := g[giver].want(Command{Kind: Ask, Sale: id, Value: name(taker), Total: g[taker].taken(id, name(giver)), Quantity: want, ForDebt: forDebt}, CodeOK)
	g.check(id)
	accepted := g[taker].want(Command{Kind: Accept, Sale: id, Value: name(giver), Total: asked.Detail}, CodeOK)
	g.check(id)
	return accepted.Quantity
}

func (sh *shard) taken(id, giver string) int64 {
	row, _ := sh.s.Collect(id)
	for _, t := range row.Transfers {
		if t.Peer == giver {
			return t.Taken
		}
	}
	return -1
}

// TestShareOf: shares are even, the remainder is with the first ones, and they add up.
func TestShareOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units, n := rapid.Int64Range(0, sale.MaxUnits).Draw(t, "units"), rapid.IntRange(1, sale.MaxShards).Draw(t, "shards")
		var sum int64
		for i := range n {
			share := shareOf(units, n, i)
			if even := units / int64(n); share != even && share != even+1 || i > 0 && share > shareOf(units, n, i-1) {
				t.Fatalf("share %d of %d by %d is %d", i, units, n, share)
			}
			sum += share
		}
		if sum != units {
			t.Fatalf("the shares sum to %d, not %d", sum, units)
		}
	})
}

func TestSharesOfStockAndReleases(t *testing.T) {
	g := newGroup(t, 3)
	tm := sharedTerms("m", 11, 0, 3)
	tm.Releases = []sale.Release{{At: start + 1000, Units: 1}, {At: start + 2000, Units: 2}, {At: start + 3000, Units: 4}}
	g.all(Command{Kind: OpenSale, Terms: tm})
	want := [][3]int64{{2, 1, 1}, {2, 2, 1}, {3, 2, 2}, {4, 4, 3}}
	for step, available := range want {
		for i, sh := range g {
			sh.reopenAs()
			if step > 0 {
				sh.pass(1000)
			}
			if row, _ := sh.s.Collect("m"); row.Available != available[i] || row.Alloc != shareOf(11, 3, i) || row.Stock != 11 {
				t.Errorf("step %d, shard %d: %+v, want %d available", step, i, row, available[i])
			}
		}
		g.check("m")
	}
}

// reopenAs is reopen for whichever shard it is.
func (sh *shard) reopenAs() {
	sh.t.Helper()
	b := snapshotOf(sh.t, sh.s)
	s, err := Read(bytes.NewReader(b), sh.s.opts)
	if err != nil {
		sh.t.Fatal(err)
	}
	sh.s = s
}

// TestDry: a shard of several never says that nothing is left; users of others are sent there.
func TestDry(t *testing.T) {
	g := newGroup(t, 2)
	tm := sharedTerms("m", 3, 2, 2)
	tm.Releases = []sale.Release{{At: start + 9000, Units: 1}}
	g.all(Command{Kind: OpenSale, Terms: tm})
	g.all(Command{Kind: ResumeSale, Sale: "m", Revision: 2})
	first, other := g.user(tm, 0, 0), g.user(tm, 1, 0)
	if r := g[0].reserve("m", other, "", 1); r.Code != CodeWrongShard || r.Reason != "s2" {
		t.Errorf("a user of s2 at s1: %+v", r)
	}
	if r, ok := g[0].s.Refuse("m", other, "", 1, start, 0); !ok || r.Code != CodeWrongShard {
		t.Errorf("the same from memory: %+v, %v", r, ok)
	}
	g[0].sold("m", first, "", 1)
	for _, quantity := range []int64{1, 2} {
		ask := g.user(tm, 0, 1)
		if r := g[0].reserve("m", ask, "", quantity); r.Code != CodeDry || r.Detail != 0 {
			t.Errorf("an empty shard: %+v", r)
		}
		if r, ok := g[0].s.Refuse("m", ask, "", quantity, start, 0); !ok || r.Code != CodeDry {
			t.Errorf("the same from memory: %+v, %v", r, ok)
		}
	}
	if r := g[0].reserve("m", first, "more", 2); r.Code != CodeLimit {
		t.Errorf("beyond the limit, on an empty shard: %+v", r)
	}
	if units := g.borrow("m", 0, 1, 1, false); units != 1 {
		t.Errorf("borrowed %d", units)
	}
	if r := g[0].reserve("m", g.user(tm, 0, 1), "", 1); r.Code != CodeReserved {
		t.Errorf("with the borrowed unit: %+v", r)
	}
}

// TestAskTwice: an ask that is repeated, late or early, never gives twice, and a gift that is repeated is
// taken once.
func TestAskTwice(t *testing.T) {
	g := newGroup(t, 2)
	g.all(Command{Kind: OpenSale, Terms: sharedTerms("m", 40, 0, 2)})
	ask := Command{Kind: Ask, Sale: "m", Value: "s1", Total: 0, Quantity: 3}
	for range 3 {
		if r := g[1].want(ask, CodeOK); r.Detail != 10 {
			t.Errorf("half of 20: %+v", r)
		}
		g[1].reopenAs()
	}
	g.check("m")
	g[1].want(Command{Kind: ForgetSale, Sale: "m", Revision: 2}, CodeErr)
	gift := Command{Kind: Accept, Sale: "m", Value: "s2", Total: 10}
	version := g[0].info("m").SupplyVersion
	for range 3 {
		if r := g[0].want(gift, CodeOK); r.Detail != 10 {
			t.Errorf("taken: %+v", r)
		}
		if now := g[0].info("m").SupplyVersion; now <= version {
			t.Errorf("a gift leaves the supply version at %d, was %d", now, version)
		}
		g[0].reopenAs()
	}
	if i := g[0].info("m"); i.Available != 30 || i.Taken != 10 {
		t.Errorf("the taker: %+v", i)
	}
	g[1].want(Command{Kind: Ask, Sale: "m", Value: "s1", Total: 11, Quantity: 1}, CodeErr)
	if r := g[1].want(Command{Kind: Ask, Sale: "m", Value: "s1", Total: 10}, CodeOK); r.Detail != 10 || r.Quantity != 0 {
		t.Errorf("only an acknowledgement: %+v", r)
	}
	if r := g[1].want(ask, CodeOK); r.Detail != 10 || r.Quantity != 0 {
		t.Errorf("an old ask that comes late: %+v", r)
	}
	if r := g[1].want(Command{Kind: Ask, Sale: "m", Value: "s1", Total: 10, Quantity: 8}, CodeOK); r.Detail != 18 || r.Quantity != 8 {
		t.Errorf("more than half, because it is wanted: %+v", r)
	}
	for _, c := range []Command{
		{Kind: Ask, Sale: "m", Value: "s3"}, {Kind: Ask, Sale: "m", Value: "s2"}, {Kind: Accept, Sale: "m", Value: "s2"},
		{Kind: Ask, Sale: "m", Value: "s1", Total: -1}, {Kind: Ask, Sale: "m", Value: "s1", Quantity: -1},
	} {
		g[1].want(c, CodeErr)
	}
	g[1].want(Command{Kind: Ask, Sale: "none", Value: "s1"}, CodeNoSale)
}

// TestForgetWithTransfers: a giver is not forgotten before its gift is known to have arrived; a taker may
// be, and takes it all the same.
func TestForgetWithTransfers(t *testing.T) {
	g := newGroup(t, 2)
	g.all(Command{Kind: OpenSale, Terms: sharedTerms("m", 8, 0, 2)})
	g[1].want(Command{Kind: Ask, Sale: "m", Value: "s1", Quantity: 2}, CodeOK)
	forget := Command{Kind: ForgetSale, Sale: "m", Revision: 2}
	g[1].want(forget, CodeErr)
	g[0].want(forget, CodeOK)
	g[0].want(Command{Kind: Accept, Sale: "m", Value: "s2", Total: 2}, CodeOK)
	g[1].want(Command{Kind: Ask, Sale: "m", Value: "s1", Total: 2}, CodeOK)
	g[1].want(forget, CodeOK)
	if r := g[1].want(Command{Kind: Ask, Sale: "m", Value: "s1", Total: 2, Quantity: 2}, CodeOK); r.Quantity != 0 {
		t.Errorf("a tombstone gives: %+v", r)
	}
	for _, sh := range g {
		sh.reopenAs()
		if a, _ := sh.s.Audit("m", 0); a.Violation != "" || len(a.Transfers) != 1 {
			t.Errorf("%+v", a)
		}
	}
	g.check("m")
	if a, _ := g[0].s.Audit("m", 0); a.Available != 6 || a.Transfers[0] != (Transfer{Peer: "s2", Taken: 2}) {
		t.Errorf("the tombstone of the taker: %+v", a)
	}
}

// TestDebtAcrossShards: what one shard cannot pay, the staged and available units of others pay.
func TestDebtAcrossShards(t *testing.T) {
	g := newGroup(t, 2)
	tm := sharedTerms("m", 20, 0, 2)
	tm.Releases = []sale.Release{{At: start + 1000, Units: 4}, {At: start + 2000, Units: 4}}
	g.all(Command{Kind: OpenSale, Terms: tm})
	g.all(Command{Kind: ResumeSale, Sale: "m", Revision: 2})
	for i := range 6 {
		g[0].sold("m", g.user(tm, 0, i), "", 1)
	}
	g.all(Command{Kind: PauseSale, Sale: "m", Revision: 3})
	g.all(Command{Kind: SetStock, Sale: "m", Revision: 4, Total: 9}) // 5 and 4
	if a, b := g[0].info("m"), g[1].info("m"); a.Debt != 1 || a.Scheduled != 0 || b.Debt != 0 || b.Available != 4 || b.Scheduled != 0 {
		t.Fatalf("after the cut:\n%+v\n%+v", a, b)
	}
	if units := g.borrow("m", 0, 1, 1, true); units != 1 {
		t.Errorf("no more than is owed: %d", units)
	}
	if a, b := g[0].info("m"), g[1].info("m"); a.Debt != 0 || a.Available != 0 || b.Available != 3 || a.Alloc+b.Alloc != 9 {
		t.Errorf("paid:\n%+v\n%+v", a, b)
	}
	g.all(Command{Kind: SetStock, Sale: "m", Revision: 5, Total: 12})
	g.all(Command{Kind: SetStock, Sale: "m", Revision: 6, Total: 0})
	if a, b := g[0].info("m"), g[1].info("m"); a.Debt+b.Debt != 6 || a.Alloc+b.Alloc != 6 || b.Available != 0 {
		t.Errorf("cut to nothing:\n%+v\n%+v", a, b)
	}
}

// TestDebtTakesStagedUnits, the latest first.
func TestDebtTakesStagedUnits(t *testing.T) {
	g := newGroup(t, 2)
	tm := sharedTerms("m", 10, 0, 2)
	tm.Releases = []sale.Release{{At: start + 1000, Units: 2}, {At: start + 2000, Units: 4}}
	g.all(Command{Kind: OpenSale, Terms: tm})
	if units := g.borrow("m", 0, 1, 3, true); units != 3 {
		t.Errorf("given: %d", units)
	}
	row, _ := g[1].s.Collect("m")
	if row.Scheduled != 0 || row.Available != 2 {
		t.Errorf("the giver: %+v", row)
	}
	if units := g.borrow("m", 0, 1, 9, true); units != 2 {
		t.Errorf("given: %d", units)
	}
}

// TestRestoreOneOfSeveral rebuilds a shard that lost everything from the orders and from its peers.
func TestRestoreOneOfSeveral(t *testing.T) {
	g := newGroup(t, 3)
	tm := sharedTerms("m", 12, 0, 3)
	g.all(Command{Kind: OpenSale, Terms: tm})
	g.all(Command{Kind: ResumeSale, Sale: "m", Revision: 2})
	g.borrow("m", 0, 1, 3, false)
	g.borrow("m", 2, 0, 2, false)
	var sold []SoldOrder
	for i := range 3 {
		user := g.user(tm, 0, i)
		sold = append(sold, SoldOrder{Order: g[0].sold("m", user, "", 1), User: user, Quantity: 1, Slot: 1})
	}
	// A gift to the lost shard had not arrived; one of its own had not been taken.
	g[1].want(Command{Kind: Ask, Sale: "m", Value: "s1", Total: g[0].taken("m", "s2"), Quantity: 1}, CodeOK)
	g[0].want(Command{Kind: Ask, Sale: "m", Value: "s3", Total: g[2].taken("m", "s1"), Quantity: 1}, CodeOK)
	for _, sh := range g {
		sh.want(Command{Kind: PauseSale, Sale: "m", Revision: 3}, CodeOK)
	}
	lost := g[0]
	g[0] = &shard{t: t, s: New(lost.s.opts), wall: lost.wall}
	restore := Restore{Terms: *tm, Revision: 3, IDFloor: lost.s.LastOrder(), Sold: sold}
	for _, sh := range g[1:] {
		row, _ := sh.s.Collect("m")
		for _, p := range row.Transfers {
			if p.Peer == "s1" {
				restore.Transfers = append(restore.Transfers, RestoredTransfer{Peer: row.Shard, Given: p.Taken, Taken: p.Given})
			}
		}
	}
	bad := restore
	bad.Transfers = append(slices.Clone(restore.Transfers), RestoredTransfer{Peer: "s1"})
	g[0].want(Command{Kind: RestoreSale, Restore: &bad}, CodeErr)
	bad.Transfers[2].Peer = "s2"
	g[0].want(Command{Kind: RestoreSale, Restore: &bad}, CodeErr)
	g[0].want(Command{Kind: RestoreSale, Restore: &restore}, CodeOK)
	g[0].want(Command{Kind: RestoreSale, Restore: &restore}, CodeOK)
	g[0].reopenAs()
	rows := g.rows("m")
	if err := CheckShards(rows, rows); err != nil {
		t.Fatal(err)
	}
	var units int64
	for _, row := range rows {
		units += row.Available + row.Confirmed + row.Held - row.Debt
	}
	if units != 12 {
		t.Errorf("%d units are there, of 12: %+v", units, rows)
	}
	// The gift that was on its way is repeated, and counts as taken already.
	if r := g[0].want(Command{Kind: Accept, Sale: "m", Value: "s2", Total: restore.Transfers[0].Taken}, CodeOK); r.Quantity != 0 {
		t.Errorf("taken twice: %+v", r)
	}
	g.all(Command{Kind: ResumeSale, Sale: "m", Revision: 4})
}
