package interceptor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"headgate.example/counter/client"
)

// look asks the admin port and decodes a 200 into view.
func (e *edge) look(target string, view any) (status int) {
	e.t.Helper()
	w := httptest.NewRecorder()
	e.rt.Pages.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), view); err != nil {
			e.t.Fatalf("%s: %v: %s", target, err, w.Body)
		}
	}
	return w.Code
}

// Why was this user refused: the last reasons, what is left of the budgets, and what stands against him.
func TestLookAtUser(t *testing.T) {
	e := struck(t, nil)
	now := e.clock.Now().UnixMilli()
	e.counter.open("dry", 1, 1)
	e.counter.change(func() { e.counter.sales["dry"].Available = 0 })
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a1", Until: now + 90_000, Reason: "resells"})
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a1", Removed: true})
	e.counter.rule(client.Rule{Kind: client.RuleToken, Value: "a1", Before: now - 5})
	e.fresh()
	token := "Bearer " + e.token("a1")
	e.press("a1")
	for range 2 {
		e.refused(e.buy("a1", from, "203.0.113.7"), 429, "too_soon")
	}
	first := e.send("POST", "/api/sales/1/orders", "x", "Authorization", token, from, "203.0.113.8")
	e.refused(first, 400, "invalid_request")
	e.send("GET", "/api/orders", "", "Authorization", token)

	var view UserView
	if status := e.look("/edge/user?id=a1", &view); status != 200 {
		t.Fatalf("status %d", status)
	}
	if view.User != "a1" || view.Node != e.cfg.Self || view.Owner != e.cfg.Self || view.RevokedBefore != now-5 || len(view.Bans) != 0 {
		t.Errorf("%+v", view)
	}
	if len(view.Refusals) != 3 || view.Refusals[0].Code != "invalid_request" || view.Refusals[0].Request != first.header.Get("Headgate-Request-Id") ||
		view.Refusals[0].Stage != stageOrderForm || view.Refusals[0].Route != "reserve" || view.Refusals[0].Address != "203.0.113.8" || view.Refusals[0].Detail == "" {
		t.Fatalf("the latest reason: %+v", view.Refusals)
	}
	if r := view.Refusals[1]; r.Code != "too_soon" || r.Times != 2 || r.At != now || r.Address != "203.0.113.7" {
		t.Errorf("the reason before: %+v", r)
	}
	budgets := map[string]BudgetView{}
	for _, b := range view.Budgets {
		budgets[b.Name] = b
	}
	if b := budgets[limitInterval]; b.Left != 0 || b.Of != 1 || b.FullIn != 1000 || b.Mode != ModeEnforce {
		t.Errorf("the interval: %+v", b)
	}
	if b := budgets[limitUser]; b.Left != 19 || b.Of != 20 || b.FullIn != 100 {
		t.Errorf("the bucket: %+v", b)
	}

	e.refused(e.buy("a1"), 429, "too_soon")
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a1", Until: now + 90_000, Reason: "resells"})
	e.fresh()
	_ = e.look("/edge/user?id=a1", &view)
	if len(view.Bans) != 2 || view.Bans[0] != (BanView{Kind: "user", Value: "a1", Until: now + 90_000, Reason: "resells", By: "operator"}) ||
		view.Bans[1] != (BanView{Kind: "user", Value: "a1", Until: now + time.Hour.Milliseconds(), Reason: "too_soon", By: "strikes", Strikes: 3}) {
		t.Errorf("bans: %+v", view.Bans)
	}
	for _, target := range []string{"/edge/user", "/edge/user?id=", "/edge/user?id=a%20b", "/edge/user?id=" + strings.Repeat("a", 65)} {
		if status := e.look(target, &view); status != 400 {
			t.Errorf("%s: status %d", target, status)
		}
	}
	_ = e.look("/edge/user?id=unheard-of", &view)
	if view.Budgets[0].Left != view.Budgets[0].Of || len(view.Refusals) != 0 {
		t.Errorf("an unknown user: %+v", view)
	}
}

func TestLookAtRefusals(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.TrustedProxies = []string{"127.0.0.0/8"} })
	e.press("a1")
	e.clock.advance(time.Millisecond) // so that the order is known
	e.refused(e.buy("a1"), 429, "too_soon")
	e.clock.advance(time.Millisecond)
	e.refused(e.send("GET", "/nothing", "", from, "203.0.113.7"), 404, "not_found")
	for target, want := range map[string]string{
		"/edge/refusals":                                      "not_found too_soon already_ordered",
		"/edge/refusals?limit=1":                              "not_found",
		"/edge/refusals?user=a1":                              "too_soon already_ordered",
		"/edge/refusals?user=a2":                              "",
		"/edge/refusals?code=not_found":                       "not_found",
		"/edge/refusals?address=203.0.113.0/24":               "not_found",
		"/edge/refusals?address=203.0.114.0/24":               "",
		"/edge/refusals?user=a1&code=not_found":               "",
		"/edge/refusals?user=a1&address=127.0.0.1&limit=7":    "too_soon already_ordered",
		"/edge/refusals?user=a1&address=203.0.113.9&limit=20": "",
	} {
		var view RefusalsView
		if status := e.look(target, &view); status != 200 {
			t.Errorf("%s: status %d", target, status)
		}
		var codes []string
		for _, r := range view.Refusals {
			codes = append(codes, r.Code)
		}
		if strings.Join(codes, " ") != want {
			t.Errorf("%s: %v, want %s", target, codes, want)
		}
	}
	for _, query := range []string{"limit=0", "limit=x", "limit=10001", "address=here"} {
		if status := e.look("/edge/refusals?"+query, nil); status != 400 {
			t.Errorf("%s: status %d", query, status)
		}
	}
}

func TestLookAtTop(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.TrustedProxies = []string{"127.0.0.0/8"} })
	token := "Bearer " + e.token("a1")
	for i := range 800 {
		e.send("GET", "/api/orders", "", "Authorization", token, from, "203.0.113.7")
		if i%80 == 0 {
			e.send("GET", "/", "", from, "203.0.113.8")
		}
	}
	var view TopView
	_ = e.look("/edge/top?limit=1", &view)
	if len(view.Users) != 1 || view.Users[0].Key != "a1" || len(view.Addresses) != 1 || view.Addresses[0].Key != "203.0.113.7" || view.Sample != talkerSample {
		t.Fatalf("%+v", view)
	}
	// One request in sixteen is counted: of 800 about 50, times sixteen. 35 more or fewer is one in a million.
	if n := view.Users[0].Requests; n < 240 || n > 1360 {
		t.Errorf("about 800 requests are told as %d", n)
	}
	if r := view.Users[0].Refused; r <= 0 || r > view.Users[0].Requests {
		t.Errorf("%d of %d were refused", r, view.Users[0].Requests)
	}
}

func TestLookAtBans(t *testing.T) {
	e := struck(t, nil)
	now := e.clock.Now().UnixMilli()
	e.counter.rule(client.Rule{Kind: client.RuleAddress, Value: "203.0.113.0/24", Reason: "a farm"})
	e.counter.rule(client.Rule{Kind: client.RuleUser, Value: "a5", Until: now + 1000, Reason: "resells"})
	e.fresh()
	for range 4 {
		e.send("GET", "/a%2fb", "", from, "198.51.100.1")
	}
	list := func(query string) string {
		var view BansView
		if status := e.look("/edge/bans"+query, &view); status != 200 {
			t.Fatalf("%s: status %d", query, status)
		}
		if !view.Known || view.Rules == 0 {
			t.Errorf("%+v", view)
		}
		words := []string{fmt.Sprint(view.Total)}
		for _, b := range view.Bans {
			words = append(words, b.Kind, b.Value, b.By, b.Reason)
		}
		return strings.Join(words, " ")
	}
	own, farm, reseller := " address 198.51.100.1 strikes malformed", " address 203.0.113.0/24 operator a farm", " user a5 operator resells"
	for query, want := range map[string]string{
		"": "3" + own + farm + reseller, "?limit=2": "3" + own + farm, "?limit=1": "3" + own,
		"?value=a5": "1" + reseller, "?value=a6": "0", "?value=203.0.113.77": "1" + farm, "?value=198.51.100.1": "1" + own, "?value=198.51.100.2": "0",
	} {
		if got := list(query); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	e.clock.advance(time.Second)
	e.fresh()
	if got := list(""); got != "2"+own+farm {
		t.Errorf("after one is over: %s", got)
	}
	if status := e.look("/edge/bans?limit=-1", nil); status != 400 {
		t.Errorf("a wrong limit: status %d", status)
	}
}

// What a node knows of a sale, and that it does not.
func TestLookAtSale(t *testing.T) {
	e := struck(t, nil)
	opens := e.clock.Now().Add(time.Hour).UnixMilli()
	e.counter.open("later", 5, 1)
	e.counter.change(func() { e.counter.sales["later"].OpensAt = opens })
	e.fresh()
	for _, c := range []struct {
		id   string
		want SaleView
	}{
		{"1", SaleView{Heard: true, Known: true, RulesKnown: true}},
		{"later", SaleView{Heard: true, Known: true, RulesKnown: true, Code: "not_open", OpensAt: opens}},
		{"nothing", SaleView{Heard: true, RulesKnown: true}},
	} {
		var view SaleView
		if status := e.look("/edge/sale?id="+c.id, &view); status != 200 {
			t.Errorf("%s: status %d", c.id, status)
		}
		if view.Node != e.cfg.Self || view.Sale != c.id || view.Age < 0 {
			t.Errorf("%s: %+v", c.id, view)
		}
		view.Node, view.Sale, view.Age, view.Rules = "", "", 0, 0
		if view != c.want {
			t.Errorf("%s: %+v, want %+v", c.id, view, c.want)
		}
	}
	if status := e.look("/edge/sale?id=", nil); status != 400 {
		t.Errorf("no id: status %d", status)
	}
}
