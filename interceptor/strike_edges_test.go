package interceptor

import (
	"testing"
	"time"

	"headgate.example/counter/client"
	"headgate.example/interceptor/strikes"
	"headgate.example/lib/config"
)

// Strikes at any edge count at the user's owner, whose ban holds wherever he turns, moves with him when the
// owner drains, and ends with an operator's word.
func TestStrikesAtManyEdges(t *testing.T) {
	edges := newEdges(t, 3, func(c *Config) {
		c.Strikes.TooSoon = strikes.Rule{Mode: ModeEnforce, Count: 6, Window: time.Minute, BanFor: time.Hour}
	})
	user := userOf(t, edges[2])
	edges[0].counter.rule(client.Rule{Kind: client.RuleUser, Value: "somebody"})
	edges[0].fresh()
	edges[0].press(user)
	for i := range 6 {
		e := edges[i%3]
		e.refused(e.buy(user), 429, "too_soon")
	}
	banned := func(when string, edges ...*edge) {
		t.Helper()
		for _, e := range edges {
			if a := e.buy(user); a.body.Code != "blacklisted" {
				t.Errorf("%s, at %s: %d %s", when, e.cfg.Self, a.status, a.text)
			}
		}
	}
	banned("at first", edges...)
	var view UserView
	_ = edges[0].look("/edge/user?id="+user, &view)
	if view.Owner != "edge-3" || len(view.Bans) != 0 || len(view.Refusals) != 0 {
		t.Errorf("an edge that only passed him on: %+v", view)
	}
	_ = edges[2].look("/edge/user?id="+user, &view)
	if len(view.Bans) != 1 || view.Bans[0].By != byStrikes || len(view.Refusals) != 3 || view.Refusals[0].Stage != stageBlacklist || view.Refusals[1].Stage != stageStrikes {
		t.Errorf("his owner: %+v", view)
	}

	if err := edges[2].server.peers.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	agree(t, edges[:2]...)
	banned("after a drain", edges[:2]...)
	owner := edges[0]
	if owner.server.peers.OwnerName(owner.server.hasher.User(user)) != owner.cfg.Self {
		owner = edges[1]
	}
	var bans BansView
	_ = owner.look("/edge/bans?value="+user, &bans)
	if len(bans.Bans) != 1 || bans.Bans[0].Reason != "too_soon" || bans.Bans[0].Until != owner.clock.Now().Add(time.Hour).UnixMilli() {
		t.Errorf("the ban that was taken over: %+v", bans)
	}
	edges[0].counter.rule(client.Rule{Kind: client.RuleUser, Value: user, Removed: true})
	for _, e := range edges[:2] {
		e.fresh()
	}
	for _, e := range edges[:2] {
		if a := e.buy(user); a.body.Code == "blacklisted" {
			t.Errorf("after an operator's word, at %s: %d %s", e.cfg.Self, a.status, a.text)
		}
	}
}

// A reload changes the rules for what comes; what was counted and who is banned stays.
func TestStrikesSurviveReload(t *testing.T) {
	e := struck(t, nil)
	e.press("a1")
	e.press("a2")
	for range 3 {
		e.refused(e.buy("a1"), 429, "too_soon")
	}
	for range 2 {
		e.refused(e.buy("a2"), 429, "too_soon")
	}
	reload := func(change func(*Config)) {
		t.Helper()
		next := e.cfg
		change(&next)
		if err := config.Check(&next); err != nil {
			t.Fatal(err)
		}
		if err := e.server.Reload(next); err != nil {
			t.Fatal(err)
		}
	}
	reload(func(c *Config) { c.Strikes.TooSoon.Mode = ModeOff })
	e.refused(e.buy("a1"), 403, "blacklisted")
	e.refused(e.buy("a2"), 429, "too_soon") // the rule is off: no strike
	reload(func(c *Config) { c.Strikes.TooSoon.Count = 4 })
	e.refused(e.buy("a2"), 429, "too_soon") // the third
	e.refused(e.buy("a2"), 429, "too_soon") // the fourth
	e.refused(e.buy("a2"), 403, "blacklisted")
}
