package machine

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"headgate.example/lib/sale"
)

// recovered reads a state as a backup would bring it back.
func (sh *shard) recovered(o RecoverOptions) Recovered {
	sh.t.Helper()
	sh.reopen()
	o.Wall = sh.wall
	done, err := sh.s.Recover(o)
	if err != nil {
		sh.t.Fatal(err)
	}
	sh.reopen() // it is written as a snapshot next
	if err := sh.s.CheckInvariants(); err != nil {
		sh.t.Fatal(err)
	}
	return done
}

// A sale from a backup sells nothing, changes nothing and forgets nothing until the ledger rebuilds it.
func TestRecoveredSaleStandsStill(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 10, 4))
	sh.open(terms("gone", 10, 4))
	sh.want(Command{Kind: ForgetSale, Sale: "gone", Revision: 3}, CodeOK)
	bought := sh.sold("a", "u1", "", 2)
	held := sh.reserve("a", "u2", "", 1)
	aborted := sh.reserve("a", "u3", "", 1)
	sh.want(Command{Kind: Abort, Order: aborted.Order}, CodeReleased)
	before, _ := sh.s.Audit("a", 0)
	done := sh.recovered(RecoverOptions{})
	if !slices.Equal(done.Stopped, []string{"a"}) || !slices.Equal(sh.s.Totals().FromBackup, done.Stopped) {
		t.Errorf("stopped %v, recovered %v", done.Stopped, sh.s.Totals().FromBackup)
	}
	if ahead := done.Floor.IDMillis() + sale.EpochMillis - sh.wall; ahead < MaxIDAheadMillis {
		t.Errorf("the floor is %d ms ahead", ahead)
	}
	after, _ := sh.s.Audit("a", 0)
	if !after.FromBackup || !after.Paused || after.Incarnation <= before.Incarnation || after.Violation != "" || after.Held != 1 || after.Confirmed != 2 {
		t.Errorf("AUDIT: %+v", after)
	}
	if got := sh.reserve("a", "u4", "", 1); got.Code != CodePaused {
		t.Errorf("RESERVE: %+v", got)
	}
	for _, c := range []Command{
		{Kind: ResumeSale, Sale: "a", Revision: 3}, {Kind: PauseSale, Sale: "a", Revision: 3}, {Kind: CloseSale, Sale: "a", Revision: 3},
		{Kind: SetStock, Sale: "a", Revision: 3, Total: 20}, {Kind: ForgetSale, Sale: "a", Revision: 3},
	} {
		if got := sh.do(c); got.Code != CodeErr || !strings.Contains(got.Reason, "SALE.RESTORE") {
			t.Errorf("%s: %+v", c.Kind, got)
		}
	}
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 2}, CodeConflict) // not OK, though it was done once
	sh.pass(3_600_000)
	if sh.s.Due(sh.wall, sh.served) {
		t.Error("something is due for ever")
	}
	sh.want(Command{Kind: Confirm, Order: held.Order}, CodeConfirmed) // nothing expired meanwhile
	sh.want(Command{Kind: Release, Order: bought}, CodeReleased)
	sh.want(Command{Kind: Release, Order: soldID(1, 1)}, CodeUnknown)
}

// The ledger's word replaces everything that the backup knew of the sale.
func TestRecoveredSaleIsRebuilt(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 10, 4))
	kept, dropped := sh.sold("a", "u1", "", 2), sh.sold("a", "u2", "", 3)
	held := sh.reserve("a", "u3", "", 1).Order
	sh.wall += 1000
	later := sale.MakeOrderID(sh.wall-sale.EpochMillis, 7, 5) // sold after the backup
	done := sh.recovered(RecoverOptions{Known: later})
	r := &Restore{Terms: *terms("a", 10, 4), Revision: 5, Sold: []SoldOrder{
		{Order: kept, User: "u1", Quantity: 2, Slot: 1}, {Order: later, User: "u9", Quantity: 4, Slot: 1},
	}}
	stale := *r
	stale.Revision = 1
	sh.want(Command{Kind: RestoreSale, Restore: &stale}, CodeConflict)
	wrongOrder := *r
	wrongOrder.Sold = []SoldOrder{{Order: kept, User: "somebody", Quantity: 2, Slot: 1}}
	sh.want(Command{Kind: RestoreSale, Restore: &wrongOrder}, CodeErr)
	if got := sh.info("a"); got.Confirmed != 5 || got.Held != 1 {
		t.Errorf("a refused restore changed the sale: %+v", got)
	}
	for range 2 {
		sh.want(Command{Kind: RestoreSale, Restore: r}, CodeOK)
		sh.reopen()
	}
	if got := sh.info("a"); got.Confirmed != 6 || got.Held != 0 || got.Available != 4 || !got.Paused || len(sh.s.Totals().FromBackup) != 0 {
		t.Errorf("rebuilt: %+v", got)
	}
	for _, id := range []sale.OrderID{dropped, held} {
		if _, known := sh.s.Order(id); known {
			t.Errorf("order %d is still known", id)
		}
	}
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 6}, CodeOK)
	if got := sh.reserve("a", "u2", "", 1); got.Code != CodeReserved || got.Order <= done.Floor {
		t.Errorf("RESERVE: %+v", got)
	}
}

func TestRecoverComplete(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 10, 4))
	held := sh.reserve("a", "u1", "", 1)
	done := sh.recovered(RecoverOptions{Complete: true})
	if len(done.Stopped) != 1 || len(sh.s.Totals().FromBackup) != 0 {
		t.Errorf("%+v, %v", done, sh.s.Totals().FromBackup)
	}
	if got := sh.reserve("a", "u2", "", 1); got.Code != CodePaused {
		t.Errorf("RESERVE: %+v", got)
	}
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 3}, CodeOK)
	if got := sh.reserve("a", "u2", "", 1); got.Code != CodeReserved || got.Order <= done.Floor {
		t.Errorf("RESERVE: %+v", got)
	}
	sh.pass(40_000)
	sh.want(Command{Kind: Confirm, Order: held.Order}, CodeExpired)
}

// However often the same backup comes back, and whatever the clock says, no id is minted twice.
func TestRecoverRepeatsNoID(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 100_000, 0))
	sh.sold("a", "u", "", 1)
	sh.pass(7_200_000)
	backup, wall := snapshotOf(t, sh.s), sh.wall
	seen := map[sale.OrderID]bool{}
	var known sale.OrderID
	for life := range 6 {
		s, err := Read(bytes.NewReader(backup), testOptions)
		if err != nil {
			t.Fatal(err)
		}
		sh.s, sh.wall = s, wall+int64(life)*1000
		if life == 4 {
			sh.wall = wall - 3_600_000 // set back: then only the ledger can tell
		}
		o := RecoverOptions{Complete: true}
		if life >= 4 {
			o.Known = known
		}
		sh.recovered(o)
		sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 3}, CodeOK)
		for range 5000 { // more than one millisecond has
			got := sh.s.Apply(&Entry{Wall: sh.wall, Commands: []Command{{Kind: Reserve, Sale: "a", User: "v", Key: sale.OrderID(len(seen) + 1).String(), Quantity: 1}}}, nil)[0]
			if got.Code == CodeLimit { // 1000 live orders
				sh.s.Apply(&Entry{Wall: sh.wall, Served: sh.s.Served() + 40_000}, nil)
				continue
			}
			if got.Code != CodeReserved || seen[got.Order] {
				t.Fatalf("life %d: %+v, seen %v", life, got, seen[got.Order])
			}
			seen[got.Order], known = true, max(known, got.Order)
		}
	}
}

func TestRecoverRefuses(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 10, 4))
	before := snapshotOf(t, sh.s)
	for _, known := range []sale.OrderID{-1, sale.MakeOrderID(1000, 8, 1), sale.MakeOrderID(sh.wall-sale.EpochMillis+2*MaxIDFloorMillis, 7, 1)} {
		_, err := sh.s.Recover(RecoverOptions{Wall: sh.wall, Known: known})
		if field := (*sale.FieldError)(nil); !errors.As(err, &field) || field.Field != "id_floor" {
			t.Errorf("%d: %v", known, err)
		}
	}
	if !bytes.Equal(before, snapshotOf(t, sh.s)) {
		t.Error("a refusal changed the state")
	}
}

// While a shard's sale waits for SALE.RESTORE no units move to or from it: what the backup knows of them
// may be past. Whoever collects is told so, and decides nothing.
func TestRecoveredSaleMovesNoUnits(t *testing.T) {
	g := newGroup(t, 2)
	g.all(Command{Kind: OpenSale, Terms: sharedTerms("a", 10, 0, 2)})
	g.all(Command{Kind: ResumeSale, Sale: "a", Revision: 2})
	first, second := g[0], g[1]
	ask := Command{Kind: Ask, Sale: "a", Value: "s2", Total: 0, Quantity: 2}
	if got := first.want(ask, CodeOK); got.Detail != 2 {
		t.Fatalf("before: %+v", got)
	}
	second.want(Command{Kind: Accept, Sale: "a", Value: "s1", Total: 2}, CodeOK)
	before, _ := first.s.Collect("a")
	first.recovered(RecoverOptions{})
	ask.Total = 2
	for _, c := range []Command{
		ask, {Kind: Ask, Sale: "a", Value: "s2", Total: 2}, {Kind: Ask, Sale: "a", Value: "s2", Total: 2, Quantity: 1, ForDebt: true},
		{Kind: Accept, Sale: "a", Value: "s2", Total: 1},
	} {
		if got := first.do(c); got.Code != CodeBusy || !strings.Contains(got.Reason, "SALE.RESTORE") {
			t.Errorf("%s: %+v", c.Kind, got)
		}
	}
	after, _ := first.s.Collect("a")
	if !after.Restoring || !after.Paused || after.Incarnation <= before.Incarnation || after.Available != before.Available {
		t.Errorf("the row is %+v, was %+v", after, before)
	}
	restore := &Restore{Terms: *sharedTerms("a", 10, 0, 2), Revision: 2, Transfers: []RestoredTransfer{{Peer: "s2", Given: 2}}}
	first.want(Command{Kind: RestoreSale, Restore: restore}, CodeOK)
	g.check("a")
	first.want(Command{Kind: ResumeSale, Sale: "a", Revision: 3}, CodeOK)
	ask.Quantity = 1
	if got := first.want(ask, CodeOK); got.Detail <= 2 {
		t.Errorf("after SALE.RESTORE: %+v", got)
	}
}
