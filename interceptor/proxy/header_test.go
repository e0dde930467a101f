package proxy

import (
	"testing"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
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
