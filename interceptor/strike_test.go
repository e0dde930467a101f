package interceptor

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.example/counter/client"
	"headgate.example/interceptor/strikes"
	"headgate.example/lib/auth"
	"headgate.example/lib/service/servicetest"
)

// struck is an edge behind a trusted proxy, where three strikes within a minute ban for an hour.
func struck(t *testing.T, change func(*Config)) *edge {
	return newEdge(t, func(c *Config) {
		c.TrustedProxies = []string{"127.0.0.0/8"}
		rule := strikes.Rule{Mode: ModeEnforce, Count: 3, Window: time.Minute, BanFor: time.Hour}
		c.Strikes = strikes.Rules{TooSoon: rule, ForgedTicket: rule, BadToken: rule, Malformed: rule}
		if change != nil {
			change(c)
		}
	})
}

// press buys, and uses up the interval of retries, which the second press is taken for.
func (e *edge) press(user string) {
	e.t.Helper()
	e.accepted(e.buy(user))
	e.refused(e.buy(user), 409, "already_ordered")
}

const from = "X-Forwarded-For"

// Pressing on when told to wait bans the user, for a time, at everything that is no reading.
func TestPressingOnBans(t *testing.T) {
	e := struck(t, nil)
	e.press("a1")
	e.press("a2")
	for range 3 {
		e.refused(e.buy("a1"), 429, "too_soon")
	}
	a := e.buy("a1")
	e.refused(a, 403, "blacklisted")
	if a.body.Detail != struckOut {
		t.Errorf("told %q", a.body.Detail)
	}
	token := "Bearer " + e.token("a1")
	e.refused(e.send("POST", "/api/orders/7/cancel", "", "Authorization", token), 403, "blacklisted")
	if a := e.send("GET", "/api/orders", "", "Authorization", token); a.status != 200 {
		t.Errorf("reading: %d %s", a.status, a.text)
	}
	e.refused(e.buy("a2"), 429, "too_soon") // which alone bans nobody
	e.clock.advance(time.Hour)
	if a := e.buy("a1"); a.body.Code == "blacklisted" {
		t.Errorf("after the ban: %d %s", a.status, a.text)
	}
}

func TestForgedTicketsBanTheUser(t *testing.T) {
	e := struck(t, nil)
	keys, err := auth.NewKeyring(e.cfg.TicketKeys)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := keys.SignTicket(auth.Ticket{Order: 1, Sale: "1", User: "a2", Quantity: 1, Slot: 1, ExpiresAt: 1_900_000_100_000})
	if err != nil {
		t.Fatal(err)
	}
	for i, ticket := range []string{"v1.k1.e30.AAAA", foreign, "nonsense"} {
		a := e.buy("a1", auth.HeaderTicket, ticket, from, fmt.Sprint("192.0.2.", i+1))
		e.refused(a, 400, "invalid_request")
	}
	e.refused(e.buy("a1", from, "192.0.2.9"), 403, "blacklisted")
	e.accepted(e.buy("a2", from, "192.0.2.1")) // neither the one who is named in a ticket, nor the address
}

// Bad tokens and malformed requests are charged to the address alone, never to whom a token names.
func TestBadRequestsBanTheAddress(t *testing.T) {
	e := struck(t, nil)
	good := e.token("a1")
	forged := good[:len(good)-4] + "AAAA"
	bad := func(address string) {
		e.refused(e.send("GET", "/api/orders", "", "Authorization", "Bearer "+forged, from, address), 401, "unauthenticated")
	}
	for range 3 {
		bad("203.0.113.7")
	}
	e.refused(e.send("GET", "/", "", from, "203.0.113.7"), 403, "blacklisted")
	// From then on its tokens are not even looked at.
	e.refused(e.send("GET", "/api/orders", "", "Authorization", "Bearer "+forged, from, "203.0.113.7"), 403, "blacklisted")
	e.accepted(e.buy("a1", from, "203.0.113.8"))
	for i := range 3 { // one person has a whole /64
		bad(fmt.Sprintf("2001:db8::%d", i+1))
	}
	e.refused(e.send("GET", "/", "", from, "2001:db8::ff"), 403, "blacklisted")

	for range 3 {
		e.refused(e.send("GET", "/a%2fb", "", from, "198.51.100.1"), 400, "invalid_request")
	}
	e.refused(e.send("GET", "/", "", from, "198.51.100.1"), 403, "blacklisted")
	for range 3 {
		e.refused(e.send("POST", "/api/sales/1/orders", `{"quantity":-1}`, "Authorization", "Bearer "+e.token("a3"), from, "198.51.100.2"), 400, "invalid_request")
	}
	e.refused(e.send("GET", "/", "", from, "198.51.100.2"), 403, "blacklisted")
	e.accepted(e.buy("a3", from, "198.51.100.3"))
}

// What somebody may do by mistake is no strike: no token, one that is over, a revoked one, a page that is
// not there, or a bad token where none is asked for.
func TestNoStrikes(t *testing.T) {
	e := struck(t, nil)
	revoked := e.token("a9")
	e.counter.rule(client.Rule{Kind: client.RuleToken, Value: "a9", Before: e.clock.Now().UnixMilli() + 1})
	e.fresh()
	expired := signToken(t, e.cfg.Tokens, "a8", e.clock.Now().Add(-30*24*time.Hour))
	for range 4 {
		e.refused(e.send("GET", "/api/orders", "", from, "203.0.113.7"), 401, "unauthenticated")
		e.refused(e.send("GET", "/api/orders", "", from, "203.0.113.7", "Authorization", "Bearer "+revoked), 401, "unauthenticated")
		e.refused(e.send("GET", "/api/orders", "", from, "203.0.113.7", "Authorization", "Bearer "+expired), 401, "unauthenticated")
		e.refused(e.send("GET", "/nothing", "", from, "203.0.113.7"), 404, "not_found")
		if a := e.send("GET", "/api/sales", "", from, "203.0.113.7", "Authorization", "Bearer x"); a.status != 200 {
			t.Errorf("a public page: %d %s", a.status, a.text)
		}
	}
	if a := e.send("GET", "/", "", from, "203.0.113.7"); a.status != 200 {
		t.Errorf("banned for nothing: %d %s", a.status, a.text)
	}
	// A proxy's own address is everybody's: it is not charged, nor banned by whom one would ban.
	for range 4 {
		e.refused(e.send("GET", "/a%2fb", ""), 400, "invalid_request")
	}
	e.counter.rule(client.Rule{Kind: client.RuleAddress, Value: "127.0.0.0/8"})
	e.fresh()
	if a := e.send("GET", "/", ""); a.status != 200 {
		t.Errorf("the proxy is banned: %d %s", a.status, a.text)
	}
}

// Requests that cannot be read are charged to the connection's address, unless a proxy sent them.
func TestUnreadableRequestsBanTheConnection(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		e := struck(t, func(c *Config) {
			if !trusted {
				c.TrustedProxies = nil
			}
		})
		for range 3 {
			if got := e.raw("GET / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"); !strings.Contains(got, " 400 ") {
				t.Fatalf("answered %q", got)
			}
		}
		if a := e.send("GET", "/", ""); (a.status == 403) == trusted {
			t.Errorf("trusted %v: %d %s", trusted, a.status, a.text)
		}
	}
}

// What an operator takes back ends the bans of this node, too.
func TestUnbanEndsStrikeBans(t *testing.T) {
	e := struck(t, nil)
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a7"})
	e.fresh()
	const others = 1
	for range 5 {
		e.send("GET", "/a%2fb", "", from, "198.51.100.1")
		e.buy("a1", from, "203.0.113.7")
		e.send("GET", "/a%2fb", "", from, "203.0.113.8")
	}
	e.refused(e.buy("a1", from, "203.0.113.7"), 403, "blacklisted")
	e.refused(e.send("GET", "/", "", from, "203.0.113.8"), 403, "blacklisted")
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a1", Removed: true})
	e.counter.rule(client.Rule{Kind: client.RuleAddress, Value: "203.0.113.0/24", Reason: client.ReasonLift})
	e.fresh()
	if n := e.server.conduct.strikes.Len(); n != others {
		t.Errorf("%d bans are left, want %d", n, others)
	}
	e.refused(e.buy("a1", from, "203.0.113.7"), 429, "too_soon")
	if a := e.send("GET", "/", "", from, "203.0.113.8"); a.status != 200 {
		t.Errorf("the address: %d %s", a.status, a.text)
	}
}

// Where the counter tells everything anew, which leaves out what was taken back, nobody stays banned for
// having missed it.
func TestMissedUnbanEndsStrikeBans(t *testing.T) {
	e := struck(t, nil)
	for range 4 {
		e.send("GET", "/a%2fb", "", from, "203.0.113.8")
	}
	e.refused(e.send("GET", "/", "", from, "203.0.113.8"), 403, "blacklisted")
	e.fresh() // asks since index 0 each time, which changes nothing
	e.refused(e.send("GET", "/", "", from, "203.0.113.8"), 403, "blacklisted")
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a1", Removed: true})
	e.fresh()
	if a := e.send("GET", "/", "", from, "203.0.113.8"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.text)
	}
}

// The first rule that is ever written is told in full, too, and takes nothing back but what it names.
func TestTheFirstRuleLeavesStrikeBans(t *testing.T) {
	e := struck(t, nil)
	for range 4 {
		e.send("GET", "/a%2fb", "", from, "203.0.113.8")
		e.send("GET", "/a%2fb", "", from, "203.0.113.9")
	}
	e.fresh()
	e.counter.rule(client.Rule{Kind: client.RuleAddress, Value: "203.0.113.9/32", Reason: client.ReasonLift})
	e.fresh()
	e.refused(e.send("GET", "/", "", from, "203.0.113.8"), 403, "blacklisted")
	if a := e.send("GET", "/", "", from, "203.0.113.9"); a.status != 200 {
		t.Errorf("who was named: %d %s", a.status, a.text)
	}
}

// A rule in shadow counts and bans nobody, and what a stage in shadow would have refused is no strike.
func TestStrikesInShadow(t *testing.T) {
	e := struck(t, func(c *Config) { c.Strikes.TooSoon.Mode = ModeShadow })
	e.press("a1")
	for range 8 {
		e.refused(e.buy("a1"), 429, "too_soon")
	}
	if page := e.metrics(); !strings.Contains(page, `strike_bans_total{offence="too_soon",outcome="would_ban"} 2`) ||
		!strings.Contains(page, `strikes_total{offence="too_soon"} 8`) {
		t.Errorf("not counted:\n%s", page)
	}
	e = struck(t, func(c *Config) { c.Limits.UserInterval.Mode = ModeShadow })
	for range 8 {
		if a := e.buy("a1"); a.body.Code == "blacklisted" || a.body.Code == "too_soon" {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
}

// A token that was revoked, or changed for a new one, stops within a poll; the new one works.
func TestRevocationLetsTheNewTokenPass(t *testing.T) {
	e := newEdge(t, nil)
	old := "Bearer " + e.token("a1")
	if a := e.send("GET", "/api/orders", "", "Authorization", old); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.text)
	}
	e.clock.advance(time.Second)
	before := e.clock.Now().UnixMilli()
	e.counter.rule(client.Rule{Kind: client.RuleToken, Value: "a1", Before: before})
	fresh := "Bearer " + e.token("a1")
	servicetest.Eventually(t, 30*time.Second, "the old token is refused", func() bool {
		return e.send("GET", "/api/orders", "", "Authorization", old).status == http.StatusUnauthorized
	})
	if a := e.send("GET", "/api/orders", "", "Authorization", fresh); a.status != http.StatusOK {
		t.Errorf("the new token: %d %s", a.status, a.text)
	}
}
