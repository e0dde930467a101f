package interceptor

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"headgate.example/interceptor/proxy"
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

// However its body is framed, a header is refused with the same status.
func TestMalformedHeadersBeforeChunksHaveTheirStatus(t *testing.T) {
	e := newEdge(t, nil)
	for framing, body := range map[string]string{"Content-Length: 5": "hello", "Transfer-Encoding: chunked": "5\r\nhello\r\n0\r\n\r\n"} {
		for status, lines := range map[string]string{"431": strings.Repeat("A: b\r\n", proxy.MaxHeaderLines), "417": "Expect: tea\r\n"} {
			a := e.raw("POST /api/login HTTP/1.1\r\nHost: shop\r\n" + framing + "\r\n" + lines + "\r\n" + body)
			if !strings.HasPrefix(a, "HTTP/1.1 "+status+" ") {
				t.Errorf("%s, want %s: %s", framing, status, a)
			}
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
