package machine

import (
	"testing"

	"headgate.example/lib/sale"
)

func TestRevisions(t *testing.T) {
	sh := newShard(t)
	if r := sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 1}, CodeNoSale); r.Revision != 0 {
		t.Errorf("unknown sale: %+v", r)
	}
	late := terms("a", 5, 0)
	late.Revision = 2
	if r := sh.want(Command{Kind: OpenSale, Terms: late}, CodeConflict); r.Revision != 0 {
		t.Errorf("opening at revision 2: %+v", r)
	}
	sh.want(Command{Kind: OpenSale, Terms: terms("a", 5, 0)}, CodeOK)
	sh.want(Command{Kind: OpenSale, Terms: terms("a", 5, 0)}, CodeOK)
	sh.want(Command{Kind: OpenSale, Terms: terms("a", 6, 0)}, CodeConflict)
	if r := sh.reserve("a", "u1", "", 1); r.Code != CodePaused {
		t.Errorf("a sale that was just opened answers %+v", r)
	}
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 3}, CodeConflict)
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 2}, CodeOK)
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 2}, CodeOK)
	sh.want(Command{Kind: PauseSale, Sale: "a", Revision: 2}, CodeConflict)
	if r := sh.want(Command{Kind: OpenSale, Terms: terms("a", 5, 0)}, CodeConflict); r.Revision != 2 {
		t.Errorf("opening again: %+v", r)
	}
	sh.want(Command{Kind: SetStock, Sale: "a", Revision: 3, Total: 8}, CodeOK)
	sh.want(Command{Kind: SetStock, Sale: "a", Revision: 3, Total: 9}, CodeConflict)
	sh.want(Command{Kind: SetStock, Sale: "a", Revision: 3, Total: 8}, CodeOK)
	sh.want(Command{Kind: CloseSale, Sale: "a", Revision: 4}, CodeOK)
	sh.reopen()
	sh.want(Command{Kind: CloseSale, Sale: "a", Revision: 4}, CodeOK)
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 5}, CodeErr)
	sh.want(Command{Kind: SetStock, Sale: "a", Revision: 5, Total: 9}, CodeErr)
	sh.want(Command{Kind: PauseSale, Sale: "a", Revision: 5}, CodeOK)
	if info := sh.info("a"); info.Paused || !info.Closed || info.Revision != 5 {
		t.Errorf("pausing a closed sale: %+v", info)
	}
}

func TestShards(t *testing.T) {
	sh := newShard(t)
	tm := terms("a", 5, 0)
	tm.Shards = []string{"s2", "s3"}
	if r := sh.want(Command{Kind: OpenSale, Terms: tm}, CodeWrongShard); r.Reason != "s2" {
		t.Errorf("another shard's sale: %+v", r)
	}
}

// TestStock follows one sale through raises, cuts and units that come back.
func TestStock(t *testing.T) {
	sh := newShard(t)
	tm := terms("a", 10, 0)
	tm.Releases = []sale.Release{{At: start + 1000, Units: 2}, {At: start + 2000, Units: 3}}
	sh.open(tm)
	one, two := sh.sold("a", "u1", "", 2), sh.sold("a", "u2", "", 2)
	held := sh.reserve("a", "u3", "", 1).Order
	revision := int64(2)
	step := func(what string, c Command, code Code, stock, scheduled, available, debt int64) {
		t.Helper()
		if c.Sale != "" {
			c.Revision = revision + 1
		}
		if r := sh.want(c, code); c.Sale != "" && !r.Code.Error() {
			revision++
		}
		if i := sh.info("a"); i.Stock != stock || i.Scheduled != scheduled || i.Available != available || i.Debt != debt {
			t.Fatalf("%s: stock %d scheduled %d available %d debt %d, want %d %d %d %d", what,
				i.Stock, i.Scheduled, i.Available, i.Debt, stock, scheduled, available, debt)
		}
	}
	stock := func(total int64) Command { return Command{Kind: SetStock, Sale: "a", Total: total} }
	version := sh.info("a").SupplyVersion
	step("raise while open", stock(11), CodeOK, 11, 5, 1, 0)
	if now := sh.info("a").SupplyVersion; now <= version {
		t.Errorf("a raise leaves the supply version at %d, was %d", now, version)
	}
	step("cut while open", stock(10), CodeErr, 11, 5, 1, 0)
	step("pause", Command{Kind: PauseSale, Sale: "a"}, CodeOK, 11, 5, 1, 0)
	step("latest release first", stock(7), CodeOK, 7, 1, 1, 0)
	if next := sh.info("a").NextReleaseAt; next != start+1000 {
		t.Errorf("next release at %d", next)
	}
	step("then available, then debt", stock(3), CodeOK, 3, 0, 0, 2)
	step("units back pay the debt", Command{Kind: Abort, Order: held}, CodeReleased, 3, 0, 0, 1)
	step("and go on sale then", Command{Kind: Release, Order: one}, CodeReleased, 3, 0, 1, 0)
	step("cut to nothing", stock(0), CodeOK, 0, 0, 0, 2)
	step("a raise pays first", stock(1), CodeOK, 1, 0, 0, 1)
	step("resume", Command{Kind: ResumeSale, Sale: "a"}, CodeOK, 1, 0, 0, 1)
	step("raise beyond the debt", stock(4), CodeOK, 4, 0, 2, 0)
	step("the last one back", Command{Kind: Release, Order: two}, CodeReleased, 4, 0, 4, 0)
	if i := sh.info("a"); i.ReleasedTotal != 5 || i.Alloc != 4 {
		t.Errorf("at the end: %+v", i)
	}
}

// TestReleases: staged units come once, on time, paused or not, and stay when the clock goes back.
func TestReleases(t *testing.T) {
	sh := newShard(t)
	tm := terms("a", 6, 0)
	tm.Releases = []sale.Release{{At: start, Units: 1}, {At: start + 1000, Units: 2}, {At: start + 2000, Units: 3}}
	sh.want(Command{Kind: OpenSale, Terms: tm}, CodeOK)
	if sh.s.Due(start+999, 0) || !sh.s.Due(start+1000, 0) {
		t.Error("Due does not see the release")
	}
	for _, step := range []struct{ wall, available, next int64 }{
		{start, 1, start + 1000}, {start + 999, 1, start + 1000}, {start + 1000, 3, start + 2000},
		{start, 3, start + 2000}, {start + 9000, 6, 0}, {start + 9000, 6, 0},
	} {
		sh.wall = step.wall
		sh.pass(0)
		if i := sh.info("a"); i.Available != step.available || i.NextReleaseAt != step.next || i.Scheduled != 6-i.Available {
			t.Errorf("at %d: available %d, next %d, scheduled %d", step.wall-start, i.Available, i.NextReleaseAt, i.Scheduled)
		}
		sh.reopen()
	}
}

func TestForget(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 5, 0))
	sold := sh.sold("a", "u1", "", 2)
	held := sh.reserve("a", "u2", "", 1).Order
	sh.want(Command{Kind: ForgetSale, Sale: "a", Revision: 3}, CodeErr)
	sh.want(Command{Kind: Abort, Order: held}, CodeReleased)
	sh.want(Command{Kind: ForgetSale, Sale: "a", Revision: 3}, CodeOK)
	sh.want(Command{Kind: ForgetSale, Sale: "a", Revision: 3}, CodeOK)
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 4}, CodeErr)
	sh.want(Command{Kind: OpenSale, Terms: terms("a", 5, 0)}, CodeConflict)
	if _, ok := sh.s.Order(sold); ok {
		t.Error("an order of a forgotten sale is shown")
	}
	for range 2 {
		sh.want(Command{Kind: Release, Order: sold}, CodeForgotten)
		sh.want(Command{Kind: Release, Order: held}, CodeForgotten)
		if i := sh.info("a"); !i.Forgotten || i.Confirmed != 2 || i.Available != 3 || i.Revision != 3 {
			t.Errorf("the tombstone says %+v", i)
		}
		if a, _ := sh.s.Audit("a", 0); a.ConfirmedOrders != 1 || a.ReleasedOrders != 1 || a.Violation != "" {
			t.Errorf("AUDIT of the tombstone says %+v", a)
		}
		sh.reopen()
	}
	if len(sh.s.List(0)) != 0 {
		t.Error("a forgotten sale is listed")
	}
	sh.pass(86_400_000)
	sh.want(Command{Kind: Release, Order: sold}, CodeUnknown)
	if i := sh.info("a"); i.Confirmed != 2 || sh.s.holds.len() != 0 || sh.s.accounts.len() != 0 {
		t.Errorf("after its time the tombstone says %+v, %d holds", i, sh.s.holds.len())
	}
}

// TestSweep: a large forgotten sale is freed over several entries, and Due asks for them.
func TestSweep(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 3*sweepHolds, 0))
	e := Entry{Wall: start}
	for i := range 2*sweepHolds + 10 {
		e.Commands = append(e.Commands[:0], Command{Kind: Reserve, Sale: "a", User: "u", Key: string(rune('a'+i%26)) + sale.OrderID(i+1).String(), Quantity: 1})
		if i%500 != 0 { // one user's live orders are bounded
			e.Commands[0].User = "u" + sale.OrderID(i/500+1).String()
		}
		r := sh.s.Apply(&e, nil)[0]
		e.Commands = append(e.Commands[:0], Command{Kind: Confirm, Order: r.Order})
		sh.s.Apply(&e, nil)
	}
	sh.want(Command{Kind: ForgetSale, Sale: "a", Revision: 3}, CodeOK)
	sh.served += 86_400_000
	entries := 0
	for sh.s.Due(sh.wall, sh.served) {
		sh.reopen()
		if entries++; entries > 5 {
			t.Fatal("Due does not end")
		}
		sh.pass(0)
	}
	if entries != 3 || sh.s.holds.len() != 0 || sh.s.accounts.len() != 0 {
		t.Errorf("after %d entries %d holds and %d accounts are left", entries, sh.s.holds.len(), sh.s.accounts.len())
	}
}
