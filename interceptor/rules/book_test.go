package rules

import (
	"net/netip"
	"strings"
	"testing"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
)

func userBanned(b *Book, user string, now int64) bool {
	_, banned := b.User(user, now)
	return banned
}

func addressBanned(b *Book, addr netip.Addr, now int64) bool {
	_, _, banned := b.Address(addr, now)
	return banned
}

func TestFullThenDeltas(t *testing.T) {
	b := NewBook(100)
	apply := func(r client.Rules) {
		t.Helper()
		if err := b.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	apply(client.Rules{Full: true, Index: 5, Now: 1000, Changes: []client.Rule{
		{Index: 3, Kind: client.RuleUser, Value: "a1"},
		{Index: 4, Kind: client.RuleUser, Value: "a2", Until: 2000},
		{Index: 5, Kind: client.RuleToken, Value: "a3", Before: 777},
	}})
	if !userBanned(b, "a1", 1<<50) || !userBanned(b, "a2", 1999) || userBanned(b, "a2", 2000) || userBanned(b, "a3", 0) {
		t.Fatal("bans are wrong after the full answer")
	}
	if b.RevokedBefore("a3") != 777 || b.RevokedBefore("a1") != 0 || b.Index() != 5 {
		t.Fatal("revocations are wrong after the full answer")
	}
	apply(client.Rules{Index: 6, Now: 3000, Changes: []client.Rule{{Index: 6, Kind: client.RuleUser, Value: "a1", Removed: true}}})
	if userBanned(b, "a1", 0) || b.RevokedBefore("a3") != 777 || b.Len() != 1 {
		t.Fatalf("wrong after the delta: %d rules", b.Len())
	}
	apply(client.Rules{Index: 9, Now: 3000})
	if b.Index() != 9 || b.Len() != 1 {
		t.Fatal("an empty delta changed the rules")
	}
	apply(client.Rules{Full: true, Index: 10, Now: 3000})
	if b.Len() != 0 {
		t.Fatal("a full answer kept old rules")
	}
}

func TestAddresses(t *testing.T) {
	b := NewBook(100)
	if err := b.Apply(client.Rules{Full: true, Changes: []client.Rule{
		{Kind: client.RuleAddress, Value: "10.1.0.0/16"},
		{Kind: client.RuleAddress, Value: "10.2.3.4", Until: 50},
		{Kind: client.RuleAddress, Value: "2001:db8::/32"},
		{Kind: client.RuleAddress, Value: "192.0.2.9/24"},
	}}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"10.1.255.1": true, "10.2.3.4": true, "10.2.3.5": false, "::ffff:10.1.2.3": true,
		"2001:db8:1::1": true, "2001:db9::1": false, "192.0.2.9": true, "192.0.3.9": false,
	} {
		if got := addressBanned(b, netip.MustParseAddr(text), 10); got != want {
			t.Errorf("%s: banned %v, want %v", text, got, want)
		}
	}
	if addressBanned(b, netip.MustParseAddr("10.2.3.4"), 50) {
		t.Error("a ban holds beyond its end")
	}
	if addressBanned(b, netip.Addr{}, 10) {
		t.Error("no address is banned")
	}
}

// Who is banned, until when and why can be told, by the narrowest network where several hold.
func TestWhy(t *testing.T) {
	b := NewBook(100)
	if err := b.Apply(client.Rules{Full: true, Index: 4, Changes: []client.Rule{
		{Index: 1, Kind: client.RuleAddress, Value: "10.0.0.0/8", Reason: "all of it"},
		{Index: 2, Kind: client.RuleAddress, Value: "10.1.2.3", Until: 50, Reason: "this one"},
		{Index: 3, Kind: client.RuleUser, Value: "a1", Until: 90, Reason: "resells"},
		{Index: 4, Kind: client.RuleToken, Value: "a1", Before: 7},
	}}); err != nil {
		t.Fatal(err)
	}
	if ban, banned := b.User("a1", 10); !banned || ban != (Ban{Until: 90, Reason: "resells", Index: 3}) {
		t.Errorf("the user: %+v, %v", ban, banned)
	}
	for now, want := range map[int64]string{10: "10.1.2.3/32 this one", 50: "10.0.0.0/8 all of it"} {
		network, ban, banned := b.Address(netip.MustParseAddr("10.1.2.3"), now)
		if got := network.String() + " " + ban.Reason; !banned || got != want {
			t.Errorf("at %d: %q, want %q", now, got, want)
		}
	}
	for now, want := range map[int64]string{10: "10.0.0.0/8 10.1.2.3 a1", 60: "10.0.0.0/8 a1", 90: "10.0.0.0/8"} {
		list, total := b.Bans(now, 10)
		values := []string{}
		for _, r := range list {
			values = append(values, r.Value)
		}
		if strings.Join(values, " ") != want || total != len(list) {
			t.Errorf("at %d: %v, %d", now, values, total)
		}
	}
	if list, total := b.Bans(10, 2); len(list) != 2 || total != 3 || list[1].Reason != "this one" {
		t.Errorf("a part of the list: %+v of %d", list, total)
	}
}

// A rule that is only there to be removed bans nobody, and ends what stood.
func TestLift(t *testing.T) {
	b := NewBook(100)
	_ = b.Apply(client.Rules{Full: true, Index: 1, Changes: []client.Rule{{Index: 1, Kind: client.RuleUser, Value: "a1"}}})
	if err := b.Apply(client.Rules{Index: 4, Changes: []client.Rule{
		{Index: 2, Kind: client.RuleUser, Value: "a1", Until: 900, Reason: client.ReasonLift},
		{Index: 3, Kind: client.RuleUser, Value: "a2", Until: 900, Reason: client.ReasonLift},
		{Index: 4, Kind: client.RuleAddress, Value: "10.0.0.0/8", Until: 900, Reason: client.ReasonLift},
	}}); err != nil || b.Len() != 0 || userBanned(b, "a1", 1) || addressBanned(b, netip.MustParseAddr("10.1.1.1"), 1) {
		t.Errorf("%v, %d rules", err, b.Len())
	}
}

func TestWrongRulesDoNotHideOthers(t *testing.T) {
	b := NewBook(2)
	err := b.Apply(client.Rules{Full: true, Changes: []client.Rule{
		{Kind: "planet", Value: "mars"},
		{Kind: client.RuleAddress, Value: "nonsense"},
		{Kind: client.RuleUser, Value: "a1"},
		{Kind: client.RuleUser, Value: "a2"},
		{Kind: client.RuleUser, Value: "a3"},
	}})
	if err == nil || !userBanned(b, "a1", 0) || !userBanned(b, "a2", 0) || userBanned(b, "a3", 0) {
		t.Fatalf("error %v, %d rules", err, b.Len())
	}
}

// A full book takes no new rules, but what it has can still be changed and lifted.
func TestFullBookTakesUpdates(t *testing.T) {
	b := NewBook(3)
	rules := func(until int64, removed bool) []client.Rule {
		return []client.Rule{
			{Kind: client.RuleUser, Value: "a1", Until: until, Removed: removed},
			{Kind: client.RuleAddress, Value: "10.0.0.0/8", Until: until, Removed: removed},
			{Kind: client.RuleToken, Value: "a1", Before: until, Removed: removed},
		}
	}
	banned := func(now int64) bool {
		return userBanned(b, "a1", now) && addressBanned(b, netip.MustParseAddr("10.1.1.1"), now)
	}
	if err := b.Apply(client.Rules{Full: true, Changes: rules(50, false)}); err != nil || banned(60) {
		t.Fatalf("%v, banned %v", err, banned(60))
	}
	if err := b.Apply(client.Rules{Index: 2, Changes: rules(100, false)}); err != nil || !banned(60) || b.RevokedBefore("a1") != 100 {
		t.Errorf("updates: %v, banned %v, revoked before %d", err, banned(60), b.RevokedBefore("a1"))
	}
	if err := b.Apply(client.Rules{Index: 3, Changes: []client.Rule{{Kind: client.RuleToken, Value: "a2", Before: 1}}}); err == nil || b.Len() != 3 {
		t.Errorf("a rule beyond the bound: %v, %d rules", err, b.Len())
	}
	if err := b.Apply(client.Rules{Index: 4, Changes: rules(0, true)}); err != nil || b.Len() != 0 {
		t.Errorf("lifted: %v, %d rules", err, b.Len())
	}
}

// Not having been told any rules is not the same as there being none.
func TestKnown(t *testing.T) {
	for name, r := range map[string]client.Rules{"full": {Full: true}, "full with rules": {Full: true, Index: 1, Changes: []client.Rule{{Kind: client.RuleUser, Value: "a"}}}, "delta": {}} {
		b := NewBook(3)
		if b.Known() {
			t.Errorf("%s: known before the answer", name)
		}
		if _ = b.Apply(r); !b.Known() {
			t.Errorf("%s: not known after the answer", name)
		}
	}
}

func TestLookUpsAllocateNothing(t *testing.T) {
	b := NewBook(10)
	_ = b.Apply(client.Rules{Full: true, Changes: []client.Rule{
		{Kind: client.RuleAddress, Value: "10.0.0.0/8"}, {Kind: client.RuleUser, Value: "x"},
	}})
	addr := netip.MustParseAddr("192.0.2.1")
	if n := testing.AllocsPerRun(100, func() {
		addressBanned(b, addr, 1)
		userBanned(b, "a1", 1)
		b.RevokedBefore("a1")
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// Whatever the control shard may say, a rule that is taken holds for the value that it names, and a lift
// ends it; nothing panics.
func FuzzApply(f *testing.F) {
	for _, value := range []string{"a1", "10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::ffff:1.2.3.4", "::ffff:0:0/96", "0.0.0.0/0", "fe80::1%eth0", ""} {
		for _, kind := range []string{client.RuleUser, client.RuleAddress, client.RuleToken, "planet"} {
			f.Add(kind, value, int64(0), int64(7))
		}
	}
	f.Fuzz(func(t *testing.T, kind, value string, until, before int64) {
		b := NewBook(10)
		rule := client.Rule{Index: 1, Kind: kind, Value: value, Until: until, Before: before}
		err := b.Apply(client.Rules{Full: true, Index: 1, Changes: []client.Rule{rule}})
		if known := kind == client.RuleUser || kind == client.RuleAddress || kind == client.RuleToken; !known && err == nil {
			t.Fatalf("kind %q is taken", kind)
		}
		stands := until == 0 || until > 5
		switch network, wrong := sale.ParseNetwork(value); {
		case kind == client.RuleUser:
			if userBanned(b, value, 5) != stands {
				t.Fatalf("user %q until %d: banned %v", value, until, !stands)
			}
		case kind == client.RuleAddress && wrong != nil:
			if err == nil || b.Len() != 0 {
				t.Fatalf("%q is taken for a network", value)
			}
		case kind == client.RuleAddress:
			if addressBanned(b, network.Addr(), 5) != stands {
				t.Fatalf("%q until %d: banned %v", value, until, !stands)
			}
		case kind == client.RuleToken && b.RevokedBefore(value) != before:
			t.Fatalf("tokens of %q: %d, want %d", value, b.RevokedBefore(value), before)
		}
		rule.Index, rule.Removed = 2, true
		_ = b.Apply(client.Rules{Index: 2, Changes: []client.Rule{rule}})
		if b.Len() != 0 {
			t.Fatalf("%s %q stands after it was removed", kind, value)
		}
	})
}
