package interceptor

import (
	"sync"
	"testing"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

// A node that was started while the counter is away does not know who is banned and which tokens are
// void. It must not take that for nobody and none.
func TestRulesNeverFetched(t *testing.T) {
	e := newPreparedEdge(t, servicetest.Log(t), nil, func(c *fakeCounter) { c.failing["RULES"] = client.ErrUnavailable })
	e.counter.rule(client.Rule{Kind: client.RuleToken, Value: "a9", Before: e.clock.Now().UnixMilli() + 1})
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a1"})
	revoked, banned := "Bearer "+e.token("a9", "admin"), "Bearer "+e.token("a1")
	e.refused(e.send("GET", "/api/admin/sales", "", "Authorization", revoked), 503, "unavailable")
	e.refused(e.send("POST", "/api/sales/1/orders", "", "Authorization", banned), 503, "unavailable")
	e.refused(e.send("POST", "/api/orders/7/cancel", "", "Authorization", banned), 503, "unavailable")
	if e.shop.seen() != 0 || e.counter.reserves != 0 {
		t.Error("forwarded without knowing the rules")
	}
	for _, target := range []string{"/", "/api/sales", "/api/sales/1"} {
		if a := e.send("GET", target, "", "Authorization", revoked); a.status != 200 {
			t.Errorf("%s, which is public: %d %s", target, a.status, a.text)
		}
	}
	if a := e.send("POST", "/api/login", "{}"); a.status != 200 {
		t.Errorf("signing in: %d %s", a.status, a.text)
	}
	e.counter.change(func() { delete(e.counter.failing, "RULES") })
	e.fresh()
	e.refused(e.send("GET", "/api/admin/sales", "", "Authorization", revoked), 401, "unauthenticated")
	e.refused(e.send("POST", "/api/sales/1/orders", "", "Authorization", banned), 403, "blacklisted")
	e.accepted(e.buy("a2"))
	e.counter.change(func() { e.counter.failing["RULES"] = client.ErrUnavailable })
	e.accepted(e.buy("a3")) // what was once known holds while the counter is away
}

// Where the counter answers, the rules are in force for the first request.
func TestRulesAreFetchedFirst(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	e := newPreparedEdge(t, servicetest.Log(t), nil, func(c *fakeCounter) {
		c.rules = []client.Rule{{Index: 1, Kind: client.RuleUser, Value: "a1"}}
		c.onCall = func(command string, _ sale.OrderID) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, command)
		}
	})
	e.refused(e.buy("a1"), 403, "blacklisted")
	mu.Lock()
	defer mu.Unlock()
	if len(asked) < 2 || asked[0] != "RULES" {
		t.Errorf("the counter was asked %v", asked)
	}
}
