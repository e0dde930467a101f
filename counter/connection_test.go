package counter_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
)

func TestProtocolErrorsAreAnsweredOnceAndClose(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	for _, c := range []struct{ input, want string }{
		{"*1000000000\r\n", "-ERR Protocol error: multibulk length exceeds 1024\r\n"},
		{"*-1\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
		{"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		{"*1\r\n$1000000000\r\n", "-ERR Protocol error: bulk length exceeds 4194304\r\n"},
		{"*1\r\n$4\r\nPINGxx", "-ERR Protocol error: expected CR LF after 4 bytes of a bulk string\r\n"},
		{"*1\r\n+OK\r\n", "-ERR Protocol error: expected '$', got '+'\r\n"},
		{"PING\r\n*1\r\n$4\r\nPING\r\n*x\r\n", "+PONG\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"},
		{request("RESERVE", "none", "u", "1", "") + "*x\r\n", "*2\r\n$7\r\nno_sale\r\n:0\r\n-ERR Protocol error: invalid multibulk length\r\n"},
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "-ERR Protocol error: this port speaks RESP, not HTTP\r\n"},
		{strings.Repeat("x", 70_000), "-ERR Protocol error: inline request exceeds 65536 bytes\r\n"},
		{"PING \"x\r\n", "-ERR Protocol error: unbalanced quotes in inline request\r\n"},
	} {
		conn := dial(t, s.Addr())
		conn.send(c.input)
		if err := conn.nc.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
			t.Error(err)
		}
		got, err := io.ReadAll(conn.in)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%.40q: %v", c.input, err)
		}
		if string(got) != c.want {
			t.Errorf("%.40q: got %q, want %q", c.input, got, c.want)
		}
	}
	for _, cut := range []string{"*2\r\n", "*1\r\n$4\r\nPI", "PIN"} {
		conn := dial(t, s.Addr())
		conn.send(cut)
		_ = conn.nc.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(conn.in)
		if want := "-ERR Protocol error: the connection ended within a request\r\n"; string(got) != want {
			t.Errorf("%q: got %q, want %q", cut, got, want)
		}
	}
	dial(t, s.Addr()).want("+PONG", "PING")
}

// Replies come in the order of the requests, whether the log, memory or the server decides.
func TestPipelineKeepsOrder(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	c := dial(t, s.Addr())
	c.open("1", 100, 1)
	var out strings.Builder
	const rounds = 300
	for i := range rounds {
		user := fmt.Sprintf("u%d", i)
		out.WriteString(request("RESERVE", "1", user, "1", "k"))
		out.WriteString(request("ECHO", user))
		out.WriteString(request("RESERVE", "1", user, "1", "k"))
		out.WriteString(request("NOTHING"))
		out.WriteString(request("RESERVE", "none", user, "1", "k"))
		out.WriteString(request("USER", "1", user))
	}
	go func() { _, _ = io.WriteString(c.nc, out.String()) }()
	held := 0
	for i := range rounds {
		user := fmt.Sprintf("u%d", i)
		first := c.reply()
		if got := c.reply(); got != `"`+user+`"` {
			t.Fatalf("round %d: ECHO gave %s", i, got)
		}
		again := c.reply()
		if got := c.reply(); got != "-ERR unknown command 'NOTHING'" {
			t.Fatalf("round %d: unknown command gave %s", i, got)
		}
		if got := c.reply(); got != `["no_sale" :0]` {
			t.Fatalf("round %d: unknown sale gave %s", i, got)
		}
		orders := c.reply()
		switch {
		case strings.HasPrefix(first, `["reserved"`):
			held++
			want, _, _ := strings.Cut(strings.Replace(first, "reserved", "already", 1), " :") // the expiry is advisory
			if !strings.HasPrefix(again, want) || !strings.Contains(orders, `"`+user+`"`) {
				t.Fatalf("round %d: %s, then %s, then %s", i, first, again, orders)
			}
		case first != `["sold_out" :100]` || again != first || orders != "[]":
			t.Fatalf("round %d: %s, then %s, then %s", i, first, again, orders)
		}
	}
	if held != 100 {
		t.Errorf("%d were held of 100", held)
	}
}

// What gives units back counts for the requests behind it in the pipeline.
func TestPipelineSeesItsOwnRelease(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	c := dial(t, s.Addr())
	c.open("1", 1, 0)
	order := c.reserve("1", "u1", 1, "")
	c.want(`["sold_out" :1]`, "RESERVE", "1", "u2", "1", "")
	c.send(request("ABORT", order, "refused") + request("RESERVE", "1", "u2", "1", ""))
	if got := c.reply(); got != "+released" {
		t.Errorf("ABORT: %s", got)
	}
	if got := c.reply(); !strings.HasPrefix(got, `["reserved"`) {
		t.Errorf("RESERVE after ABORT: %s", got)
	}
}

func TestPasswords(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.ClientPassword, cfg.OperatorPassword = "buyer-secret", "operator-secret"
	s := start(t, cfg)
	c := dial(t, s.Addr())
	const noAuth = "-NOAUTH Authentication required."
	for _, name := range []string{"PING", "INFO", "SALE.LIST", "COMMAND"} {
		c.want(noAuth, name)
	}
	c.want("-ERR Protocol error: bulk length exceeds 4096", "ECHO", strings.Repeat("x", 5000))

	c = dial(t, s.Addr())
	c.want("-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "wrong")
	c.want("-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "operator", "buyer-secret")
	c.want("+OK", "AUTH", "buyer-secret")
	c.want(`["no_sale" :0]`, "RESERVE", "1", "u", "1", "")
	for _, args := range [][]string{
		{"SALE.OPEN", terms("1", 1, 1)},
		{"SALE.PAUSE", "1", "2"},
		{"SALE.RESTORE", "{}"},
		{"BAN", "user", "x", "0", ""},
		{"AUDIT", "1"},
		{"HOLDS", "1", "held", "0", "1"},
	} {
		c.want("-NOPERM "+args[0]+" needs the operator's password", args...)
	}
	c.want("+OK", "AUTH", "operator", "operator-secret")
	c.want("+OK", "SALE.OPEN", terms("1", 1, 1))
	c.want("+RESET", "RESET")
	c.want(noAuth, "PING")
	if got := c.do("HELLO", "2", "AUTH", "default", "buyer-secret"); !strings.HasPrefix(got, `["server"`) {
		t.Errorf("HELLO: %s", got)
	}
	c.want("+PONG", "PING")

	c = dial(t, s.Addr())
	for range 3 {
		c.want("-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "guess")
	}
	if _, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after three wrong passwords: %v", err)
	}
}

func TestTooManyConnections(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Limits.Connections = 2
	s := start(t, cfg)
	one, two := dial(t, s.Addr()), dial(t, s.Addr())
	one.want("+PONG", "PING")
	two.want("+PONG", "PING")
	three := dial(t, s.Addr())
	if got := three.reply(); !strings.HasPrefix(got, "-BUSY ") {
		t.Errorf("the third connection: %s", got)
	}
	one.nc.Close()
	servicetest.Eventually(t, 30*time.Second, "a place is free", func() bool {
		c := dial(t, s.Addr())
		defer c.nc.Close()
		c.send("PING\r\n")
		got, err := readReply(c.in)
		return err == nil && got == "+PONG"
	})
}

func TestIdleConnectionIsClosed(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Limits.IdleTimeout = time.Second
	s := start(t, cfg)
	c := dial(t, s.Addr())
	c.want("+PONG", "PING")
	if _, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end of the connection", err)
	}
}

// A client that asks without reading is closed, and costs a bounded buffer meanwhile.
func TestSlowClientIsClosed(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Limits.WriteTimeout = 50 * time.Millisecond
	s := start(t, cfg)
	c := dial(t, s.Addr())
	if err := c.nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	text := []byte(request("ECHO", strings.Repeat("x", 60_000)))
	for {
		if _, err := c.nc.Write(text); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the counter neither read nor closed")
			}
			break
		}
	}
	dial(t, s.Addr()).want("+PONG", "PING")
}

// Stopping answers what was sent, closes idle connections at once, and refuses new ones.
func TestDrain(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	idle := dial(t, s.Addr())
	idle.want("+PONG", "PING")
	busy := dial(t, s.Addr())
	busy.open("1", 1000, 0)
	const n = 200
	for i := range n {
		busy.send(request("RESERVE", "1", fmt.Sprintf("u%d", i), "1", ""))
	}
	if got := busy.reply(); !strings.HasPrefix(got, `["reserved"`) {
		t.Fatal(got)
	}
	if err := s.stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if _, err := idle.in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the idle connection: %v", err)
	}
	for { // whatever was answered was done: no error, no half reply
		got, err := readReply(busy.in)
		if err != nil {
			if busy.in.Buffered() > 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the end of the replies: %v", err)
			}
			break
		}
		if !strings.HasPrefix(got, `["reserved"`) {
			t.Errorf("while stopping: %s", got)
		}
	}
	if nc, err := net.Dial("tcp", s.Addr()); err == nil {
		nc.Close()
		t.Error("the stopped counter accepts connections")
	}
}

func TestRedisCLI(t *testing.T) {
	cli := servicetest.Need(t, "HEADGATE_TEST_REDIS_CLI")
	cfg := testConfig(t.TempDir())
	cfg.ClientPassword, cfg.OperatorPassword = "buyer-secret", "operator-secret"
	s := start(t, cfg)
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	run := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), cli, append([]string{"-h", host, "-p", port}, args...)...)
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH=operator-secret")
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, c := range []struct{ got, want string }{
		{run("", "PING"), "PONG"},
		{run("", "SALE.OPEN", terms("1", 1, 1)), "OK"},
		{run("", "SALE.RESUME", "1", "2"), "OK"},
		{run("RESERVE 1 u1 1 \"\"\nRESERVE 1 u2 1 \"\"\n"), "reserved"},
		{run("", "--pipe"), "errors: 0, replies: 0"},
		{run("", "SALE.INFO", "1"), "sold_out"},
		{run("", "INFO", "server"), "redis_mode:standalone"},
		{run("", "-2", "CLIENT", "ID"), ""},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("got %q, want %q in it", c.got, c.want)
		}
	}
	in := bufio.NewScanner(strings.NewReader(run("", "USER", "1", "u1")))
	if !in.Scan() || in.Text() != "order" {
		t.Errorf("USER starts with %q", in.Text())
	}
}
