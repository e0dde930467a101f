package strikes

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"headgate.example/lib/config"
)

func rulesOf(mode string, count int, window, banFor time.Duration) *Rules {
	r := Rule{Mode: mode, Count: count, Window: window, BanFor: banFor}
	return &Rules{TooSoon: r, ForgedTicket: r, BadToken: r, Malformed: r}
}

// keyOf stands for the callers' hash.
func keyOf(user string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(user))
	return h.Sum64() * 0x9e3779b97f4a7c15
}

func strike(b *Book, rules *Rules, o Offence, user string, now int64) (Outcome, Ban) {
	return b.StrikeUser(rules, o, keyOf(user), user, now)
}

const second = int64(time.Second)

func TestStrikesBanForAWhile(t *testing.T) {
	b := NewBook()
	rules := rulesOf(Enforce, 3, 10*time.Second, time.Minute)
	for i := range 2 {
		if outcome, _ := strike(b, rules, TooSoon, "a1", int64(i)*second); outcome != Counted {
			t.Fatalf("strike %d: %d", i, outcome)
		}
	}
	if outcome, _ := strike(b, rules, ForgedTicket, "a1", 2*second); outcome != Counted {
		t.Error("offences are counted together")
	}
	if outcome, _ := strike(b, rules, TooSoon, "a2", 2*second); outcome != Counted {
		t.Error("users are counted together")
	}
	outcome, ban := strike(b, rules, TooSoon, "a1", 3*second)
	if outcome != Banned || ban.Left(3*second) != time.Minute || ban.Strikes != 3 {
		t.Fatalf("the third strike: %d, %+v", outcome, ban)
	}
	for now, want := range map[int64]bool{3 * second: true, 62 * second: true, 63 * second: false} {
		got, banned := b.User(keyOf("a1"), now)
		if banned != want || want && (got.Offence != TooSoon || got.Since != 3*second) {
			t.Errorf("at %ds: banned %v, %+v", now/second, banned, got)
		}
	}
	if _, banned := b.User(keyOf("a2"), 4*second); banned {
		t.Error("another user is banned")
	}
	if outcome, _ := strike(b, rules, TooSoon, "a1", 70*second); outcome != Counted {
		t.Error("after the ban the count did not begin anew")
	}
	if b.Sweep(70 * second); b.Len() != 0 {
		t.Errorf("%d bans are kept after they are over", b.Len())
	}
}

func TestModes(t *testing.T) {
	b := NewBook()
	for mode, want := range map[string]Outcome{Off: Ignored, Shadow: WouldBan, Enforce: Banned} {
		outcome, _ := strike(b, rulesOf(mode, 1, time.Second, time.Minute), TooSoon, mode, 0)
		if _, banned := b.User(keyOf(mode), 0); outcome != want || banned != (mode == Enforce) {
			t.Errorf("%s: outcome %d, banned %v", mode, outcome, banned)
		}
	}
	rules := rulesOf(Enforce, 1, time.Second, time.Minute)
	if outcome, _ := strike(b, rules, None, "a1", 0); outcome != Ignored {
		t.Error("no offence was charged")
	}
	if outcome, _ := b.StrikeAddress(rules, BadToken, netip.Addr{}, 0); outcome != Ignored {
		t.Error("no address was charged")
	}
}

// Addresses are charged and banned one by one for IPv4, and by /64 for IPv6.
func TestAddresses(t *testing.T) {
	b := NewBook()
	rules := rulesOf(Enforce, 2, time.Second, time.Minute)
	strike := func(text string) Outcome {
		outcome, _ := b.StrikeAddress(rules, BadToken, netip.MustParseAddr(text), 0)
		return outcome
	}
	for _, text := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"} {
		if got := strike(text); got != Counted {
			t.Errorf("%s: %d", text, got)
		}
	}
	for _, text := range []string{"::ffff:192.0.2.1", "2001:db8::ffff"} {
		if got := strike(text); got != Banned {
			t.Errorf("%s: %d", text, got)
		}
	}
	for text, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.2.2": false, "2001:db8::7": true, "2001:db8:0:1::7": false, "::": false,
	} {
		if _, banned := b.Address(netip.MustParseAddr(text), 1); banned != want {
			t.Errorf("%s: banned %v", text, banned)
		}
	}
	if _, banned := b.Address(netip.Addr{}, 1); banned {
		t.Error("no address is banned")
	}
}

func TestLift(t *testing.T) {
	b := NewBook()
	rules := rulesOf(Enforce, 1, time.Second, time.Minute)
	ban := func() {
		for _, user := range []string{"a1", "a2"} {
			strike(b, rules, TooSoon, user, 0)
		}
		for _, addr := range []string{"192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::1"} {
			b.StrikeAddress(rules, BadToken, netip.MustParseAddr(addr), 0)
		}
	}
	ban()
	if list, total := b.List(1, 3); len(list) != 3 || total != 6 {
		t.Fatalf("%d of %d bans are listed", len(list), total)
	}
	if n := b.LiftUser(keyOf("a1")); n != 1 {
		t.Errorf("lifted %d bans of a1", n)
	}
	if _, banned := b.User(keyOf("a2"), 1); !banned {
		t.Error("another user's ban was lifted")
	}
	for text, want := range map[string]int{"192.0.2.0/24": 2, "2001:db8::77/128": 1, "10.0.0.0/8": 0, "0.0.0.0/0": 1} {
		ban()
		if text == "0.0.0.0/0" {
			b.LiftNetwork(netip.MustParsePrefix("192.0.2.0/24"))
		}
		if n := b.LiftNetwork(netip.MustParsePrefix(text)); n != want {
			t.Errorf("%s: %d bans lifted, want %d", text, n, want)
		}
	}
	if n := b.LiftAll(); n == 0 || b.Len() != 0 {
		t.Errorf("lifting all lifted %d, %d are left", n, b.Len())
	}
	if n := b.LiftUser(keyOf("")); n != 0 {
		t.Errorf("lifting nobody's ban lifted %d", n)
	}
}

// A user's ban moves to the node that owns him next, which learns his name when he asks.
func TestHandOver(t *testing.T) {
	from, to := NewBook(), NewBook()
	rules := rulesOf(Enforce, 1, time.Second, time.Minute)
	for _, user := range []string{"a1", "a2"} {
		strike(from, rules, TooSoon, user, 0)
	}
	from.StrikeAddress(rules, BadToken, netip.MustParseAddr("192.0.2.1"), 0)
	from.TakeUsers(func(key uint64) bool { return key == keyOf("a1") }, func(key uint64, ban Ban) {
		ban.Until += second // the clocks of two nodes differ
		if !to.Import(key, ban) {
			t.Error("no room")
		}
	})
	if _, banned := from.User(keyOf("a1"), 1); banned || from.Len() != 2 {
		t.Errorf("the giver keeps %d, a1 banned: %v", from.Len(), banned)
	}
	ban, banned := to.User(keyOf("a1"), 60*second)
	if !banned || ban.User != "" || ban.Offence != TooSoon || to.Len() != 1 {
		t.Errorf("taken over: %+v, %v", ban, banned)
	}
	to.Name(keyOf("a1"), "a1")
	to.Name(keyOf("a3"), "a3")
	if list, total := to.List(1, 10); total != 1 || list[0].User != "a1" {
		t.Errorf("named: %+v", list)
	}
	strike(to, rules, TooSoon, "a2", 0)
	to.Import(keyOf("a2"), Ban{Offence: ForgedTicket, Until: 1}) // the longer stands
	if ban, banned := to.User(keyOf("a2"), 2); !banned || ban.Offence != TooSoon {
		t.Errorf("%+v, %v", ban, banned)
	}
}

// A ban by one offence is not cut short by a later one of another.
func TestTheLongerBanStands(t *testing.T) {
	b := NewBook()
	strike(b, rulesOf(Enforce, 1, time.Second, time.Hour), ForgedTicket, "a1", 0)
	strike(b, rulesOf(Enforce, 1, time.Second, time.Minute), TooSoon, "a1", second)
	if ban, banned := b.User(keyOf("a1"), 120*second); !banned || ban.Offence != ForgedTicket || b.Len() != 1 {
		t.Errorf("banned %v, %+v, %d bans", banned, ban, b.Len())
	}
}

// Fewer than count strikes in any window never ban; 2 x count - 1 in one window always do.
func TestCountInWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count, window := rapid.IntRange(1, 6).Draw(t, "count"), rapid.Int64Range(1, 50).Draw(t, "window")
		rules := rulesOf(Enforce, count, time.Duration(window), 1)
		b := NewBook()
		var now int64
		var times []int64 // since the last ban
		for range rapid.IntRange(1, 60).Draw(t, "strikes") {
			now += rapid.Int64Range(0, window).Draw(t, "after")
			times = append(times, now)
			recent := 0
			for _, at := range times {
				if at > now-window {
					recent++
				}
			}
			outcome, _ := strike(b, rules, TooSoon, "a1", now)
			switch {
			case outcome == Banned && recent < count:
				t.Fatalf("banned at %d after %d strikes within %d: %v", now, recent, window, times)
			case outcome == Counted && recent >= 2*count-1:
				t.Fatalf("not banned at %d after %d strikes within %d: %v", now, recent, window, times)
			}
			if outcome == Banned {
				times = nil
			}
		}
	})
}

// Newcomers with a strike each cannot make the tally forget who is nearly banned, and neither strikes
// nor bans grow beyond their bounds.
func TestFlood(t *testing.T) {
	b := NewBook()
	rules := rulesOf(Enforce, 3, time.Minute, time.Minute)
	for range 2 {
		strike(b, rules, TooSoon, "nearly", 0)
	}
	for i := range 5 * MaxTracked {
		strike(b, rules, TooSoon, fmt.Sprint("u", i), 1)
	}
	if b.Forgotten() == 0 || b.Len() != 0 {
		t.Errorf("%d forgotten, %d bans", b.Forgotten(), b.Len())
	}
	if outcome, _ := strike(b, rules, TooSoon, "nearly", 2); outcome != Banned {
		t.Errorf("the third strike: %d", outcome)
	}
	full := 0
	once := rulesOf(Enforce, 1, time.Minute, time.Minute)
	for i := range 2 * MaxBans {
		if outcome, _ := strike(b, once, TooSoon, fmt.Sprint("v", i), 3); outcome == NoRoom {
			full++
		}
	}
	if b.Len() > MaxBans || full < MaxBans {
		t.Errorf("%d bans, %d without room", b.Len(), full)
	}
	if _, banned := b.User(keyOf("nearly"), 4); !banned {
		t.Error("a flood lifted a ban")
	}
	later := 4 + int64(time.Minute)
	if outcome, _ := strike(b, once, TooSoon, "w", later); outcome != Banned {
		t.Errorf("a ban after all others were over: %d", outcome)
	}
}

// Of strikes at the same time exactly every count-th bans.
func TestConcurrentStrikes(t *testing.T) {
	b := NewBook()
	rules := rulesOf(Enforce, 10, time.Minute, time.Minute)
	var bans atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 1000 {
				if outcome, _ := strike(b, rules, TooSoon, "a1", 0); outcome == Banned {
					bans.Add(1)
				}
				b.User(keyOf("a1"), 0)
				b.List(0, 10)
			}
		})
	}
	group.Wait()
	if bans.Load() != 800 || b.Len() != 1 {
		t.Errorf("%d bans of 8000 strikes, %d kept", bans.Load(), b.Len())
	}
}

func TestStrikesAllocateNothing(t *testing.T) {
	b := NewBook()
	rules := rulesOf(Shadow, 3, time.Minute, time.Minute)
	addr := netip.MustParseAddr("2001:db8::1")
	strike(b, rulesOf(Enforce, 1, time.Minute, time.Minute), TooSoon, "banned", 0)
	if n := testing.AllocsPerRun(1000, func() {
		strike(b, rules, TooSoon, "a1", 1)
		b.StrikeAddress(rules, BadToken, addr, 1)
		b.User(keyOf("banned"), 1)
		b.Address(addr, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDefaultsAndValidation(t *testing.T) {
	d := DefaultRules()
	if err := config.Check(&d); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Rules){
		"too_soon.mode":         func(r *Rules) { r.TooSoon.Mode = "on" },
		"forged_ticket.count":   func(r *Rules) { r.ForgedTicket.Count = 0 },
		"bad_token.window":      func(r *Rules) { r.BadToken.Window = 2 * time.Hour },
		"malformed.ban_for":     func(r *Rules) { r.Malformed.BanFor = time.Millisecond },
		"bad_token.count: must": func(r *Rules) { r.BadToken.Count = MaxCount + 1 },
	} {
		r := DefaultRules()
		change(&r)
		if err := config.Check(&r); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, o := range Offences() {
		if o.String() == "" || d.of(o).Count == 0 {
			t.Errorf("offence %d has no name or rule", o)
		}
	}
}
