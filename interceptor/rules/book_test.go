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
