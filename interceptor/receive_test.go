package interceptor

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

const twoFramings = "POST /api/login HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"

// Who sends a malformed header and hangs up is never answered. What was noted of him is not told the next one,
// whose request is read into the same place.
func TestAMalformedHeaderIsForgottenWithItsRequest(t *testing.T) {
	e := newEdge(t, nil)
	for range 20 {
		conn, err := net.Dial("tcp", e.server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, twoFramings); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(conn) // until the edge has closed it, too
		_ = conn.Close()
		if a := e.raw("POST /api/login HTTP/1.1\r\nHost: shop\r\nContent-Length: 10000000\r\n\r\n"); !strings.HasPrefix(a, "HTTP/1.1 413 ") {
			t.Fatalf("too large a body after it: %s", a)
		}
	}
}

func TestMalformedHeadersOfAbsentClientsAreBounded(t *testing.T) {
	e := newEdge(t, nil)
	for range 3 * maxMalformed {
		header := &fasthttp.RequestHeader{}
		if err := header.Read(bufio.NewReader(strings.NewReader(twoFramings))); err != nil {
			t.Fatal(err)
		}
		e.server.boundBody(header)
		if n := e.server.malformed.len(); n < 1 || n > maxMalformed {
			t.Fatalf("%d are kept, want 1 to %d", n, maxMalformed)
		}
	}
}
