package interceptor

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/auth"
	"headgate.example/lib/config"
)

func TestQuantityInAShopsOwnForm(t *testing.T) {
	const form, json, other = "application/x-www-form-urlencoded; charset=utf-8", "application/json", "text/plain"
	inBody := OrderForm{QuantityField: "qty", ShopForm: true}
	inQuery := OrderForm{QuantityIn: InQuery, QuantityField: "qty", ShopForm: true}
	for _, c := range []struct {
		form               OrderForm
		query, media, body string
		quantity           int64
		stated             bool
		wrong              string // field
	}{
		{inBody, "", json, `{"qty":2,"size":{"qty":9},"note":"x"}`, 2, true, ""},
		{inBody, "", json, `{"note":[1,{"qty":7}],"qty":3}`, 3, true, ""},
		{inBody, "", json, `{"size":"XL"}`, 1, false, ""},
		{inBody, "", json, ``, 1, false, ""},
		{inBody, "", json, `{"qty":2,"Qty":50}`, 0, false, "Qty"},
		{inBody, "", json, `{"qty":2,"qty":50}`, 0, false, "qty"},
		{inBody, "", json, `{"qty":"2"}`, 0, false, "qty"},
		{inBody, "", json, `{"qty":2,"note":}`, 0, false, "body"},
		{inBody, "", json, `[{"qty":2}]`, 0, false, "body"},
		{inBody, "", form, "note=a+b&qty=4", 4, true, ""},
		{inBody, "", form, "note=a+b", 1, false, ""},
		{inBody, "", form, "qty=4&qty=5", 0, false, "qty"},
		{inBody, "", form, "qty=4&QTY=5", 0, false, "QTY"},
		{inBody, "", form, "qty=4&%71ty=5", 0, false, "qty"},
		{inBody, "", form, "qty=", 0, false, "qty"},
		{inBody, "", form, "qty=0", 0, false, "qty"},
		{inBody, "", form, "qty=04", 0, false, "qty"},
		{inBody, "", form, "qty=%2B4", 0, false, "qty"},
		{inBody, "", form, "qty=1001", 0, false, "qty"},
		{inBody, "", other, "qty=4", 0, false, "Content-Type"},
		{inBody, "qty=9", json, `{}`, 1, false, ""}, // not where it belongs
		{inQuery, "a=b&qty=5", json, `{"qty":9}`, 5, true, ""},
		{inQuery, "a=b", other, "anything", 1, false, ""},
		{inQuery, "qty=5&qty=5", "", "", 0, false, "qty"},
		{OrderForm{QuantityIn: Always1, ShopForm: true}, "quantity=3", form, "quantity=4", 1, false, ""},
		{OrderForm{QuantityField: "qty"}, "", "", `{"qty":2}`, 2, true, ""},
		{OrderForm{QuantityField: "qty"}, "", "", `{"quantity":2}`, 0, false, "quantity"},
		{OrderForm{}, "", "", `{"quantity":2}`, 2, true, ""},
	} {
		var ctx fasthttp.RequestCtx
		ctx.Request.SetRequestURI("/shop/7/buy?" + c.query)
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.Header.SetContentType(c.media)
		ctx.Request.SetBodyString(c.body)
		quantity, stated, err := c.form.readQuantity(&ctx)
		var wrong *formError
		switch {
		case c.wrong != "":
			if !errors.As(err, &wrong) || wrong.field != c.wrong {
				t.Errorf("%+v: %v", c, err)
			}
		case err != nil || quantity != c.quantity || stated != c.stated:
			t.Errorf("%+v: %d, %v, %v", c, quantity, stated, err)
		}
	}
}

// foreign is the routes of a shop that was not made for Headgate.
func foreign(answer bool) func(*Config) {
	return func(c *Config) {
		c.Routes = []Route{
			{Name: "buy", Path: "/shop/{sale}/buy", Methods: []string{"POST"}, Kind: KindReserve, Upstream: "backend",
				Order: OrderForm{QuantityField: "qty", ShopForm: true, ShopAnswer: answer}, ForwardHeaders: []string{"X-Shop-Cart"}},
			{Name: "rest", Path: "/*", Methods: []string{"GET", "POST"}, Upstream: "backend", Auth: AuthOptional},
		}
	}
}

func TestAForeignShopSeesItsOwnForm(t *testing.T) {
	e := newEdge(t, foreign(true))
	e.counter.open("1", 100, 5)
	e.shop.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Headgate-Outcome", "taken")
		w.Header().Set("Location", "/thanks")
		w.WriteHeader(http.StatusSeeOther)
		_, _ = io.WriteString(w, "thank you")
	})
	e.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := e.send("POST", "/shop/1/buy?campaign=x", "qty=3&size=XL", "Authorization", "Bearer "+e.token("a1"),
		"Content-Type", "application/x-www-form-urlencoded", "X-Shop-Cart", "c7")
	if a.status != 303 || a.text != "thank you" || a.header.Get("Location") != "/thanks" || a.header.Get("Headgate-Order-Id") == "" {
		t.Errorf("the buyer got %d %q %v", a.status, a.text, a.header)
	}
	r, body := e.shop.last()
	if r.RequestURI != "/shop/1/buy?campaign=x" || body != "qty=3&size=XL" || r.Header.Get("X-Shop-Cart") != "c7" ||
		r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("the shop got %s %q %v", r.RequestURI, body, r.Header)
	}
	keys, err := auth.NewKeyring(e.cfg.TicketKeys)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := keys.VerifyTicket(r.Header.Get(auth.HeaderTicket))
	if err != nil || ticket.Quantity != 3 || ticket.Sale != "1" || ticket.User != "a1" || ticket.Order.String() != a.header.Get("Headgate-Order-Id") {
		t.Errorf("ticket %+v: %v", ticket, err)
	}
	if e.counter.confirmed() != 1 {
		t.Error("not confirmed")
	}
	// Once more with its key: the order is known to stand, and the shop has no answer to that.
	again := e.send("POST", "/shop/1/buy", "{}", "Authorization", "Bearer "+e.token("a1"), "Content-Type", "application/json")
	e.refused(again, 409, "already_ordered")
	if a := e.send("GET", "/about?x=1", ""); a.status != 303 {
		t.Errorf("the shop's other pages: %d", a.status)
	}
}

func TestAForeignShopWithTheEdgesAnswer(t *testing.T) {
	e := newEdge(t, foreign(false))
	a := e.send("POST", "/shop/1/buy", `{"note":"x"}`, "Authorization", "Bearer "+e.token("a1"), "Content-Type", "application/json")
	e.accepted(a)
	if a.header.Get("Location") != "" {
		t.Errorf("Location %q, where nothing is", a.header.Get("Location"))
	}
	for _, status := range []int{301, 404, 409, 500} { // without a word on the order nobody knows
		e.shop.handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		a := e.send("POST", "/shop/1/buy", "", "Authorization", "Bearer "+e.token(fmt.Sprint("b", status)))
		e.refused(a, 503, "unknown_outcome")
	}
}

func TestFallbackAnswersWhereTheShopCannot(t *testing.T) {
	e := newEdge(t, func(c *Config) {
		c.Upstreams[0].Health.Off = true
		for i := range c.Routes {
			switch c.Routes[i].Name {
			case "sales":
				c.Routes[i].Fallback = &Fallback{Status: 200, Body: `{"sales":[]}`}
			case "reserve":
				c.Routes[i].Fallback = &Fallback{ContentType: "text/html", Body: "<p>Back soon</p>", RetryAfter: 7 * time.Second}
			}
		}
	})
	if a := e.send("GET", "/api/sales", ""); a.status != 200 || a.text != `{"status":"queued"}` {
		t.Errorf("the shop answers, and is heard: %d %s", a.status, a.text)
	}
	e.shop.Close()
	if a := e.send("GET", "/api/sales", ""); a.status != 200 || a.text != `{"sales":[]}` || a.header.Get("Headgate-Code") != "" {
		t.Errorf("%d %s %v", a.status, a.text, a.header)
	}
	for i := range 5 { // reserved in vain, then, with the address left alone, not reserved at all
		user := "a" + string(rune('1'+i))
		if a := e.buy(user); a.status != 503 || a.text != "<p>Back soon</p>" || a.header.Get("Retry-After") != "7" || a.header.Get("Headgate-Code") != "unavailable" {
			t.Errorf("%d %s %v", a.status, a.text, a.header)
		}
	}
	if n := e.counter.reserved(); n != 2 { // the GET was the first of three connects that failed
		t.Errorf("reserved %d times, want 2", n)
	}
	e.counter.change(func() {
		if s := e.counter.sales["1"]; s.Available != 1000 || s.Held != 0 {
			t.Errorf("%+v", s)
		}
	})
	e.refused(e.send("GET", "/", ""), 503, "unavailable")
	if !strings.Contains(e.metrics(), `headgate_interceptor_requests_total{route="reserve",code="unavailable"} 5`) {
		t.Error("not counted as what it is")
	}
}

func TestFallbackToAnotherUpstream(t *testing.T) {
	other := &shop{handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "other "+r.RequestURI) }}
	e := newEdge(t, func(c *Config) {
		other.Server = newTestServer(t, other)
		address := strings.TrimPrefix(other.URL, "http://")
		c.Upstreams = append(c.Upstreams, c.Upstreams[0])
		c.Upstreams[1].Name, c.Upstreams[1].Addresses = "pages", []string{address}
		for i := range c.Routes {
			if c.Routes[i].kind() == KindProxy {
				c.Routes[i].Fallback = &Fallback{Upstream: "pages"}
			}
		}
	})
	token := "Bearer " + e.token("a1")
	e.shop.handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if a := e.send("GET", "/assets/x?y=1", ""); a.status != 200 || a.text != "other /assets/x?y=1" {
		t.Errorf("a read that broke off: %d %s", a.status, a.text)
	}
	e.refused(e.send("POST", "/api/orders/7/pay", "", "Authorization", token), 503, "unknown_outcome") // may have been done
	e.shop.Close()
	if a := e.send("POST", "/api/orders/7/pay", "", "Authorization", token); a.status != 200 || a.text != "other /api/orders/7/pay" {
		t.Errorf("a write that never left: %d %s", a.status, a.text)
	}
	e.refused(e.buy("a1"), 503, "unavailable") // never another shop
	if r, _ := other.last(); strings.HasPrefix(r.RequestURI, "/api/sales") {
		t.Error("an order went to the other shop")
	}
	other.Close()
	e.refused(e.send("GET", "/", ""), 503, "unavailable")
}

func TestOrderFormsAndFallbacksThatCannotBe(t *testing.T) {
	const reserve = "name: x, path: '/shop/{sale}/buy', methods: [POST], upstream: backend, kind: reserve"
	const plain = "name: x, path: /x, methods: [GET], upstream: backend"
	for text, want := range map[string]string{
		reserve + ", order: {quantity_in: header}":                                      "routes[0].order.quantity_in: must be body, query or one",
		reserve + ", order: {quantity_in: query}":                                       "routes[0].order.shop_form: must be true",
		reserve + ", order: {quantity_field: 'a b'}":                                    "routes[0].order.quantity_field: must be",
		plain + ", order: {shop_form: true}":                                            "routes[0].order: is for routes of kind reserve",
		reserve + ", fallback: {upstream: backend}":                                     "routes[0].fallback.upstream: a route of kind reserve cannot",
		reserve + ", fallback: {status: 200}":                                           "routes[0].fallback.status: must be 400 to 599",
		plain + ", fallback: {}":                                                        "routes[0].fallback: names neither",
		plain + ", fallback: {upstream: backend}":                                       "routes[0].fallback.upstream: is the route's own",
		plain + ", fallback: {upstream: none}":                                          `routes[0].fallback.upstream: "none" is not the name`,
		plain + ", fallback: {upstream: backend, status: 200}":                          "routes[0].fallback.upstream: cannot be combined",
		plain + ", fallback: {body: x, content_type: \"a\\nb\"}":                        "routes[0].fallback.content_type: must be",
		plain + ", fallback: {body: x, retry_after: -1s}":                               "routes[0].fallback.retry_after: must be",
		strings.Replace(reserve, "POST", "GET", 1):                                      "routes[0].methods: a route of kind reserve has POST, PUT or PATCH",
		strings.Replace(reserve, "{sale}", "{item}", 1):                                 "routes[0].path: a route of kind reserve needs",
		plain + ", fallback: {body: '" + strings.Repeat("x", MaxFallbackBytes+1) + "'}": "routes[0].fallback.body: must be at most",
	} {
		c := DefaultConfig()
		err := config.Parse("x.yaml", []byte(keysYAML+"routes: [{"+text+"}]\n"), &c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s\n got %v\nwant %s", text, err, want)
		}
	}
}

func newTestServer(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}
