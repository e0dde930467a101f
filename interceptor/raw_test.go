package interceptor

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What arrives on the wire, byte by byte: some of it is normalised before a handler sees it.
func TestRawRequests(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Server.ReadTimeout = 500 * time.Millisecond })
	const get = "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n"
	login := func(headers, body string) string {
		return "POST /api/login HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n" + headers + "\r\n" + body
	}
	target := func(t string) string {
		return "GET " + t + " HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
	}
	for _, c := range []struct {
		name, request string
		status        int
		forwarded     bool
	}{
		{"plain", get + "\r\n", 200, true},
		{"chunked body", login("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"), 200, true},
		{"Content-Length and Transfer-Encoding", login("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"), 400, false},
		{"Transfer-Encoding before Content-Length", login("Transfer-Encoding: chunked\r\nContent-Length: 12\r\n", "2\r\n{}\r\n0\r\n\r\n"), 400, false},
		{"Transfer-Encoding: identity", login("Transfer-Encoding: identity\r\nContent-Length: 2\r\n", "{}"), 400, false},
		{"Transfer-Encoding: gzip, chunked", login("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400, false},
		{"duplicate Content-Length", login("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"), 400, false},
		{"negative Content-Length", login("Content-Length: -1\r\n", ""), 400, false},
		{"a claimed gigabyte", login("Content-Length: 1073741824\r\n", ""), 413, false},
		{"a body beyond the bound, chunked", login("Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", DefaultBody+1, strings.Repeat("a", DefaultBody+1))), 413, false},
		{"continued header line", get + "X-A: b\r\n c\r\n\r\n", 400, false},
		{"bare line feeds", "GET / HTTP/1.1\nHost: shop\nConnection: close\n\n", 408, false}, // no end of the header is seen
		{"one bare line feed", get + "X-A: b\nX-B: c\r\n\r\n", 400, false},
		{"space before the colon", get + "X-A : b\r\n\r\n", 400, false},
		{"no Host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400, false},
		{"two Hosts", get + "Host: other\r\n\r\n", 400, false},
		{"GET with a body", get + "Content-Length: 2\r\n\r\n{}", 400, false},
		{"GET with a chunked body", get + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, false},
		{"absolute form", target("http://other/"), 400, false},
		{"asterisk form", target("*"), 400, false},
		{"authority form", target("shop:80"), 400, false},
		{"dot segments", target("/assets/../api/admin/sales"), 400, false},
		{"encoded dot segments", target("/assets/%2e%2e/api/admin/sales"), 400, false},
		{"encoded slash", target("/assets/..%2fapi"), 400, false},
		{"double encoding", target("/assets/%252e%252e/"), 400, false},
		{"double slash", target("//api/sales"), 400, false},
		{"encoded letters", target("/%61pi/sales"), 400, false},
		{"fragment", target("/#x"), 400, false},
		{"control byte", target("/a\x01"), 400, false},
		{"a header of 20 KB", get + "X-A: " + strings.Repeat("a", 20_000) + "\r\n\r\n", 431, false},
		{"half a header", "GET / HTTP/1.1\r\nHost: sh", 408, false},
		{"half a body", login("Content-Length: 10\r\n", "{"), 408, false},
		{"an unknown method", "BREW / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", 405, false},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := e.shop.seen()
			got := e.raw(c.request)
			if want := fmt.Sprintf("HTTP/1.1 %d ", c.status); !strings.HasPrefix(got, want) {
				t.Errorf("got %q, want %s", got[:min(len(got), 300)], want)
			}
			if strings.Count(got, "HTTP/1.1 ") != 1 {
				t.Errorf("more than one answer: %q", got)
			}
			if forwarded := e.shop.seen() > before; forwarded != c.forwarded {
				t.Errorf("forwarded: %v", forwarded)
			}
			if c.status >= 400 && !strings.Contains(got, "application/problem+json") {
				t.Errorf("no problem: %q", got[:min(len(got), 300)])
			}
		})
	}
}

// A request smuggled behind another must not be served.
func TestNothingIsServedAfterAMisframedRequest(t *testing.T) {
	e := newEdge(t, nil)
	got := e.raw("POST /api/login HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
		"GET /assets/smuggled HTTP/1.1\r\nHost: shop\r\n\r\n")
	if strings.Count(got, "HTTP/1.1 ") != 1 || e.shop.seen() != 0 {
		t.Errorf("got %q; %d forwarded", got, e.shop.seen())
	}
}
