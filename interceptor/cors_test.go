package interceptor

import (
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
