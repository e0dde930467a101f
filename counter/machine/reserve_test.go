package machine

import (
	"fmt"
	"testing"

	"headgate.example/lib/sale"
)

// TestRefusals puts a sale into a state where several refusals apply, and wants the first in order.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		terms  func(*sale.Terms)
		setup  func(*shard)
		user   string
		amount int64
		want   Result
	}{
		{name: "unknown sale", setup: func(sh *shard) { sh.s = New(testOptions) }, want: Result{Code: CodeNoSale}},
		{
			name:  "paused before not open",
			terms: func(t *sale.Terms) { t.OpensAt = start + 9000 },
			setup: func(sh *shard) { sh.want(Command{Kind: PauseSale, Sale: "a", Revision: 3}, CodeOK) },
			want:  Result{Code: CodePaused},
		},
		{
			name:  "not open before limit",
			terms: func(t *sale.Terms) { t.OpensAt = start + 9000 },
			setup: func(*shard) {}, amount: 9,
			want: Result{Code: CodeNotOpen, Detail: start + 9000},
		},
		{
			name: "between staged releases",
			terms: func(t *sale.Terms) {
				t.Releases = []sale.Release{{At: start + 500, Units: 3}, {At: start + 800, Units: 2}}
			},
			setup: func(*shard) {}, amount: 9,
			want: Result{Code: CodeNotOpen, Detail: start + 500},
		},
		{
			name:  "closed while staged units wait",
			terms: func(t *sale.Terms) { t.Releases = []sale.Release{{At: start + 500, Units: 5}} },
			setup: func(sh *shard) { sh.want(Command{Kind: CloseSale, Sale: "a", Revision: 3}, CodeOK) },
			want:  Result{Code: CodeEnded},
		},
		{
			name:  "past its end before limit",
			terms: func(t *sale.Terms) { t.EndsAt = start + 100 },
			setup: func(sh *shard) { sh.wall += 100 }, amount: 9,
			want: Result{Code: CodeEnded},
		},
		{
			name: "forgotten", setup: func(sh *shard) { sh.want(Command{Kind: ForgetSale, Sale: "a", Revision: 3}, CodeOK) },
			want: Result{Code: CodeEnded},
		},
		{
			name: "limit before sold out", setup: func(sh *shard) {
				sh.sold("a", "u1", "k1", 2)
				sh.reserve("a", "u2", "", 2)
				sh.reserve("a", "u3", "", 1)
			},
			user: "u1", want: Result{Code: CodeLimit, Detail: 2},
		},
		{
			name: "sold out with held units", setup: func(sh *shard) {
				sh.sold("a", "u2", "", 2)
				sh.reserve("a", "u3", "", 2)
				sh.reserve("a", "u4", "", 1)
			},
			want: Result{Code: CodeSoldOut, Detail: 3},
		},
		{
			name: "insufficient", setup: func(sh *shard) {
				sh.sold("a", "u2", "", 2)
				sh.reserve("a", "u3", "", 2)
			},
			amount: 2, want: Result{Code: CodeInsufficient, Detail: 1},
		},
		{
			name: "live order before paused", setup: func(sh *shard) {
				sh.sold("a", "u1", "", 2)
				sh.want(Command{Kind: PauseSale, Sale: "a", Revision: 3}, CodeOK)
			},
			user: "u1", want: Result{Code: CodeAlready, State: sale.Confirmed, Quantity: 2, Slot: 1},
		},
		{
			name: "live order before ended", setup: func(sh *shard) {
				sh.reserve("a", "u1", "", 2)
				sh.want(Command{Kind: CloseSale, Sale: "a", Revision: 3}, CodeOK)
			},
			user: "u1", want: Result{Code: CodeAlready, State: sale.Held, Quantity: 2, Slot: 1, Expires: start + 30_000},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sh := newShard(t)
			tm := terms("a", 5, 2)
			if test.terms != nil {
				test.terms(tm)
			}
			sh.open(tm)
			test.setup(sh)
			user := test.user
			if user == "" {
				user = "u9"
			}
			early, refused := sh.s.Refuse("a", user, "", max(test.amount, 1), sh.wall, sh.served)
			got := sh.reserve("a", user, "", max(test.amount, 1))
			got.Order = 0
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if refused != got.Code.Refusal() || refused && fmt.Sprint(early) != fmt.Sprint(got) {
				t.Errorf("Refuse said %+v, %v", early, refused)
			}
		})
	}
}

// TestRefuseLeavesToLog lists what only the log may answer.
func TestRefuseLeavesToLog(t *testing.T) {
	sh := newShard(t)
	tm := terms("a", 3, 0)
	tm.Releases = []sale.Release{{At: start + 60_000, Units: 1}}
	sh.open(tm)
	sh.reserve("a", "u1", "", 2)
	check := func(what, user string, quantity, wall, served int64, want bool) {
		t.Helper()
		if r, refused := sh.s.Refuse("a", user, "", quantity, wall, served); refused != want {
			t.Errorf("%s: refused %v with %+v, want %v", what, refused, r, want)
		}
	}
	check("between releases", "u2", 1, start, 0, true)
	check("a live order", "u1", 1, start, 0, false)
	check("a hold is due", "u2", 1, start, 30_000, false)
	check("a release is due", "u2", 1, start+60_000, 0, false)
	check("not a valid request", "u2", 0, start, 0, false)
	check("not a valid user", "u 2", 1, start, 0, false)
	sh.pass(60_000)
	check("units are there", "u2", 1, sh.wall, sh.served, false)
}

func TestSlots(t *testing.T) {
	sh := newShard(t)
	sh.open(terms("a", 100, 0))
	var ids []sale.OrderID
	for i := range 5 {
		r := sh.reserve("a", "u1", fmt.Sprint("k", i), 1)
		if r.Slot != int64(i+1) {
			t.Fatalf("order %d has slot %d", i, r.Slot)
		}
		ids = append(ids, r.Order)
	}
	sh.want(Command{Kind: Abort, Order: ids[3], Reason: "refused"}, CodeReleased)
	sh.want(Command{Kind: Abort, Order: ids[1]}, CodeReleased)
	for _, want := range []int64{2, 4, 6} {
		if r := sh.reserve("a", "u1", fmt.Sprint("n", want), 1); r.Slot != want {
			t.Errorf("slot %d, want the lowest free one, %d", r.Slot, want)
		}
	}
	sh.s.limits.liveOrders = 6
	if r := sh.reserve("a", "u1", "more", 1); r.Code != CodeLimit || r.Detail != 6 {
		t.Errorf("beyond the bound of live orders: %+v", r)
	}
	if r, refused := sh.s.Refuse("a", "u1", "more", 1, sh.wall, sh.served); !refused || r.Code != CodeLimit {
		t.Errorf("beyond the bound of live orders Refuse says %+v, %v", r, refused)
	}
}

// TestIDs: ids go up whatever the clock does, and say BUSY before they run away from it.
func TestIDs(t *testing.T) {
	sh := newShard(t)
	tm := terms("a", 1_000_000, 0)
	tm.OpensAt = 1 // the window goes by the stamp, ids do not
	sh.open(tm)
	last := sale.OrderID(0)
	next := func() {
		t.Helper()
		r := sh.reserve("a", fmt.Sprint("u", last), "", 1)
		if r.Order <= last || r.Order.Shard() != 7 {
			t.Fatalf("order %d after %d: %+v", r.Order, last, r)
		}
		last = r.Order
	}
	for _, wall := range []int64{start, start + 5, start - 3_600_000, start - 1, start + 6, 1, start + 7} {
		sh.wall = wall
		next()
		sh.reopen()
		next()
	}
	sh.s.idSeq = sale.MaxSequence
	next()
	if last.IDMillis() != start+8-sale.EpochMillis || last.Sequence() != 0 {
		t.Errorf("after a full millisecond: time %d, sequence %d", last.IDMillis(), last.Sequence())
	}
	sh.s.idTime, sh.s.idSeq = sh.s.topWall-sale.EpochMillis+MaxIDAheadMillis, sale.MaxSequence
	if r := sh.reserve("a", "late", "", 1); r.Code != CodeBusy {
		t.Errorf("ids that ran ahead of the clock: %+v", r)
	}
	sh.wall = maxMillis + 1_000_000
	sh.s.idTime = sale.MaxIDTime
	if r := sh.reserve("a", "last", "", 1); r.Code != CodeBusy {
		t.Errorf("ids at the end of their layout: %+v", r)
	}
}

func TestBounds(t *testing.T) {
	sh := newShard(t)
	sh.s.limits = limits{sales: 2, tombstones: 1, holds: 3, holdsPerSale: 2, liveOrders: 9, rules: 1, graves: 1}
	sh.open(terms("a", 9, 0))
	sh.open(terms("b", 9, 0))
	sh.want(Command{Kind: OpenSale, Terms: terms("c", 9, 0)}, CodeBusy)
	first := sh.reserve("a", "u1", "", 1)
	sh.reserve("a", "u2", "", 1)
	if r := sh.reserve("a", "u3", "", 1); r.Code != CodeBusy {
		t.Errorf("third hold of a sale: %+v", r)
	}
	sh.sold("b", "u1", "", 1)
	if r := sh.reserve("b", "u3", "", 1); r.Code != CodeBusy {
		t.Errorf("fourth hold of the shard: %+v", r)
	}
	if r := sh.reserve("a", "u1", "", 1); r.Code != CodeAlready || r.Order != first.Order {
		t.Errorf("a retry at the bound: %+v", r)
	}
	sh.pass(30_000)
	sh.want(Command{Kind: ForgetSale, Sale: "b", Revision: 3}, CodeOK)
	sh.want(Command{Kind: ForgetSale, Sale: "a", Revision: 3}, CodeBusy)
	sh.pass(86_400_000)
	sh.want(Command{Kind: ForgetSale, Sale: "a", Revision: 3}, CodeOK)
	if _, known := sh.s.Info("b", 0); known {
		t.Error("the oldest tombstone is kept beyond the bound")
	}
	sh.want(Command{Kind: OpenSale, Terms: terms("b", 9, 0)}, CodeOK)
	sh.want(Command{Kind: Ban, Rule: RuleUser, Value: "u1"}, CodeOK)
	sh.want(Command{Kind: Ban, Rule: RuleUser, Value: "u2"}, CodeBusy)
	sh.want(Command{Kind: Ban, Rule: RuleUser, Value: "u1", Reason: "other"}, CodeOK)
}
