package interceptor

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/problem"
)

// The corpus of ambiguous and hostile requests: testdata/corpus holds a file for each, with the bytes that
// are sent, the answers that must come, whether the connection is closed then, and, byte for byte, what may
// reach the upstream. An incident becomes a case by adding a file. README.txt there has the form;
// `go test -run TestCorpus -corpus.record` writes down what happens instead of checking it.
var recordCorpus = flag.Bool("corpus.record", false, "write what happens into the files of testdata/corpus")

// corpusReadTimeout is short, so that what is left unfinished is soon given up.
const corpusReadTimeout = 500 * time.Millisecond

func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*.case")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	sites := map[string]*corpusSite{}
	for _, with := range []string{"", "trusted_proxy", "cors"} {
		sites[with] = newCorpusSite(t, with)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".case"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := parseCase(string(text))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			site := sites[c.with]
			if site == nil {
				t.Fatalf("%s: with: there is no site %q", file, c.with)
			}
			answers, forwarded := site.play(t, c)
			if *recordCorpus {
				c.answers, c.upstream = answers, forwarded
				if err := os.WriteFile(file, []byte(c.text()), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if answers != c.answers {
				t.Errorf("answers:\n%swant:\n%s", answers, c.answers)
			}
			if forwarded != c.upstream {
				t.Errorf("the upstream received:\n%swant:\n%s", forwarded, c.upstream)
			}
		})
	}
}

// corpusCase is a file of the corpus.
type corpusCase struct {
	about    string // what it is, and why the answer is the right one
	with     string // the site's config; "": the default
	send     string // as written
	answers  string // a line each, at last open or closed
	upstream string // what reached it, as written
}

const (
	sendMark, answerMark, upstreamMark = "-- send\n", "-- answers\n", "-- upstream receives\n"
	withMark                           = "with: "
)

func parseCase(text string) (c corpusCase, err error) {
	about, rest, ok1 := strings.Cut(text, sendMark)
	send, rest, ok2 := strings.Cut(rest, answerMark)
	answers, upstream, ok3 := strings.Cut(rest, upstreamMark)
	if !ok1 || !ok2 || !ok3 {
		return c, fmt.Errorf("want %q, %q and %q in this order", sendMark, answerMark, upstreamMark)
	}
	c = corpusCase{about: about, send: send, answers: answers, upstream: upstream}
	if i := strings.Index(about, withMark); i >= 0 {
		c.with, _, _ = strings.Cut(about[i+len(withMark):], "\n")
	}
	return c, nil
}

func (c *corpusCase) text() string {
	return c.about + sendMark + c.send + answerMark + c.answers + upstreamMark + c.upstream
}

// play sends a case's bytes and gives the answers and what the upstream received meanwhile, in the form of
// the files.
func (s *corpusSite) play(t *testing.T, c corpusCase) (answers, forwarded string) {
	t.Helper()
	before := s.upstream.count()
	conn, err := net.Dial("tcp", s.edge.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := &player{conn: conn, in: bufio.NewReader(conn), sent: s.replace(c.send)}
	if err := p.sendAll(); err != nil {
		t.Fatalf("sending: %v", err)
	}
	p.readRest(strings.HasSuffix(c.answers, "open\n"))
	return p.answers.String(), s.shown(s.upstream.since(before))
}

// player is a connection in the middle of a case.
type player struct {
	conn    net.Conn
	in      *bufio.Reader
	sent    string
	method  string // of the request that is answered next, as far as it matters: HEAD has no body
	answers strings.Builder
	body    string // of the last answer
	ended   bool
}

// sendAll sends the lines of a case. Line ends of the file are not sent; "\r", "\n", "\t", "\\" and "\xHH" are
// escapes. "@repeat N text" sends the text so often, "@wait" waits for an answer, "@drip text" sends a byte
// every 100 ms, "@end" closes the sending half.
func (p *player) sendAll() error {
	for line := range strings.Lines(p.sent) {
		line = strings.TrimSuffix(line, "\n")
		word, rest, _ := strings.Cut(line, " ")
		var err error
		switch word {
		case "@repeat":
			number, text, _ := strings.Cut(rest, " ")
			var n int
			if n, err = strconv.Atoi(number); err == nil {
				err = p.write(strings.Repeat(text, n))
			}
		case "@wait":
			p.readAnswer()
		case "@drip":
			err = p.drip(rest)
		case "@end":
			err = p.conn.(*net.TCPConn).CloseWrite()
		default:
			err = p.write(line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *player) write(text string) error {
	raw, err := unescape(text)
	if err != nil {
		return err
	}
	if strings.HasPrefix(raw, "HEAD ") {
		p.method = "HEAD"
	}
	_, _ = io.WriteString(p.conn, raw) // the edge may have closed already, which its answers tell
	return nil
}

func (p *player) drip(text string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range len(text) {
		<-tick.C
		if err := p.write(text[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// readAnswer reads one answer and notes its status, code, and the headers that matter to the corpus.
func (p *player) readAnswer() bool {
	if p.ended {
		return false
	}
	var resp fasthttp.Response
	resp.SkipBody = p.method == "HEAD"
	p.method = ""
	if err := resp.Header.Read(p.in); err != nil {
		p.ended = true
		var network net.Error
		switch {
		case errors.Is(err, io.EOF), errors.As(err, &network) && !network.Timeout():
			p.answers.WriteString("closed\n")
		default:
			fmt.Fprintf(&p.answers, "unreadable: %v\n", err)
		}
		return false
	}
	if status := resp.StatusCode(); !resp.SkipBody && status >= 200 && status != 204 {
		if err := resp.ReadBody(p.in, 1<<20); err != nil {
			fmt.Fprintf(&p.answers, "a body that ends early: %v\n", err)
		}
	}
	p.body = string(resp.Body())
	fmt.Fprintf(&p.answers, "%d", resp.StatusCode())
	if code := resp.Header.Peek(problem.HeaderCode); len(code) > 0 {
		fmt.Fprintf(&p.answers, " %s", code)
	}
	for _, name := range []string{"Allow", "Connection", "Www-Authenticate", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
		"Access-Control-Allow-Credentials", "Access-Control-Max-Age", "Vary"} {
		for _, value := range resp.Header.PeekAll(name) {
			fmt.Fprintf(&p.answers, " %s=%q", name, value)
		}
	}
	p.answers.WriteByte('\n')
	return true
}

// probeTarget is asked for at last, to see whether the connection is still of use.
const probeTarget = "/assets/probe"

// readRest reads all answers, and finds out whether the connection is closed or open: what is open must
// answer one more request, and nothing before it that was not asked for. That request is sent at once where
// the connection is expected to be open, else when nothing comes any more.
func (p *player) readRest(open bool) {
	for !p.ended && !open {
		_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := p.in.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		p.readAnswer()
	}
	if p.ended {
		return
	}
	_ = p.conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(p.conn, "GET "+probeTarget+" HTTP/1.1\r\nHost: shop\r\n\r\n") // what comes back tells
	for p.readAnswer() {
		if p.body == probeTarget {
			lines := strings.TrimSuffix(p.answers.String(), "\n")
			p.answers.Reset()
			p.answers.WriteString(lines[:strings.LastIndexByte("\n"+lines, '\n')] + "open\n")
			return
		}
	}
}

// unescape reads the escapes of a line.
func unescape(text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			b.WriteByte(text[i])
			continue
		}
		if i++; i == len(text) {
			return "", errors.New("a backslash at the end of a line")
		}
		switch text[i] {
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '\\':
			b.WriteByte('\\')
		case 'x':
			value, err := strconv.ParseUint(text[min(i+1, len(text)):min(i+3, len(text))], 16, 8)
			if err != nil {
				return "", err
			}
			b.WriteByte(byte(value))
			i += 2
		default:
			return "", fmt.Errorf("the escape \\%c is not known", text[i])
		}
	}
	return b.String(), nil
}

// escape is the opposite, with a line for each line.
func escape(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '\n':
			b.WriteString("\\n\n")
		case c == '\r':
			b.WriteString("\\r")
		case c == '\\':
			b.WriteString(`\\`)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, "\\x%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	if raw != "" && !strings.HasSuffix(raw, "\n") {
		b.WriteByte('\n')
	}
	return b.String()
}
