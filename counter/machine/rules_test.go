package machine

import (
	"fmt"
	"testing"
)

func TestRules(t *testing.T) {
	sh := newShard(t)
	ban := func(kind RuleKind, value string, until int64) int64 {
		t.Helper()
		return sh.want(Command{Kind: Ban, Rule: kind, Value: value, Until: until, Reason: "why"}, CodeOK).Detail
	}
	expect := func(since int64, full bool, want ...string) {
		t.Helper()
		sh.reopen()
		got := sh.s.Rules(since)
		words := []string{}
		for _, r := range got.Changes {
			words = append(words, fmt.Sprintf("%d %s %s %v", r.Index, r.Kind, r.Value, r.Removed))
		}
		if got.Full != full || fmt.Sprint(words) != fmt.Sprint(want) {
			t.Errorf("since %d: full %v %q, want %v %q", since, got.Full, words, full, want)
		}
	}
	expect(0, true)
	ban(RuleUser, "u1", 0)
	ban(RuleAddress, "192.0.2.77/24", 0)
	ban(RuleAddress, "::ffff:192.0.2.1", start+1000)
	if again := ban(RuleUser, "u1", 0); again != 3 {
		t.Errorf("the same ban again makes index %d", again)
	}
	sh.want(Command{Kind: Revoke, User: "u2", Before: start}, CodeOK)
	expect(0, true, "1 user u1 false", "2 address 192.0.2.0/24 false", "3 address 192.0.2.1 false", "4 token u2 false")
	expect(3, false, "4 token u2 false")
	expect(4, false)
	expect(5, true, "1 user u1 false", "2 address 192.0.2.0/24 false", "3 address 192.0.2.1 false", "4 token u2 false")
	sh.want(Command{Kind: Unban, Rule: RuleUser, Value: "u1"}, CodeOK)
	sh.want(Command{Kind: Unban, Rule: RuleUser, Value: "u1"}, CodeOK)
	sh.want(Command{Kind: Revoke, User: "u2", Before: start - 5}, CodeOK)
	expect(3, false, "4 token u2 false", "5 user u1 true")
	expect(0, true, "2 address 192.0.2.0/24 false", "3 address 192.0.2.1 false", "4 token u2 false")
	sh.want(Command{Kind: Revoke, User: "u2", Before: start + 5}, CodeOK)
	if rules := sh.s.Rules(5).Changes; len(rules) != 1 || rules[0].Before != start+5 {
		t.Errorf("a later revocation: %+v", rules)
	}
	sh.pass(1000) // the ban is over; it is purged at the next full minute
	expect(5, false, "6 token u2 false")
	if !sh.s.Due(start+120_000, 0) {
		t.Error("Due does not see the end of a ban")
	}
	sh.pass(120_000)
	expect(0, true, "2 address 192.0.2.0/24 false", "6 token u2 false")
	sh.want(Command{Kind: Unban, Rule: RuleToken, Value: "u2"}, CodeOK)
	expect(6, false, "7 token u2 true")
}

func TestRulesRefused(t *testing.T) {
	sh := newShard(t)
	for _, test := range []struct {
		c     Command
		field string
	}{
		{Command{Kind: Ban, Rule: RuleUser, Value: "u 1"}, "value"},
		{Command{Kind: Ban, Rule: RuleToken, Value: "u1"}, "kind"},
		{Command{Kind: Ban, Rule: 9, Value: "u1"}, "kind"},
		{Command{Kind: Ban, Rule: RuleAddress, Value: "192.0.2"}, "value"},
		{Command{Kind: Ban, Rule: RuleAddress, Value: "fe80::1%eth0"}, "value"},
		{Command{Kind: Ban, Rule: RuleAddress, Value: "192.0.2.1/33"}, "value"},
		{Command{Kind: Ban, Rule: RuleUser, Value: "u1", Until: start}, "until"},
		{Command{Kind: Ban, Rule: RuleUser, Value: "u1", Until: -1}, "until"},
		{Command{Kind: Ban, Rule: RuleUser, Value: "u1", Reason: "a\nb"}, "reason"},
		{Command{Kind: Unban, Rule: RuleUser}, "value"},
		{Command{Kind: Revoke, User: "u1"}, "before"},
		{Command{Kind: Revoke, User: "", Before: 1}, "user"},
	} {
		if r := sh.want(test.c, CodeErr); r.Field != test.field {
			t.Errorf("%+v: field %q, want %q", test.c, r.Field, test.field)
		}
	}
	if len(sh.s.rules.log) != 0 {
		t.Error("a refused rule is kept")
	}
}

// TestRuleGraves: removed rules are forgotten at their bound; who is behind them gets the full list.
func TestRuleGraves(t *testing.T) {
	sh := newShard(t)
	sh.s.limits.graves = 10
	for i := range 100 {
		user := fmt.Sprint("u", i)
		sh.want(Command{Kind: Ban, Rule: RuleUser, Value: user}, CodeOK)
		sh.want(Command{Kind: Unban, Rule: RuleUser, Value: user}, CodeOK)
		if sh.s.rules.graves > 10 || len(sh.s.rules.log) > 150 {
			t.Fatalf("%d removed rules are kept, the log has %d places", sh.s.rules.graves, len(sh.s.rules.log))
		}
	}
	floor := sh.s.rules.floor
	if got := sh.s.Rules(floor - 1); !got.Full || len(got.Changes) != 0 {
		t.Errorf("below the floor: %+v", got)
	}
	if got := sh.s.Rules(floor); got.Full || len(got.Changes) != sh.s.rules.graves {
		t.Errorf("at the floor: %+v", got)
	}
}
