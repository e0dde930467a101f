package machine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"headgate.example/lib/sale"
)

func soldID(ago int64, sequence int) sale.OrderID {
	return sale.MakeOrderID(start-ago-sale.EpochMillis, 7, sequence)
}

func TestRestore(t *testing.T) {
	sh := newShard(t)
	tm := terms("a", 10, 4)
	tm.Releases = []sale.Release{{At: start + 1000, Units: 3}, {At: start + 2000, Units: 1}}
	r := &Restore{
		Terms: *tm, Revision: 6, IDFloor: sale.MakeOrderID(start+5000-sale.EpochMillis, 7, 9),
		Sold: []SoldOrder{
			{Order: soldID(3000, 1), User: "u1", Quantity: 2, Slot: 1, Key: "k"},
			{Order: soldID(2000, 1), User: "u1", Quantity: 1, Slot: 1},
			{Order: soldID(4000, 1), User: "u1", Quantity: 2, Slot: 2},
			{Order: soldID(1000, 1), User: "u2", Quantity: 3, Slot: 1},
			{Order: soldID(900, 2), User: "u3", Quantity: 1, Slot: 2},
		},
	}
	c := Command{Kind: RestoreSale, Restore: r}
	want := []sale.OrderID{soldID(3000, 1)}
	for range 2 {
		got := sh.want(c, CodeOK)
		if got.Revision != 6 || got.Detail != 1 || !slices.Equal(got.Excess, want) {
			t.Errorf("restored: %+v", got)
		}
		sh.reopen()
	}
	if i := sh.info("a"); !i.Paused || i.Confirmed != 7 || i.Available != 0 || i.Scheduled != 3 || i.Debt != 0 {
		t.Errorf("restored sale: %+v", i)
	}
	if a, _ := sh.s.Audit("a", 0); a.ExcessOrders != 1 || a.Incarnation <= int64(r.IDFloor) || a.Violation != "" {
		t.Errorf("AUDIT: %+v", a)
	}
	if _, known := sh.s.Order(want[0]); known {
		t.Error("the order that lost its slot is still known")
	}
	sh.want(Command{Kind: OpenSale, Terms: tm}, CodeConflict)
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 7}, CodeOK)
	sh.wall += 2000
	if got := sh.reserve("a", "u3", "", 1); got.Code != CodeAlready {
		t.Errorf("u3 under the same key: %+v", got)
	}
	got := sh.reserve("a", "u3", "new", 1)
	if got.Code != CodeReserved || got.Slot != 1 || got.Order <= r.IDFloor {
		t.Errorf("u3 again: %+v", got)
	}
	sh.want(Command{Kind: Release, Order: soldID(1000, 1)}, CodeReleased)
}

func TestRestoreOversold(t *testing.T) {
	sh := newShard(t)
	r := &Restore{Terms: *terms("a", 2, 0), Revision: 1, Closed: true, Sold: []SoldOrder{
		{Order: soldID(5, 1), User: "u1", Quantity: 3, Slot: 1}, {Order: soldID(5, 2), User: "u2", Quantity: 1, Slot: 1}}}
	sh.want(Command{Kind: RestoreSale, Restore: r}, CodeOK)
	if i := sh.info("a"); i.Debt != 2 || i.Available != 0 || i.Confirmed != 4 || !i.Closed || i.Paused {
		t.Errorf("oversold: %+v", i)
	}
	sh.want(Command{Kind: Release, Order: soldID(5, 1)}, CodeReleased)
	if i := sh.info("a"); i.Debt != 0 || i.Available != 1 {
		t.Errorf("after a release: %+v", i)
	}
}

func TestRestoreInParts(t *testing.T) {
	sh := newShard(t)
	part := func(n int, sold ...SoldOrder) Command {
		return Command{Kind: RestoreSale, Restore: &Restore{Terms: *terms("a", 10, 0), Revision: 3, Part: n, Parts: 3, Sold: sold}}
	}
	high, low := SoldOrder{Order: soldID(1, 1), User: "u1", Quantity: 1, Slot: 1}, SoldOrder{Order: soldID(9, 1), User: "u1", Quantity: 2, Slot: 1}
	last := SoldOrder{Order: sale.MakeOrderID(start+7000-sale.EpochMillis, 7, 3), User: "u2", Quantity: 1, Slot: 1}
	sh.want(part(2, high), CodeErr)
	sh.want(part(1, low), CodeOK)
	sh.want(part(1, low), CodeOK)
	sh.want(part(3, high), CodeConflict)
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 4}, CodeErr)
	sh.reopen()
	if r := sh.want(part(2, high), CodeOK); !slices.Equal(r.Excess, []sale.OrderID{low.Order}) {
		t.Errorf("the higher id came later: %+v", r)
	}
	sh.want(part(1, low), CodeConflict)
	if r := sh.want(part(3, low, last, high), CodeOK); r.Detail != 1 {
		t.Errorf("repeated orders: %+v", r)
	}
	if i := sh.info("a"); i.Confirmed != 2 || i.Available != 8 || i.Revision != 3 {
		t.Errorf("after all parts: %+v", i)
	}
	sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: 4}, CodeOK)
	if r := sh.reserve("a", "u3", "", 1); r.Order <= last.Order {
		t.Errorf("order %d is not above the restored %d", r.Order, last.Order)
	}
}

// TestRestoreRefused: what cannot be true changes nothing.
func TestRestoreRefused(t *testing.T) {
	ok := SoldOrder{Order: soldID(5, 1), User: "u1", Quantity: 1, Slot: 1}
	tests := map[string]struct {
		change func(*Restore)
		field  string
	}{
		"foreign order":  {func(r *Restore) { r.Sold[0].Order = sale.MakeOrderID(5, 8, 1) }, "sold[0].order"},
		"two bindings":   {func(r *Restore) { r.Sold = append(r.Sold, ok); r.Sold[1].User = "u2" }, "sold[1].order"},
		"bad quantity":   {func(r *Restore) { r.Sold[0].Quantity = 0 }, "sold[0].quantity"},
		"bad slot":       {func(r *Restore) { r.Sold[0].Slot = -1 }, "sold[0].slot"},
		"bad key":        {func(r *Restore) { r.Sold[0].Key = "a b" }, "sold[0].key"},
		"far floor":      {func(r *Restore) { r.IDFloor = sale.MakeOrderID(start+MaxIDFloorMillis+1-sale.EpochMillis, 7, 0) }, "id_floor"},
		"old revision":   {func(r *Restore) { r.Terms.Revision = 2 }, "revision"},
		"bad terms":      {func(r *Restore) { r.Terms.Stock = -1 }, "terms.stock"},
		"part of none":   {func(r *Restore) { r.Part = 2 }, "part"},
		"too many parts": {func(r *Restore) { r.Parts = MaxRestoreParts + 1 }, "parts"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sh := newShard(t)
			r := &Restore{Terms: *terms("a", 10, 0), Revision: 1, Sold: []SoldOrder{ok}}
			test.change(r)
			if got := sh.want(Command{Kind: RestoreSale, Restore: r}, CodeErr); got.Field != test.field {
				t.Errorf("field %q, want %q: %s", got.Field, test.field, got.Reason)
			}
			if _, known := sh.s.Info("a", 0); known || sh.s.LastOrder() != 0 {
				t.Error("something was changed")
			}
		})
	}
	sh := newShard(t)
	sh.open(terms("b", 5, 0))
	taken := sh.sold("b", "u1", "", 1)
	r := &Restore{Terms: *terms("a", 10, 0), Revision: 1, Sold: []SoldOrder{{Order: taken, User: "u1", Quantity: 1, Slot: 1}}}
	sh.want(Command{Kind: RestoreSale, Restore: r}, CodeErr)
}

func TestParseRestore(t *testing.T) {
	text := `{"terms":{"id":"a","revision":1,"stock":5,"limit":1,"opens_at":1767225600000,"hold_for_ms":30000,"retain_for_ms":86400000,
		"shards":["s1"],"ring":{"partitions":71,"replicas":20,"load":1.25}},"revision":4,"paused":true,"closed":false,
		"id_floor":"305419896000000","sold":[{"order":"305419896","user":"u1","quantity":1,"slot":1,"key":"k"}]}`
	r, err := ParseRestore([]byte(text))
	if err != nil || r.Revision != 4 || r.IDFloor != 305419896000000 || r.Sold[0].Order != 305419896 || r.Sold[0].Key != "k" {
		t.Fatalf("%+v, %v", r, err)
	}
	for what, bad := range map[string]string{
		"unknown field": strings.Replace(text, `"paused"`, `"pausd"`, 1),
		"text after":    text + "{}",
		"wrong type":    strings.Replace(text, `"revision":4`, `"revision":"4"`, 1),
		"cut off":       text[:len(text)-3],
		"too long":      fmt.Sprintf("%*s", MaxRestoreBytes+1, text),
		"bad id":        strings.Replace(text, `"305419896"`, `"-1"`, 1),
	} {
		if _, err := ParseRestore([]byte(bad)); err == nil {
			t.Errorf("%s is taken", what)
		} else if _, ok := err.(*sale.FieldError); !ok {
			t.Errorf("%s: %T %v is not a FieldError", what, err, err)
		}
	}
}

// A mistyped revision must leave room for the changes that follow: each of them adds one.
func TestRestoreBoundsTheRevision(t *testing.T) {
	for revision, valid := range map[int64]bool{MaxRestoreRevision: true, MaxRestoreRevision + 1: false, math.MaxInt64: false} {
		sh := newShard(t)
		r := &Restore{Terms: *terms("a", 10, 0), Revision: revision}
		err := r.Validate()
		if !valid {
			var wrong *sale.FieldError
			if !errors.As(err, &wrong) || wrong.Field != "revision" {
				t.Errorf("revision %d: %v, want the field revision refused", revision, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("revision %d: %v", revision, err)
		}
		sh.want(Command{Kind: RestoreSale, Restore: r}, CodeOK)
		sh.want(Command{Kind: ResumeSale, Sale: "a", Revision: revision + 1}, CodeOK)
	}
}
