package machine

import (
	"fmt"
	"testing"

	"headgate.example/lib/sale"
)

// TestTransitions asks each of CONFIRM, ABORT and RELEASE of an order in each state.
func TestTransitions(t *testing.T) {
	reach := map[string]func(*shard, sale.OrderID){
		"held":      func(*shard, sale.OrderID) {},
		"confirmed": func(sh *shard, id sale.OrderID) { sh.want(Command{Kind: Confirm, Order: id}, CodeConfirmed) },
		"aborted":   func(sh *shard, id sale.OrderID) { sh.want(Command{Kind: Abort, Order: id}, CodeReleased) },
		"released": func(sh *shard, id sale.OrderID) {
			sh.want(Command{Kind: Confirm, Order: id}, CodeConfirmed)
			sh.want(Command{Kind: Release, Order: id}, CodeReleased)
		},
		"expired": func(sh *shard, _ sale.OrderID) { sh.pass(30_000) },
		"purged": func(sh *shard, _ sale.OrderID) {
			sh.pass(30_000)
			sh.pass(86_400_000)
		},
		"forgotten": func(sh *shard, id sale.OrderID) {
			sh.want(Command{Kind: Confirm, Order: id}, CodeConfirmed)
			sh.want(Command{Kind: ForgetSale, Sale: "a", Revision: 3}, CodeOK)
		},
		"swept": func(sh *shard, id sale.OrderID) {
			sh.want(Command{Kind: Confirm, Order: id}, CodeConfirmed)
			sh.want(Command{Kind: ForgetSale, Sale: "a", Revision: 3}, CodeOK)
			sh.pass(86_400_000)
		},
	}
	tests := []struct {
		state                   string
		confirm, abort, release Code
	}{
		{"held", CodeConfirmed, CodeReleased, CodeHeld},
		{"confirmed", CodeConfirmed, CodeConfirmed, CodeReleased},
		{"aborted", CodeReleased, CodeReleased, CodeAlready},
		{"released", CodeReleased, CodeReleased, CodeAlready},
		{"expired", CodeExpired, CodeExpired, CodeExpired},
		{"purged", CodeUnknown, CodeUnknown, CodeUnknown},
		{"forgotten", CodeUnknown, CodeUnknown, CodeForgotten},
		{"swept", CodeUnknown, CodeUnknown, CodeUnknown},
	}
	for _, test := range tests {
		for kind, want := range map[Kind]Code{Confirm: test.confirm, Abort: test.abort, Release: test.release} {
			t.Run(test.state+" "+kind.String(), func(t *testing.T) {
				sh := newShard(t)
				sh.open(terms("a", 5, 0))
				id := sh.reserve("a", "u1", "", 2).Order
				reach[test.state](sh, id)
				before := sh.info("a")
				sh.want(Command{Kind: kind, Order: id, Reason: "x"}, want)
				changed := test.state == "held" && kind != Release || test.state == "confirmed" && kind == Release
				if after := sh.info("a"); changed == (after.Held == before.Held && after.Confirmed == before.Confirmed) {
					t.Errorf("the sale was %+v and is %+v", before, after)
				}
			})
		}
	}
}

func TestOrderView(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 5, 0))
	id := sh.reserve("a", "u1", "key", 2).Order
	sh.wall += 10_000 // an outage: served time stands still
	sh.s.Apply(&Entry{Wall: sh.wall, Served: sh.served}, nil)
	h, _ := sh.s.Order(id)
	want := Hold{
		Binding: sale.Binding{Order: id, Sale: "a", User: "u1", Quantity: 2, Slot: 1}, State: sale.Held, Key: "key",
		ReservedAt: start, ExpiresAt: start + 40_000, ChangedAt: start,
	}
	if h != want {
		t.Errorf("held: %+v, want %+v", h, want)
	}
	sh.want(Command{Kind: Abort, Order: id, Reason: "upstream refused"}, CodeReleased)
	want.State, want.ExpiresAt, want.ChangedAt = sale.Released, 0, start+10_000
	want.Reason, want.By = "upstream refused", Abort
	if h, _ = sh.s.Order(id); h != want {
		t.Errorf("aborted: %+v, want %+v", h, want)
	}
	if r := sh.want(Command{Kind: Release, Order: id, Reason: "late"}, CodeAlready); r.State != sale.Released {
		t.Errorf("RELEASE after ABORT: %+v", r)
	}
	sh.reopen()
	if h, _ = sh.s.Order(id); h != want {
		t.Errorf("after RELEASE and a restart: %+v, want the reason of ABORT: %+v", h, want)
	}
}

// TestServedTime: an outage expires nothing, whatever the wall clock says; served time never goes back.
func TestServedTime(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 5, 0))
	id := sh.reserve("a", "u1", "", 1).Order
	sh.wall += 3_600_000
	sh.want(Command{Kind: Abort, Order: 1}, CodeUnknown)
	if h, _ := sh.s.Order(id); h.State != sale.Held {
		t.Fatalf("after an outage of an hour the hold is %s", h.State)
	}
	sh.served = 29_999
	if sh.s.Due(sh.wall, sh.served) || !sh.s.Due(sh.wall, 30_000) {
		t.Error("Due does not see the end of the hold")
	}
	sh.want(Command{Kind: Abort, Order: 1}, CodeUnknown)
	sh.served = 5
	sh.want(Command{Kind: Abort, Order: 1}, CodeUnknown)
	if sh.s.Served() != 29_999 {
		t.Errorf("served time went back to %d", sh.s.Served())
	}
	sh.served = 30_000
	sh.want(Command{Kind: Confirm, Order: id}, CodeExpired)
	if info := sh.info("a"); info.Available != 5 || info.ExpiredTotal != 1 || info.ReleasedTotal != 0 {
		t.Errorf("after expiry: %+v", info)
	}
}

// TestPurgeOrder: finished orders go in the order in which they finished, also after a restart.
func TestPurgeOrder(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 5, 0))
	first, second := sh.reserve("a", "u1", "", 1).Order, sh.reserve("a", "u2", "", 1).Order
	sh.want(Command{Kind: Abort, Order: second}, CodeReleased)
	sh.pass(1000)
	sh.want(Command{Kind: Abort, Order: first}, CodeReleased)
	sh.reopen()
	sh.pass(86_399_000)
	sh.want(Command{Kind: Abort, Order: second}, CodeUnknown)
	sh.want(Command{Kind: Abort, Order: first}, CodeReleased)
	sh.pass(1000)
	sh.want(Command{Kind: Abort, Order: first}, CodeUnknown)
}

func TestPages(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 5000, 0))
	var held []sale.OrderID
	for i := range 2000 {
		r := sh.s.Apply(&Entry{Wall: sh.wall, Served: int64(i), Commands: []Command{
			{Kind: Reserve, Sale: "a", User: fmt.Sprint("u", i%10), Key: fmt.Sprint("k", i), Quantity: 1}}}, nil)[0]
		if i%3 == 0 {
			sh.s.Apply(&Entry{Wall: sh.wall, Commands: []Command{{Kind: Confirm, Order: r.Order}}}, nil)
			continue
		}
		held = append(held, r.Order)
	}
	var got []sale.OrderID
	for after, more := sale.OrderID(0), true; more; {
		page, upTo, ok := sh.s.Holds("a", sale.Held, after, 100)
		if !ok || len(page) > 100 {
			t.Fatalf("a page of %d, %v", len(page), ok)
		}
		for _, h := range page {
			got = append(got, h.Order)
		}
		after, more = upTo, upTo != 0
	}
	if len(got) != len(held) {
		t.Fatalf("pages give %d orders, want %d", len(got), len(held))
	}
	for i := range got {
		if got[i] != held[i] {
			t.Fatalf("order %d is %d, want %d", i, got[i], held[i])
		}
	}
	if _, _, ok := sh.s.Holds("none", 0, 0, 10); ok {
		t.Error("pages of an unknown sale")
	}
}
