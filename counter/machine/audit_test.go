package machine

import (
	"fmt"
	"strings"
	"testing"

	"headgate.example/lib/sale"
)

// An audit is of the moment at which it began, whatever happens before it has counted.
func TestAuditOfOneMoment(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 3000, 0))
	sh.open(terms("b", 3000, 0))
	var orders []sale.OrderID
	for i := range 1500 {
		orders = append(orders, sh.s.Apply(&Entry{Wall: sh.wall, Commands: []Command{
			{Kind: Reserve, Sale: "ab"[i%2 : i%2+1], User: fmt.Sprint("a-user-with-a-name-that-is-rather-long-", i/4), Key: fmt.Sprint(i), Quantity: 1}}}, nil)[0].Order)
	}
	want, _ := sh.s.Audit("a", sh.wall)
	begun, _ := sh.s.BeginAudit("a", sh.wall)
	for i, id := range orders {
		sh.s.Apply(&Entry{Wall: sh.wall, Commands: []Command{{Kind: Confirm, Order: id}}}, nil)
		if i%3 == 0 {
			sh.s.Apply(&Entry{Wall: sh.wall, Commands: []Command{{Kind: Release, Order: id, Reason: "returned"}}}, nil)
		}
		sh.s.Apply(&Entry{Wall: sh.wall, Commands: []Command{{Kind: Reserve, Sale: "a", User: fmt.Sprint("new", i), Quantity: 1}}}, nil)
	}
	sh.want(Command{Kind: PauseSale, Sale: "a", Revision: 3}, CodeOK)
	if got := begun.Finish(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || got.HeldOrders != 750 || got.Violation != "" {
		t.Errorf("the audit shows %+v, want %+v", got, want)
	}
	if now, _ := sh.s.Audit("a", sh.wall); now.Violation != "" || now.ConfirmedOrders != 500 || now.HeldOrders != 1500 {
		t.Errorf("afterwards: %+v", now)
	}
	if err := sh.s.CheckInvariants(); err != nil {
		t.Error(err)
	}
}

func TestAuditFindsWhatIsWrong(t *testing.T) {
	for want, damage := range map[string]func(s *State, sl *saleState){
		"the totals say":    func(_ *State, sl *saleState) { sl.held, sl.available = sl.held+1, sl.available-1 },
		"the counts of its": func(_ *State, sl *saleState) { sl.heldOrders++ },
		"its index has":     func(_ *State, sl *saleState) { sl.ids.live++ },
		"the account says":  func(s *State, _ *saleState) { s.accounts.edit(1).units++ },
		"finished in its":   func(_ *State, sl *saleState) { sl.waiting.head = 0 },
		"is not scheduled":  func(_ *State, sl *saleState) { sl.available++ },
	} {
		sh := newShard(t)
		sh.open(terms("a", 10, 0))
		sh.reserve("a", "u1", "", 1)
		sh.reserve("a", "u2", "", 1)
		damage(sh.s, sh.s.byName["a"])
		if a, _ := sh.s.Audit("a", sh.wall); !strings.Contains(a.Violation, want) {
			t.Errorf("want %q, the audit says %q", want, a.Violation)
		}
		if err := sh.s.CheckInvariants(); err == nil {
			t.Errorf("%q: the invariants hold", want)
		}
	}
}

// A page in a rare state looks at a bounded number of orders at a time, and misses none.
func TestRareOrdersFarApart(t *testing.T) {
	sh := newShard(t)
	const orders = 2*MaxPage + 500
	sh.open(terms("a", orders, 0))
	var rare []sale.OrderID
	for i := range orders {
		id := sh.s.Apply(&Entry{Wall: sh.wall + int64(i/4000), Commands: []Command{{Kind: Reserve, Sale: "a", User: fmt.Sprint("u", i), Quantity: 1}}}, nil)[0].Order
		if i == 0 || i == MaxPage || i == orders-1 {
			sh.s.Apply(&Entry{Wall: sh.wall, Commands: []Command{{Kind: Confirm, Order: id}}}, nil)
			rare = append(rare, id)
		}
	}
	var got []sale.OrderID
	looks := 0
	for after, more := sale.OrderID(0), true; more; looks++ {
		page, upTo, known := sh.s.Holds("a", sale.Confirmed, after, 10)
		if !known || more && upTo != 0 && upTo <= after {
			t.Fatalf("from %d to %d, %v", after, upTo, known)
		}
		for _, h := range page {
			got = append(got, h.Order)
		}
		after, more = upTo, upTo != 0
	}
	if fmt.Sprint(got) != fmt.Sprint(rare) || looks != 3 {
		t.Errorf("%d looks gave %v, want %v in 3", looks, got, rare)
	}
}
