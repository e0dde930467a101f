package rules

import (
	"net/netip"
	"testing"

	"headgate.example/counter/client"
)

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
	if !b.UserBanned("a1", 1<<50) || !b.UserBanned("a2", 1999) || b.UserBanned("a2", 2000) || b.UserBanned("a3", 0) {
		t.Fatal("bans are wrong after the full answer")
	}
	if b.RevokedBefore("a3") != 777 || b.RevokedBefore("a1") != 0 || b.Index() != 5 {
		t.Fatal("revocations are wrong after the full answer")
	}
	apply(client.Rules{Index: 6, Now: 3000, Changes: []client.Rule{{Index: 6, Kind: client.RuleUser, Value: "a1", Removed: true}}})
	if b.UserBanned("a1", 0) || b.RevokedBefore("a3") != 777 || b.Len() != 1 {
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
		{Kind: client.RuleAddress, Value: "::ffff:192.0.2.0/120"},
	}}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"10.1.255.1": true, "10.2.3.4": true, "10.2.3.5": false, "::ffff:10.1.2.3": true,
		"2001:db8:1::1": true, "2001:db9::1": false, "192.0.2.9": true, "192.0.3.9": false,
	} {
		if got := b.AddressBanned(netip.MustParseAddr(text), 10); got != want {
			t.Errorf("%s: banned %v, want %v", text, got, want)
		}
	}
	if b.AddressBanned(netip.MustParseAddr("10.2.3.4"), 50) {
		t.Error("a ban holds beyond its end")
	}
	if b.AddressBanned(netip.Addr{}, 10) {
		t.Error("no address is banned")
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
	if err == nil || !b.UserBanned("a1", 0) || !b.UserBanned("a2", 0) || b.UserBanned("a3", 0) {
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
		return b.UserBanned("a1", now) && b.AddressBanned(netip.MustParseAddr("10.1.1.1"), now)
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
		b.AddressBanned(addr, 1)
		b.UserBanned("a1", 1)
		b.RevokedBefore("a1")
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
