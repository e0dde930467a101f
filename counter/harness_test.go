package counter_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/counter"
	"headgate.example/counter/replica"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clocks are a wall clock and a monotonic one that tests move.
type clocks struct {
	mu        sync.Mutex
	wall      time.Time
	monotonic time.Duration
}

func newClocks() *clocks { return &clocks{wall: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clocks) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *clocks) elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.monotonic
}

// pass moves both clocks.
func (c *clocks) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
	c.monotonic += d
}

// set moves the wall clock alone.
func (c *clocks) set(wall time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = wall
}

func (c *clocks) options() []counter.Option {
	return []counter.Option{counter.WithClock(c.now), counter.WithMonotonic(c.elapsed)}
}

func testConfig(dir string) counter.Config {
	cfg := counter.DefaultConfig()
	cfg.EventLoops = eventLoops
	cfg.Service.Admin = ""
	cfg.Service.DrainFor = 5 * time.Second
	cfg.Listen = "127.0.0.1:0"
	cfg.RaftListen = ""
	cfg.DataDir = dir
	cfg.Bootstrap = true
	return cfg
}

func smallSegments(c *replica.Config) { c.SegmentBytes = 1 << 20 }

// running is a counter that serves.
type running struct {
	*counter.Server
	rt   *service.Runtime
	stop func() error
}

// start opens a counter, runs it, and waits until it leads. It is stopped at the test's end at the
// latest.
func start(t testing.TB, cfg counter.Config, opts ...counter.Option) *running {
	t.Helper()
	rt := service.NewRuntime("counter", servicetest.Log(t))
	s, err := counter.Open(t.Context(), cfg, rt, append([]counter.Option{counter.WithReplica(smallSegments)}, opts...)...)
	if err != nil {
		t.Fatalf("opening the counter: %v", err)
	}
	r := serve(t, s, rt)
	servicetest.Eventually(t, 30*time.Second, "the counter leads", func() bool { return s.Ready() == nil })
	return r
}

// serve runs an opened counter until it is told to stop, or the test ends.
func serve(t testing.TB, s *counter.Server, rt *service.Runtime) *running {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	var stopped error
	r := &running{Server: s, rt: rt, stop: func() error {
		once.Do(func() {
			cancel()
			stopped = <-done
		})
		return stopped
	}}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// socket is a raw connection to a counter.
type socket struct {
	t  testing.TB
	nc net.Conn
	in *bufio.Reader
}

func dial(t testing.TB, addr string) *socket {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &socket{t: t, nc: nc, in: bufio.NewReader(nc)}
}

func (s *socket) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.nc, text); err != nil {
		s.t.Fatalf("sending %.60q: %v", text, err)
	}
}

// request encodes arguments as an array of bulk strings.
func request(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

// do sends one request and gives its reply as text: see reply.
func (s *socket) do(args ...string) string {
	s.t.Helper()
	s.send(request(args...))
	return s.reply()
}

// reply reads one reply: +simple, -error, :1, "bulk", nil, [a b].
func (s *socket) reply() string {
	s.t.Helper()
	text, err := readReply(s.in)
	if err != nil {
		s.t.Fatalf("reading a reply: %v", err)
	}
	return text
}

func readReply(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch line[0] {
	case '+', '-', ':':
		return line, nil
	case '$', '*':
		n, err := strconv.Atoi(line[1:])
		if err != nil {
			return "", err
		}
		if n < 0 {
			return "nil", nil
		}
		if line[0] == '$' {
			text := make([]byte, n+2)
			_, err := io.ReadFull(in, text)
			return strconv.Quote(string(text[:n])), err
		}
		parts := make([]string, n)
		for i := range parts {
			if parts[i], err = readReply(in); err != nil {
				return "", err
			}
		}
		return "[" + strings.Join(parts, " ") + "]", nil
	}
	return "", fmt.Errorf("unexpected line %q", line)
}

// field finds a value in a flat array that reply gave.
func field(reply, name string) string {
	words := strings.Fields(strings.Trim(reply, "[]"))
	for i := 0; i+1 < len(words); i += 2 {
		if words[i] == strconv.Quote(name) {
			return strings.Trim(words[i+1], `"`)
		}
	}
	return ""
}

// terms is the JSON of a sale that is open already.
func terms(id string, stock, limit int) string {
	return fmt.Sprintf(`{"id":%q,"revision":1,"stock":%d,"limit":%d,"opens_at":1767225600000,"hold_for_ms":30000,"retain_for_ms":86400000,"shards":["s1"],"ring":{"partitions":271,"replicas":100,"load":1.05}}`, id, stock, limit)
}

// open opens and resumes a sale.
func (s *socket) open(id string, stock, limit int) {
	s.t.Helper()
	s.want("+OK", "SALE.OPEN", terms(id, stock, limit))
	s.want("+OK", "SALE.RESUME", id, "2")
}

func (s *socket) want(reply string, args ...string) {
	s.t.Helper()
	if got := s.do(args...); got != reply {
		s.t.Errorf("%.200v: got %s, want %s", args, got, reply)
	}
}

// reserve gives the order id of a new hold.
func (s *socket) reserve(sale, user string, quantity int, key string) string {
	s.t.Helper()
	got := s.do("RESERVE", sale, user, strconv.Itoa(quantity), key)
	words := strings.Fields(strings.Trim(got, "[]"))
	if len(words) != 6 || words[0] != `"reserved"` {
		s.t.Fatalf("RESERVE %s %s: %s", sale, user, got)
	}
	return strings.Trim(words[1], `"`)
}

// copyDir copies a data folder as a crash would leave it.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(filepath.Join(to, "copy"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(to, "copy")
}
