package borrow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.example/counter/machine"
)

// table is a broker of shard b among a, b and c, with rows set by hand.
type table struct {
	t    *testing.T
	b    *Broker
	now  time.Duration
	rows map[string]*machine.Collected
}

func newTable(t *testing.T, cfg Config) *table {
	cfg.Self, cfg.Shards = "b", []string{"a", "b", "c"}
	tb := &table{t: t, b: New(cfg), now: time.Hour, rows: make(map[string]*machine.Collected)}
	for _, name := range cfg.Shards {
		row := &machine.Collected{Shard: name, Supply: 1}
		for _, peer := range cfg.Shards {
			if peer != name {
				row.Transfers = append(row.Transfers, machine.Transfer{Peer: peer})
			}
		}
		tb.rows[name] = row
	}
	return tb
}

func (tb *table) transfer(of, with string) *machine.Transfer {
	for i := range tb.rows[of].Transfers {
		if p := &tb.rows[of].Transfers[i]; p.Peer == with {
			return p
		}
	}
	panic("no such pair")
}

// row copies a row as it is now.
func (tb *table) row(name string) machine.Collected {
	row := *tb.rows[name]
	row.Transfers = append([]machine.Transfer(nil), row.Transfers...)
	return row
}

// step gives the broker an event, and gives its actions without Wake.
func (tb *table) step(ev Event) (actions []Action) {
	ev.Now, ev.Local = tb.now, tb.row("b")
	for _, a := range tb.b.Step(&ev, nil) {
		if a.Kind != Wake {
			actions = append(actions, a)
		}
	}
	return actions
}

// want holds actions against a text such as "ask c 2, propose 1".
func (tb *table) want(actions []Action, text string) []Action {
	tb.t.Helper()
	var words []string
	for _, a := range actions {
		switch a.Kind {
		case Ask:
			words = append(words, fmt.Sprintf("ask %s %d%s", a.Peer, a.Want, map[bool]string{true: " for debt"}[a.ForDebt]))
		case Accept:
			words = append(words, fmt.Sprintf("accept %s %d", a.Peer, a.Units))
		case Collect:
			words = append(words, "collect "+a.Peer)
		case Give:
			words = append(words, fmt.Sprintf("give %s %d", a.Peer, a.Units))
		case Acknowledge:
			words = append(words, fmt.Sprintf("acknowledge %s %d", a.Peer, a.Units))
		case Propose:
			words = append(words, fmt.Sprintf("propose %d", a.Buyer))
		case Refuse:
			words = append(words, fmt.Sprintf("refuse %d %s %d", a.Buyer, a.Result.Code, a.Result.Detail))
		case TryAgain:
			words = append(words, fmt.Sprintf("try again %d", a.Buyer))
		case Busy:
			words = append(words, fmt.Sprintf("busy %d", a.Buyer))
		}
	}
	if got := strings.Join(words, ", "); got != text {
		tb.t.Fatalf("does %q, want %q", got, text)
	}
	return actions
}

const collectAll = "collect a, collect b, collect c"

func (tb *table) dry(buyer uint64, quantity int64) []Action {
	return tb.step(Event{Kind: Dry, Buyer: buyer, Quantity: quantity})
}

// nothing answers an ask: no gift.
func (tb *table) nothing(asked []Action) []Action {
	a := asked[len(asked)-1]
	return tb.step(Event{Kind: Asked, Seq: a.Seq, Peer: a.Peer, Units: a.Units})
}

// collect answers one pass of a collect with the rows as they are.
func (tb *table) collect(pass []Action) (actions []Action) {
	for _, a := range pass {
		if a.Kind == Collect {
			actions = append(actions, tb.step(Event{Kind: Collected, Seq: a.Seq, Peer: a.Peer, Row: tb.row(a.Peer)})...)
		}
	}
	return actions
}

// round asks both peers in vain and gives the first pass of the collect.
func (tb *table) round(buyer uint64, quantity int64) []Action {
	tb.t.Helper()
	asked := tb.want(tb.dry(buyer, quantity), fmt.Sprintf("ask c %d", quantity))
	asked = tb.want(tb.nothing(asked), fmt.Sprintf("ask a %d", quantity))
	return tb.want(tb.nothing(asked), collectAll)
}

// gift moves units from a peer to this shard, in both rows.
func (tb *table) gift(from string, units int64) {
	tb.transfer(from, "b").Given += units
	tb.transfer("b", from).Taken += units
	tb.rows["b"].Available += units
	tb.rows["b"].Supply++
}

// TestBorrow: peers are asked in ring order; what one gives is accepted, and the buyer proposed.
func TestBorrow(t *testing.T) {
	tb := newTable(t, Config{})
	asked := tb.want(tb.dry(1, 2), "ask c 2")
	tb.want(tb.dry(2, 1), "") // one outstanding ask
	asked = tb.want(tb.nothing(asked), "ask a 3")
	accept := tb.want(tb.step(Event{Kind: Asked, Seq: asked[0].Seq, Peer: "a", Units: 2}), "accept a 2")
	tb.gift("a", 2)
	asked = tb.want(tb.step(Event{Kind: Accepted, Seq: accept[0].Seq, Peer: "a"}), "propose 1, ask a 1")
	tb.rows["b"].Available = 0
	tb.want(tb.step(Event{Kind: Done, Buyer: 1}), "")
	tb.want(tb.step(Event{Kind: Asked, Seq: asked[1].Seq - 1, Peer: "a", Units: 9}), "") // late: means nothing
	tb.want(tb.nothing(asked), "ask c 1")
	if tb.b.Waiting() != 1 {
		t.Errorf("%d wait", tb.b.Waiting())
	}
}

func TestVerdicts(t *testing.T) {
	for text, set := range map[string]func(a, b, c *machine.Collected){
		"refuse 1 sold_out 7": func(a, b, c *machine.Collected) { a.Held, c.Held = 3, 4 },
		"refuse 1 not_open 50": func(a, b, c *machine.Collected) {
			a.Scheduled, a.NextReleaseAt, c.Scheduled, c.NextReleaseAt = 1, 90, 2, 50
		},
		"refuse 1 insufficient 2": func(a, b, c *machine.Collected) { b.Available, c.Available = 1, 1 },
	} {
		tb := newTable(t, Config{})
		set(tb.rows["a"], tb.rows["b"], tb.rows["c"])
		want := int64(3)
		need := want - tb.rows["b"].Available
		asked := tb.want(tb.dry(1, want), fmt.Sprintf("ask c %d", need))
		pass := tb.nothing(tb.nothing(asked))
		pass = tb.want(tb.collect(tb.want(pass, collectAll)), collectAll)
		tb.want(tb.collect(pass), text)
		local := tb.row("b")
		v := tb.b.Verdict()
		if _, ok := v.Refuse(tb.now+249*time.Millisecond, local.Incarnation, local.Supply, want); !ok {
			t.Errorf("%s: is not kept", text)
		}
		if _, ok := v.Refuse(tb.now+250*time.Millisecond, local.Incarnation, local.Supply, want); ok {
			t.Errorf("%s: is kept for too long", text)
		}
		if _, ok := v.Refuse(tb.now, local.Incarnation, local.Supply+1, want); ok {
			t.Errorf("%s: is kept although units came", text)
		}
		if _, ok := v.Refuse(tb.now, local.Incarnation+1, local.Supply, want); ok {
			t.Errorf("%s: is kept although the sale was restored", text)
		}
		tb.want(tb.dry(2, 3), strings.Replace(text, "refuse 1", "refuse 2", 1))
	}
}

// TestRenewal: a verdict by which buyers are refused is made anew before its time is over, by a collect
// that nobody waits for; not while it is young, nor right after a shard did not answer.
func TestRenewal(t *testing.T) {
	tb := newTable(t, Config{})
	pass := tb.collect(tb.round(1, 1))
	tb.want(tb.collect(pass), "refuse 1 sold_out 0")
	first := tb.b.Verdict()
	renew := func() []Action { return tb.step(Event{Kind: Renew}) }
	tb.now += 124 * time.Millisecond
	if first.Aging(tb.now) {
		t.Error("half of its time is not over")
	}
	tb.want(renew(), "")
	if tb.now += time.Millisecond; !first.Aging(tb.now) {
		t.Error("half of its time is over")
	}
	pass = tb.want(renew(), collectAll)
	tb.want(renew(), "") // it is under way
	tb.want(tb.dry(2, 1), "refuse 2 sold_out 0")
	pass = tb.want(tb.collect(pass), collectAll)
	tb.want(tb.collect(pass), "")
	if second := tb.b.Verdict(); second == first || second.Aging(tb.now) {
		t.Error("there is no new verdict")
	}

	tb.now += 200 * time.Millisecond
	pass = tb.want(renew(), collectAll)
	for i, a := range pass {
		tb.step(Event{Kind: []EventKind{Collected, CollectFailed, Collected}[i], Seq: a.Seq, Peer: a.Peer, Row: tb.row(a.Peer)})
	}
	tb.now += 40 * time.Millisecond
	tb.want(renew(), "") // one was silent just now
	tb.now += time.Second
	tb.want(renew(), "") // its time is over
}

// TestUnitsThatWander: a unit that is never where a pass looks is not taken for gone. The first pass sees
// each shard empty, since one unit was sold at a before another came back at c, and so does the second.
func TestUnitsThatWander(t *testing.T) {
	tb := newTable(t, Config{})
	pass := tb.round(1, 1)
	tb.rows["c"].Supply += 2 // came back after c was read, sold before the second pass
	pass = tb.want(tb.collect(pass), collectAll)
	tb.rows["a"].Supply++
	tb.want(tb.collect(pass), "")
	tb.now += maxPace
	tb.want(tb.step(Event{Kind: Tick}), "ask c 1")
}

// TestUnitsOnTheWay: a gift between others delays the verdict; one to this shard is accepted.
func TestUnitsOnTheWay(t *testing.T) {
	tb := newTable(t, Config{})
	tb.transfer("a", "c").Given = 2
	tb.want(tb.collect(tb.round(1, 1)), "")
	tb.transfer("c", "a").Taken = 2
	tb.now += maxPace
	asked := tb.want(tb.step(Event{Kind: Tick}), "ask c 1")
	pass := tb.want(tb.nothing(tb.want(tb.nothing(asked), "ask a 1")), collectAll)
	tb.transfer("c", "b").Given = 1
	tb.want(tb.collect(pass), "accept c 1")
}

// TestSilentPeer: nobody is told that all is gone while a peer does not answer, and nobody waits for it
// again and again.
func TestSilentPeer(t *testing.T) {
	tb := newTable(t, Config{})
	asked := tb.want(tb.dry(1, 1), "ask c 1")
	asked = tb.want(tb.step(Event{Kind: AskFailed, Seq: asked[0].Seq, Peer: "c"}), "ask a 1")
	tb.want(tb.nothing(asked), "try again 1")
	tb.want(tb.dry(2, 1), "try again 2")
	tb.now += 250 * time.Millisecond
	asked = tb.want(tb.dry(3, 1), "ask a 1") // those who answer come first
	asked = tb.want(tb.nothing(asked), "ask c 1")
	tb.want(tb.step(Event{Kind: AskFailed, Seq: asked[0].Seq, Peer: "c"}), "try again 3")
	tb.now += 300 * time.Millisecond
	asked = tb.want(tb.dry(4, 1), "ask a 1")
	tb.want(tb.nothing(asked), "try again 4") // c is left alone for twice as long now
	tb.now += 500 * time.Millisecond
	asked = tb.want(tb.nothing(tb.want(tb.dry(5, 1), "ask a 1")), "ask c 1")
	pass := tb.want(tb.nothing(asked), collectAll)
	for i, a := range pass {
		kind := Collected
		if a.Peer == "c" {
			kind = CollectFailed
		}
		actions := tb.step(Event{Kind: kind, Seq: a.Seq, Peer: a.Peer, Row: tb.row(a.Peer)})
		if i == 2 {
			tb.want(actions, "try again 5")
		}
	}
}

func TestBounds(t *testing.T) {
	tb := newTable(t, Config{MaxWaiting: 2, Patience: time.Second})
	asked := tb.want(tb.dry(1, 1), "ask c 1")
	tb.want(tb.dry(2, 1), "")
	tb.want(tb.dry(3, 1), "busy 3")
	tb.now += 999 * time.Millisecond
	tb.want(tb.step(Event{Kind: Tick}), "")
	tb.now += time.Millisecond
	tb.want(tb.step(Event{Kind: Tick}), "try again 1, try again 2")
	if tb.b.Waiting() != 0 {
		t.Errorf("%d wait", tb.b.Waiting())
	}
	tb.want(tb.nothing(asked), "")
	wakes := tb.b.Step(&Event{Kind: Dry, Now: tb.now, Local: tb.row("b"), Buyer: 4, Quantity: 1}, nil)
	if last := wakes[len(wakes)-1]; last.Kind != Wake || last.At != tb.now+time.Second {
		t.Errorf("wakes for the end of patience: %+v", wakes)
	}
}

// TestProposalsDoNotProlongAWait: a buyer who is proposed again and again, since others are always faster,
// waits no longer than one who is not.
func TestProposalsDoNotProlongAWait(t *testing.T) {
	tb := newTable(t, Config{Patience: time.Second})
	asked := tb.want(tb.dry(1, 1), "ask c 1")
	for range 9 {
		tb.now += 110 * time.Millisecond
		tb.rows["b"].Available = 1
		tb.want(tb.step(Event{Kind: Tick}), "propose 1")
		tb.rows["b"].Available = 0
		tb.want(tb.dry(1, 1), "")
	}
	tb.now += 10 * time.Millisecond
	tb.want(tb.step(Event{Kind: Tick}), "try again 1")
	tb.want(tb.nothing(asked), "")
}

// TestPausedMeanwhile: the log tells those who wait what happened to the sale.
func TestPausedMeanwhile(t *testing.T) {
	tb := newTable(t, Config{})
	tb.want(tb.dry(1, 5), "ask c 5")
	tb.rows["b"].Paused = true
	tb.want(tb.step(Event{Kind: Tick}), "propose 1")
}

// TestGifts are brought to the taker until it is known to have them.
func TestGifts(t *testing.T) {
	tb := newTable(t, Config{})
	tb.transfer("b", "c").Given = 4
	tb.want(tb.step(Event{Kind: Tick}), "")
	tb.now += 200 * time.Millisecond
	tb.want(tb.step(Event{Kind: Tick}), "give c 4")
	tb.want(tb.step(Event{Kind: Tick}), "")
	tb.want(tb.step(Event{Kind: GiveFailed, Peer: "c"}), "")
	tb.now += 399 * time.Millisecond
	tb.want(tb.step(Event{Kind: Tick}), "")
	tb.now += time.Millisecond
	tb.want(tb.step(Event{Kind: Tick}), "give c 4")
	tb.want(tb.step(Event{Kind: Gave, Peer: "c", Units: 4}), "acknowledge c 4")
	tb.want(tb.step(Event{Kind: Acknowledged, Peer: "c"}), "") // it failed: again, but not at once
	tb.now += 200 * time.Millisecond
	tb.want(tb.step(Event{Kind: Tick}), "acknowledge c 4")
	tb.transfer("b", "c").Acknowledged = 4
	tb.want(tb.step(Event{Kind: Acknowledged, Peer: "c"}), "")
	tb.now += time.Minute
	tb.want(tb.step(Event{Kind: Tick}), "")
}

// TestDebt is asked for everywhere before the sale may be resumed.
func TestDebt(t *testing.T) {
	tb := newTable(t, Config{})
	tb.rows["b"].Paused, tb.rows["b"].Debt = true, 3
	may := func() bool { local := tb.row("b"); return tb.b.MayResume(tb.now, &local) }
	asked := tb.want(tb.step(Event{Kind: Tick}), "ask c 3 for debt")
	if may() {
		t.Error("may resume while it owes")
	}
	asked = tb.want(tb.nothing(asked), "ask a 3 for debt")
	pass := tb.want(tb.nothing(asked), collectAll)
	pass = tb.want(tb.collect(pass), collectAll)
	tb.want(tb.collect(pass), "")
	if !may() {
		t.Error("may not resume though nobody has anything")
	}
	tb.now += 250 * time.Millisecond
	if may() {
		t.Error("may resume on an old verdict")
	}
	tb.want(tb.step(Event{Kind: WantResume}), "ask c 3 for debt")
	tb.rows["b"].Debt = 0
	if !may() {
		t.Error("may not resume without debt")
	}
}

// BenchmarkCrowd is ten thousand buyers who come to an empty shard at once, and are refused.
func BenchmarkCrowd(b *testing.B) {
	for b.Loop() {
		br := New(Config{Self: "b", Shards: []string{"a", "b"}})
		local := machine.Collected{Shard: "b", Transfers: []machine.Transfer{{Peer: "a"}}}
		other := machine.Collected{Shard: "a", Transfers: []machine.Transfer{{Peer: "b"}}}
		var actions []Action
		step := func(ev Event) {
			ev.Now, ev.Local = time.Second, local
			actions = br.Step(&ev, actions[:0])
		}
		for id := range uint64(10_000) {
			step(Event{Kind: Dry, Buyer: id + 1, Quantity: 1})
		}
		step(Event{Kind: Asked, Seq: 1, Peer: "a"})
		for seq := uint64(2); seq <= 3; seq++ {
			step(Event{Kind: Collected, Seq: seq, Peer: "a", Row: other})
			step(Event{Kind: Collected, Seq: seq, Peer: "b", Row: local})
		}
		if len(actions) != 10_000 || br.Waiting() != 0 {
			b.Fatalf("%d actions, %d wait", len(actions), br.Waiting())
		}
	}
}
