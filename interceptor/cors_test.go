package interceptor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/config"
)

func TestCORSIsValidated(t *testing.T) {
	for _, c := range []struct {
		cors CORS
		want string // of the problem; "" for none
	}{
		{CORS{Origins: []string{"https://shop.example"}}, ""},
		{CORS{Origins: []string{"https://shop.example", "http://[::1]:8080", "http://localhost:3000"}, Credentials: true}, ""},
		{CORS{Origins: []string{"*"}}, ""},
		{CORS{Origins: []string{"*"}, Credentials: true}, "origins[0]: \"*\" with credentials"},
		{CORS{Origins: []string{"https://shop.example", "*"}}, "origins[1]"},
		{CORS{}, "origins"},
		{CORS{Origins: []string{"https://shop.example/"}}, "origins[0]"},
		{CORS{Origins: []string{"https://Shop.example"}}, "origins[0]"},
		{CORS{Origins: []string{"https://shop.example:443"}}, "origins[0]"},
		{CORS{Origins: []string{"https://a@shop.example"}}, "origins[0]"},
		{CORS{Origins: []string{"ftp://shop.example"}}, "origins[0]"},
		{CORS{Origins: []string{"null"}}, "origins[0]"},
		{CORS{Origins: []string{"https://"}}, "origins[0]"},
		{CORS{Origins: []string{"https://shop.example"}, MaxAge: 48 * time.Hour}, "max_age"},
	} {
		cfg := testConfig()
		for i := range cfg.Routes {
			if cfg.Routes[i].Name == "reserve" {
				cfg.Routes[i].CORS = &c.cors
			}
		}
		err := config.Check(&cfg)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.cors, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), "routes[0].cors."+c.want)):
			t.Errorf("%+v: %v, want %s", c.cors, err, c.want)
		}
	}
	fallback := CORS{Origins: []string{"*"}}
	cfg := testConfig()
	cfg.Routes[0].CORS = &fallback
	if err := config.Check(&cfg); err != nil || fallback.MaxAge != defaultCORSMaxAge {
		t.Errorf("%v, %s", err, fallback.MaxAge)
	}
}

// What an answer says in headers of its own can be read by the scripts that it is for: with shop_answer an
// order's id stands nowhere else.
func TestScriptsMayReadTheOrdersID(t *testing.T) {
	const page = "https://shop.example"
	e := newEdge(t, func(c *Config) {
		c.Routes[0].CORS = &CORS{Origins: []string{page}, MaxAge: time.Minute}
		c.Routes[0].Order = OrderForm{ShopForm: true, ShopAnswer: true}
	})
	a := e.send("POST", "/api/sales/1/orders", "", "Authorization", "Bearer "+e.token("a1"), "Origin", page)
	if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != page || a.header.Get(headerOrderID) == "" {
		t.Fatalf("%d %v", a.status, a.header)
	}
	exposed := a.header.Get("Access-Control-Expose-Headers")
	for _, name := range []string{headerOrderID, "Headgate-Code", "Headgate-Request-Id", "Retry-After", "Ratelimit"} {
		if !slices.Contains(strings.Split(exposed, ", "), name) {
			t.Errorf("%s cannot be read: %s", name, exposed)
		}
	}
}
