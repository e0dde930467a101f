package proxy

import (
	"bufio"
	"strings"
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

// What the walk says of a header is what fasthttp makes of it.
func FuzzCheckHeader(f *testing.F) {
	for _, lines := range []string{
		"Authorization: Bearer a.b.c", "authorization:Bearer x \t", "AUTHORIZATION: \t ", "Authorization: a\r\nauthorization: b", "Authorization : a",
		"Origin: https://shop.example\r\nIdempotency-Key: k\r\nHeadgate-Ticket: t\r\nContent-Type: text/plain", "Expect: 100-continue\r\nContent-Length: 2",
		"Transfer-Encoding: chunked", "X: y\r\n folded", "X-\xff: \x80", "A:\x0bb\x0c",
	} {
		f.Add("Host: shop\r\n" + lines)
	}
	names := map[Present]string{HasExpect: "Expect", HasOrigin: "Origin", HasAuthorization: "Authorization", HasType: "Content-Type", HasKey: "Idempotency-Key",
		HasTicket: "Headgate-Ticket", HasContent: "Content-Encoding", HasLength: "Content-Length"}
	f.Fuzz(func(t *testing.T, lines string) {
		var h fasthttp.RequestHeader
		if err := h.Read(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\n" + lines + "\r\n\r\n"))); err != nil {
			return
		}
		found, err := CheckHeader(&h)
		if err != nil {
			return
		}
		for bit, name := range names {
			if value := h.Peek(name); len(value) > 0 && found.Present&bit == 0 {
				t.Fatalf("%q: there is %s: %q", lines, name, value)
			}
		}
		if value := h.Peek("Authorization"); string(value) != string(found.Authorization) {
			t.Fatalf("%q: Authorization is %q, fasthttp reads %q", lines, found.Authorization, value)
		}
	})
}
