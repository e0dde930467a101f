package proxy

import (
	"errors"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"headgate.example/lib/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

func TestForwardable(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Pay-Signature": true, "Wechatpay-Serial": true, "Authorization": true,
		"": false, "a b": false, "X-A:": false, "headgate-user": false, "HEADGATE-HOP": false, "x-forwarded-for": false, "Cookie": false,
		"host": false, "te": false, "content-length": false, "transfer-encoding": false, "proxy-authorization": false,
	} {
		if got := Forwardable(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestNominatedHeadersAreDropped(t *testing.T) {
	var from, to fasthttp.RequestHeader
	for name, value := range map[string]string{
		"Connection": "keep-alive, accept ,X-Mine", "Accept": "text/html", "X-Mine": "1", "X-Other": "2", "If-None-Match": `"x"`,
	} {
		from.Set(name, value)
	}
	CopyRequestHeaders(&to, &from, []string{"X-Mine"})
	if got := string(to.Peek("Accept")) + string(to.Peek("X-Mine")) + string(to.Peek("X-Other")) + string(to.Peek("Connection")); got != "" {
		t.Errorf("passed on: %q", got)
	}
	if string(to.Peek("If-None-Match")) != `"x"` {
		t.Error("an allowed header was dropped")
	}
}

func TestNotSentIsToldFromUnknown(t *testing.T) {
	u := New(DefaultConfig("x", "127.0.0.1:1"))
	defer u.Close()
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("/")
	if err := u.Do(Orders, &req, &resp, time.Second); !errors.Is(err, ErrNotSent) {
		t.Errorf("nobody listens: %v", err)
	}
	if err := u.Ping(t.Context()); err == nil {
		t.Error("Ping found somebody")
	}
}

func TestConfigFillsAndRefuses(t *testing.T) {
	c := Config{Name: "a", Address: "127.0.0.1:80"}
	if err := config.Check(&c); err != nil || c != DefaultConfig("a", "127.0.0.1:80") {
		t.Errorf("%+v: %v", c, err)
	}
	for name, change := range map[string]func(*Config){
		"name":               func(c *Config) { c.Name = "A b" },
		"address":            func(c *Config) { c.Address = "127.0.0.1" },
		"timeout":            func(c *Config) { c.Timeout = -1 },
		"connect_timeout":    func(c *Config) { c.ConnectTimeout = time.Hour },
		"max_wait":           func(c *Config) { c.MaxWait = time.Minute },
		"idle_timeout":       func(c *Config) { c.IdleTimeout = 1 },
		"max_connections":    func(c *Config) { c.MaxConnections = -1 },
		"max_long_polls":     func(c *Config) { c.MaxLongPolls = MaxConnections + 1 },
		"max_response_bytes": func(c *Config) { c.MaxResponseBytes = 1 },
	} {
		c := DefaultConfig("a", "127.0.0.1:80")
		change(&c)
		var wrong *config.Error
		if err := config.Check(&c); !errors.As(err, &wrong) || wrong.Problems[0].Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}
