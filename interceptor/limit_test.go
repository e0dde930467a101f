package interceptor

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
)

// dial opens a connection and leaves it open for the test.
func (e *edge) dial() net.Conn {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.server.Addr())
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		e.t.Fatal(err)
	}
	return conn
}

// Connections beyond the bound are told so in the words of every other refusal, at once, and closed.
func TestConnectionsBeyondTheBound(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Server.MaxConnections = 2 })
	const get = "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"
	var taken [2]net.Conn
	for i := range taken {
		taken[i] = e.dial()
		if status, _ := exchangeOn(t, taken[i], get); status != 200 {
			t.Fatalf("connection %d: %d", i+1, status)
		}
	}
	long := strings.Replace(get, "\r\n\r\n", "\r\nX-Filler: "+strings.Repeat("a", 6000)+"\r\n\r\n", 1)
	for _, request := range []string{get, long, "POST /api/login HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\n{}"} {
		conn := e.dial()
		status, resp := exchangeOn(t, conn, request)
		var body struct{ Code string }
		_ = json.Unmarshal([]byte(resp.text), &body)
		if status != 503 || body.Code != "overloaded" || resp.header.Get("Headgate-Code") != "overloaded" || !resp.closed ||
			resp.header.Get("Content-Type") != "application/problem+json" || resp.header.Get("Retry-After") == "" || len(resp.header.Get("Headgate-Request-Id")) != requestIDBytes {
			t.Errorf("%d %v %s", status, resp.header, resp.text)
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the answer: %v, want the end", err)
		}
	}
	if !strings.Contains(e.metrics(), `requests_total{route="none",code="overloaded"} 3`) {
		t.Error("not counted")
	}
	if status, _ := exchangeOn(t, taken[0], get); status != 200 {
		t.Errorf("an old connection: %d", status)
	}
	_ = taken[0].Close()
	servicetest.Eventually(t, 30*time.Second, "there is room again", func() bool {
		conn := e.dial()
		defer conn.Close()
		status, _ := exchangeOn(t, conn, get)
		return status == 200
	})
}

// exchangeOn sends a request and reads one answer.
func exchangeOn(t *testing.T, conn net.Conn, request string) (int, answer) {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer{header: resp.Header, text: string(text), closed: resp.Close}
}

// Who says nothing is told as well, and the drain does not wait for him for long.
func TestSilentConnectionsBeyondTheBound(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Server.MaxConnections = 1 })
	first := e.dial()
	if status, _ := exchangeOn(t, first, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); status != 200 {
		t.Fatal(status)
	}
	var silent []net.Conn
	for range 2 * maxFarewells {
		silent = append(silent, e.dial())
	}
	for i, conn := range silent {
		got, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 503 ") {
			t.Fatalf("connection %d: %q, %v", i, got, err)
		}
	}
}
