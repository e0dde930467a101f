package interceptor

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/interceptor/route"
)

// upstreamMaySee are the headers that may reach an upstream on the routes of the default table.
var upstreamMaySee = map[string]bool{ // read only
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Content-Type": true, "Content-Length": true, "If-Match": true,
	"If-Modified-Since": true, "If-None-Match": true, "If-Unmodified-Since": true, "User-Agent": true, "Headgate-From": true,
	"Headgate-Hops": true, "Headgate-Request-Id": true, "Headgate-Hop": true, "X-Forwarded-For": true, "X-Forwarded-Host": true,
	"X-Forwarded-Proto": true,
}

// Whatever is sent to the edge: what reaches the upstream are whole requests in the strictest form, signed,
// of nobody (no bytes hold a valid token), with the headers that it may see and no others; and everything
// that comes back is answers.
func FuzzWire(f *testing.F) {
	files, err := filepath.Glob("testdata/corpus/*.case")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		c, err := parseCase(string(text))
		if err != nil {
			f.Fatal(err)
		}
		if raw, err := unescape(strings.ReplaceAll(c.send, "\n", "")); err == nil && !strings.Contains(c.send, "@") && !strings.Contains(c.send, "{token") {
			f.Add([]byte(raw))
		}
	}
	site := newCorpusSite(f, "")
	f.Fuzz(func(t *testing.T, sent []byte) {
		before := site.upstream.count()
		conn, err := net.Dial("tcp", site.edge.server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Write(sent)
		_ = conn.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // dialled as TCP
		answers, err := io.ReadAll(conn)
		if err != nil && len(answers) == 0 && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("%q is not answered: %v", sent, err)
		}
		if len(answers) > 0 && !strings.HasPrefix(string(answers), "HTTP/1.1 ") {
			t.Fatalf("%q is answered %q", sent, answers)
		}
		for _, text := range site.upstream.since(before) {
			checkForwarded(t, site, text)
		}
	})
}

func checkForwarded(t *testing.T, site *corpusSite, text string) {
	t.Helper()
	in := bufio.NewReader(strings.NewReader(text))
	req, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("the upstream cannot read %q: %v", text, err)
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil || in.Buffered() > 0 {
		t.Fatalf("%q does not end where it says: %v", text, err)
	}
	if path, _, err := route.Canonical([]byte(req.RequestURI)); err != nil || string(path) == "" {
		t.Fatalf("%q has not the one form: %v", text, err)
	}
	if len(req.TransferEncoding) > 0 || req.Proto != "HTTP/1.1" {
		t.Fatalf("%q: %v %s", text, req.TransferEncoding, req.Proto)
	}
	for name, values := range req.Header {
		if !upstreamMaySee[name] || len(values) != 1 {
			t.Fatalf("%q: %s must not reach the upstream, or not so often", text, name)
		}
	}
	if shown := site.shown([]string{text}); !strings.Contains(shown, "Headgate-Hop: {signature}") {
		t.Fatalf("%q is not signed", shown)
	}
}
