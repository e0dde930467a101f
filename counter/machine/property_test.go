package machine

import (
	"bytes"
	"cmp"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"headgate.example/lib/sale"
)

const start = sale.EpochMillis + 1_000_000_000 // wall ms at which test runs begin

var testOptions = Options{Shard: "s1", Number: 7}

var (
	genSale  = rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	genUser  = rapid.SampledFrom([]string{"u1", "u2", "u3"})
	genKey   = rapid.SampledFrom([]string{"", "", "k1", "k2"})
	genValue = rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.0/24", "2001:db8::1"})
)

func genTerms(t *rapid.T, wall int64) *sale.Terms {
	terms := &sale.Terms{
		ID: genSale.Draw(t, "sale"), Revision: 1 + int64(rapid.IntRange(0, 9).Draw(t, "odd revision")/9),
		Stock: rapid.Int64Range(0, 12).Draw(t, "stock"), Limit: rapid.Int64Range(0, 5).Draw(t, "limit"),
		OpensAt:       wall + rapid.Int64Range(-20_000, 10_000).Draw(t, "opens"),
		HoldForMillis: rapid.Int64Range(1000, 5000).Draw(t, "hold for"), RetainForMillis: rapid.Int64Range(6000, 30_000).Draw(t, "retain for"),
		Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 71, Replicas: 20, Load: 1.25},
	}
	left, at := terms.Stock, terms.OpensAt
	for range rapid.IntRange(0, 3).Draw(t, "releases") {
		if left == 0 {
			break
		}
		units := rapid.Int64Range(1, left).Draw(t, "units")
		at += rapid.Int64Range(1, 20_000).Draw(t, "later")
		terms.Releases = append(terms.Releases, sale.Release{At: at, Units: units})
		left -= units
	}
	if rapid.Bool().Draw(t, "ends") {
		terms.EndsAt = at + rapid.Int64Range(1, 60_000).Draw(t, "ends at")
	}
	if rapid.IntRange(0, 19).Draw(t, "elsewhere") == 0 {
		terms.Shards = []string{"s2"}
	}
	return terms
}

func genOrder(t *rapid.T, m *model) sale.OrderID {
	if len(m.minted) == 0 || rapid.IntRange(0, 9).Draw(t, "stranger") == 0 {
		return sale.OrderID(rapid.Int64Range(-1, 1<<40).Draw(t, "order"))
	}
	last := len(m.minted) - 1
	return m.minted[last-rapid.IntRange(0, min(last, 30)).Draw(t, "order back")]
}

func genChange(t *rapid.T, m *model, kind Kind) Command {
	c := Command{Kind: kind, Sale: genSale.Draw(t, "sale"), Revision: 1}
	if s := m.sales[c.Sale]; s != nil {
		c.Revision = s.revision + rapid.SampledFrom([]int64{1, 1, 1, 1, 1, 0, 2}).Draw(t, "step")
	}
	if kind == SetStock {
		c.Total = rapid.Int64Range(0, 15).Draw(t, "total")
	}
	return c
}

func genRestore(t *rapid.T, m *model) Command {
	r := &Restore{Terms: *genTerms(t, m.wall), Closed: rapid.IntRange(0, 4).Draw(t, "closed") == 0, Paused: true}
	r.Revision = r.Terms.Revision + rapid.Int64Range(0, 3).Draw(t, "revision")
	r.IDFloor = sale.MakeOrderID(max(0, m.wall-sale.EpochMillis+rapid.Int64Range(-90_000_000, 90_000_000).Draw(t, "floor")), 3, 5)
	seen := map[sale.OrderID]bool{}
	for range rapid.IntRange(0, 6).Draw(t, "sold") {
		id := sale.MakeOrderID(max(1, m.wall-sale.EpochMillis-rapid.Int64Range(0, 5000).Draw(t, "ago")), 7, rapid.IntRange(4000, 4005).Draw(t, "sequence"))
		if !seen[id] {
			r.Sold = append(r.Sold, SoldOrder{
				Order: id, User: genUser.Draw(t, "user"), Quantity: rapid.Int64Range(1, 3).Draw(t, "quantity"),
				Slot: rapid.Int64Range(1, 3).Draw(t, "slot"), Key: genKey.Draw(t, "key"),
			})
		}
		seen[id] = true
	}
	return Command{Kind: RestoreSale, Restore: r}
}

func genCommand(t *rapid.T, m *model) Command {
	kinds := []Kind{
		Reserve, Reserve, Reserve, Reserve, Reserve, Reserve, Confirm, Confirm, Confirm, Abort, Release, Release,
		OpenSale, ResumeSale, ResumeSale, PauseSale, SetStock, SetStock, CloseSale, ForgetSale, RestoreSale, Ban, Unban, Revoke,
	}
	if len(m.sales) < 2 {
		kinds = append(kinds, OpenSale, OpenSale, OpenSale, OpenSale, RestoreSale)
	}
	c := Command{Kind: rapid.SampledFrom(kinds).Draw(t, "kind")}
	switch c.Kind {
	case Reserve:
		c.Sale, c.User, c.Key = genSale.Draw(t, "sale"), genUser.Draw(t, "user"), genKey.Draw(t, "key")
		c.Quantity = rapid.SampledFrom([]int64{1, 1, 1, 2, 3, 4, 0}).Draw(t, "quantity")
	case Confirm:
		c.Order = genOrder(t, m)
	case Abort, Release:
		c.Order, c.Reason = genOrder(t, m), rapid.SampledFrom([]string{"", "refused", "cancelled"}).Draw(t, "reason")
	case OpenSale:
		c.Terms = genTerms(t, m.wall)
	case RestoreSale:
		return genRestore(t, m)
	case Ban, Unban:
		c.Rule, c.Value = RuleUser, genUser.Draw(t, "user")
		if rapid.Bool().Draw(t, "address") {
			c.Rule, c.Value = RuleAddress, genValue.Draw(t, "address")
		}
		if c.Kind == Ban && rapid.Bool().Draw(t, "for a time") {
			c.Until = m.wall + rapid.Int64Range(-10, 100_000).Draw(t, "until")
		}
	case Revoke:
		c.User, c.Before = genUser.Draw(t, "user"), m.wall+rapid.Int64Range(-5, 5).Draw(t, "before")
	default:
		return genChange(t, m, c.Kind)
	}
	return c
}

// script draws an entry, applies it to the model, and gives the entry and the model's answers.
func script(t *rapid.T, m *model) (Entry, []Result) {
	e := Entry{
		Wall:   m.wall + rapid.SampledFrom([]int64{0, 1, 50, 700, 3000, 9000, 40_000, -1, -5000}).Draw(t, "wall"),
		Served: m.served + rapid.SampledFrom([]int64{0, 1, 50, 700, 3000, 9000, -100}).Draw(t, "served"),
	}
	m.advance(e.Wall, e.Served)
	var want []Result
	for range rapid.IntRange(0, 6).Draw(t, "commands") {
		c := genCommand(t, m)
		e.Commands = append(e.Commands, c)
		want = append(want, m.apply(&c))
	}
	return e, want
}

func snapshotOf(t testFailer, s *State) []byte {
	var b bytes.Buffer
	if n, err := s.Snapshot().WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("writing a snapshot: %d of %d bytes, %v", n, b.Len(), err)
	}
	return b.Bytes()
}

func readState(t testFailer, b []byte) *State {
	s, err := Read(bytes.NewReader(b), testOptions)
	if err != nil {
		t.Fatalf("reading a snapshot: %v", err)
	}
	return s
}

// TestAgainstModel compares every answer and every figure with the naive model, checks the invariants
// after every entry, and holds Refuse against the answer of Apply.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := New(testOptions), newModel(7)
		m.wall = start
		for range rapid.IntRange(5, 60).Draw(t, "entries") {
			e, want := script(t, m)
			var early Result
			refused := false
			if len(e.Commands) > 0 && e.Commands[0].Kind == Reserve {
				c := &e.Commands[0]
				early, refused = s.Refuse(c.Sale, c.User, c.Key, c.Quantity, e.Wall, e.Served)
			}
			got := s.Apply(&e, nil)
			if refused && !reflect.DeepEqual(early, got[0]) {
				t.Fatalf("Refuse said %+v, Apply %+v", early, got[0])
			}
			for i := range want {
				if same := got[i]; same.Code == CodeErr || same.Code == CodeWrongShard {
					got[i] = Result{Code: same.Code}
				}
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Fatalf("%s %+v\n got %+v\nwant %+v", e.Commands[i].Kind, e.Commands[i], got[i], want[i])
				}
			}
			if err := s.CheckInvariants(); err != nil {
				t.Fatal(err)
			}
			compareStates(t, s, m)
		}
	})
}

func compareStates(t *rapid.T, s *State, m *model) {
	known := 0
	for name, ms := range m.sales {
		info, ok := s.Info(name, m.wall)
		if !ok {
			t.Fatalf("sale %s is missing", name)
		}
		if ms.forgotten {
			known += len(ms.orders)
			continue
		}
		want := [10]int64{ms.revision, ms.stock, ms.debt, ms.available, ms.scheduled(), ms.units(sale.Held), ms.units(sale.Confirmed), int64(b2i(ms.paused)), int64(b2i(ms.closed)), ms.stock + ms.debt}
		got := [10]int64{info.Revision, info.Stock, info.Debt, info.Available, info.Scheduled, info.Held, info.Confirmed, int64(b2i(info.Paused)), int64(b2i(info.Closed)), info.Alloc}
		if got != want {
			t.Fatalf("sale %s: revision stock debt available scheduled held confirmed paused closed alloc:\n got %v\nwant %v", name, got, want)
		}
		ids := slices.Sorted(maps.Keys(ms.orders))
		page, _, _ := s.Holds(name, 0, 0, MaxPage)
		if len(page) != len(ids) {
			t.Fatalf("sale %s has %d orders, want %d", name, len(page), len(ids))
		}
		for i, id := range ids {
			o, h := ms.orders[id], page[i]
			if h.Binding != o.Binding || h.Key != o.key || h.State != o.state || h.By != o.by || h.Reason != o.reason {
				t.Fatalf("order %d is %+v, want %+v", id, h, o)
			}
		}
		known += len(ids)
		userUnits := map[string]int64{}
		for _, o := range ms.orders {
			if o.state.Live() {
				userUnits[o.User] += o.Quantity
			}
		}
		for user, units := range userUnits {
			if orders, _ := s.UserOrders(name, user); len(orders) == 0 {
				t.Fatalf("sale %s: %s has %d units and no orders", name, user, units)
			}
		}
	}
	if known != s.holds.len() {
		t.Fatalf("%d orders are kept, want %d", s.holds.len(), known)
	}
	rules := slices.SortedFunc(maps.Values(m.rules), func(a, b Rule) int { return cmp.Compare(a.Index, b.Index) })
	if got := s.Rules(0); !got.Full || got.Index != m.ruleIndex || !slices.Equal(got.Changes, rules) {
		t.Fatalf("rules are %+v, want %+v", got, rules)
	}
}

// TestPromises checks what a shopper and the ledger are promised, from the answers alone.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := New(testOptions), newModel(7)
		m.wall = start
		var last sale.OrderID
		for range rapid.IntRange(5, 60).Draw(t, "entries") {
			e, _ := script(t, m)
			for i, r := range s.Apply(&e, nil) {
				if r.Code != CodeReserved {
					continue
				}
				if r.Order <= last {
					t.Fatalf("order id %d after %d", r.Order, last)
				}
				last = r.Order
				c := &e.Commands[i]
				info, _ := s.Info(c.Sale, 0)
				if info.Debt == 0 && info.Held+info.Confirmed > info.Stock {
					t.Fatalf("%d units are sold of %d: %+v", info.Held+info.Confirmed, info.Stock, info)
				}
				var units int64
				orders, _ := s.UserOrders(c.Sale, c.User)
				for _, h := range orders {
					units += h.Quantity * int64(b2i(h.State.Live()))
				}
				if units > info.Limit && info.Limit > 0 {
					t.Fatalf("%s has %d units, the limit is %d", c.User, units, info.Limit)
				}
			}
			if id := s.LastOrder(); id < last {
				t.Fatalf("LastOrder %d is below %d", id, last)
			}
		}
	})
}

// TestReplay: the same entries, over their encoding, give the same bytes; so does a state that was
// written and read anywhere on the way, and one for which memory is made ready; and a frozen snapshot does not change with later entries.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(7)
		m.wall = start
		straight, replayed, restored := New(testOptions), New(testOptions), New(testOptions)
		entries := rapid.IntRange(5, 60).Draw(t, "entries")
		frozenAt := rapid.IntRange(0, entries-1).Draw(t, "freeze")
		var frozen *Snapshot
		var then []byte
		for i := range entries {
			e, _ := script(t, m)
			b := e.Append(nil)
			decoded, err := DecodeEntry(b)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(decoded.Append(nil), b) {
				t.Fatalf("an entry changes when it is decoded: %+v, was %+v", decoded, e)
			}
			results := straight.Apply(&e, nil)
			if i == frozenAt {
				frozen, then = straight.Snapshot(), snapshotOf(t, straight)
			}
			if w, missing := replayed.Wants(); missing && rapid.Bool().Draw(t, "make memory ready") {
				replayed.Keep(w.Make())
			}
			if again := replayed.Apply(&decoded, nil); !reflect.DeepEqual(again, results) {
				t.Fatalf("replayed: %+v, was %+v", again, results)
			}
			if rapid.IntRange(0, 4).Draw(t, "restore") == 0 {
				restored = readState(t, snapshotOf(t, restored))
			}
			if again := restored.Apply(&decoded, nil); !reflect.DeepEqual(again, results) {
				t.Fatalf("restored: %+v, was %+v", again, results)
			}
			if due := restored.Due(e.Wall, e.Served); due && !straight.Due(e.Wall, e.Served) {
				t.Fatalf("a restored state has something due that the other has not")
			}
		}
		want := snapshotOf(t, straight)
		if !bytes.Equal(snapshotOf(t, replayed), want) {
			t.Fatal("replaying the entries gives another state")
		}
		if !bytes.Equal(snapshotOf(t, restored), want) {
			t.Fatal("restoring snapshots on the way gives another state")
		}
		var late bytes.Buffer
		if _, err := frozen.WriteTo(&late); err != nil || !bytes.Equal(late.Bytes(), then) {
			t.Fatalf("a snapshot changed after it was taken (%v)", err)
		}
	})
}

// TestIdempotent: a command applied again at the same time changes nothing, and answers the same in
// the sense of the protocol.
func TestIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := New(testOptions), newModel(7)
		m.wall = start
		for range rapid.IntRange(1, 25).Draw(t, "entries") {
			e, _ := script(t, m)
			for i := range e.Commands {
				one := Entry{Wall: e.Wall, Served: e.Served, Commands: e.Commands[i : i+1]}
				first := s.Apply(&one, nil)[0]
				after := snapshotOf(t, s)
				second := s.Apply(&one, nil)[0]
				if again := snapshotOf(t, s); !bytes.Equal(again, after) {
					t.Fatalf("%+v changes the state a second time", e.Commands[i])
				}
				switch kind := e.Commands[i].Kind; {
				case first.Code == CodeReserved, kind == Release && first.Code == CodeReleased:
					first.Code = CodeAlready
				}
				if !reflect.DeepEqual(first, second) {
					t.Fatalf("%+v: first %+v, then %+v", e.Commands[i], first, second)
				}
			}
		}
	})
}

// testFailer is what *testing.T, *testing.B and *rapid.T have in common here.
type testFailer interface {
	Fatalf(format string, args ...any)
}
