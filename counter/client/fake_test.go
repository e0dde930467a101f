package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"headgate.example/counter/client"
	"headgate.example/counter/resp"
	"headgate.example/lib/sale"
)

// fakes are the counters that are made up, by their addresses. Their connections are pipes, so that a test can
// run on the clock of a bubble.
type fakes struct {
	mu   sync.Mutex
	list []*fake
}

// inBubble runs a test with made up counters on a clock that goes on when everybody waits.
func inBubble(t *testing.T, test func(t *testing.T, n *fakes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, &fakes{}) })
}

// fake is a counter that answers what a test says.
type fake struct {
	t       *testing.T
	address string
	clients chan net.Conn
	gone    chan struct{} // closed by stop
	stop    func()

	mu     sync.Mutex
	answer func(args []string) string // the raw reply; hangUp, silence
	asked  [][]string
	conns  map[net.Conn]bool
	served sync.WaitGroup
}

const (
	hangUp  = "hang up"
	silence = "silence"
)

func (n *fakes) add(t *testing.T, answer func(args []string) string) *fake {
	t.Helper()
	f := &fake{t: t, clients: make(chan net.Conn), gone: make(chan struct{}), answer: answer, conns: make(map[net.Conn]bool)}
	f.stop = sync.OnceFunc(f.end)
	n.mu.Lock()
	f.address = fmt.Sprintf("fake-%d:7380", len(n.list)+1)
	n.list = append(n.list, f)
	n.mu.Unlock()
	f.served.Go(func() {
		for {
			select {
			case nc := <-f.clients:
				f.mu.Lock()
				f.conns[nc] = true
				f.mu.Unlock()
				f.served.Go(func() { f.serve(nc) })
			case <-f.gone:
				return
			}
		}
	})
	t.Cleanup(f.stop)
	return f
}

// dial connects to the fake with an address.
func (n *fakes) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := slices.IndexFunc(n.list, func(f *fake) bool { return f.address == address })
	if at < 0 {
		return nil, fmt.Errorf("nobody is at %s", address)
	}
	client, server := net.Pipe()
	select {
	case n.list[at].clients <- server:
		return client, nil
	case <-n.list[at].gone:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open gives a client of fakes.
func (n *fakes) open(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.Open(cfg, client.WithDial(n.dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (f *fake) end() {
	close(f.gone)
	f.mu.Lock()
	for nc := range f.conns {
		nc.Close()
	}
	f.mu.Unlock()
	f.served.Wait()
}

func (f *fake) addr() string { return f.address }

func (f *fake) serve(nc net.Conn) {
	defer nc.Close()
	in := resp.NewReader(nc, resp.DefaultLimits())
	for in.Fill() == nil {
		for {
			args, ok, err := in.Next()
			if err != nil || !ok {
				break
			}
			var words []string
			for _, a := range args {
				words = append(words, string(a))
			}
			reply := "+PONG\r\n"
			switch words[0] {
			case "PING":
			case "HELLO":
				reply = "*2\r\n$5\r\nproto\r\n:2\r\n"
			default:
				f.mu.Lock()
				f.asked = append(f.asked, words)
				reply = f.answer(words)
				f.mu.Unlock()
			}
			if reply == hangUp {
				return
			}
			if reply == silence { // from now on, as a paused process
				_, _ = io.Copy(io.Discard, nc)
				return
			}
			_, _ = io.WriteString(nc, reply)
		}
	}
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func always(reply string) func([]string) string { return func([]string) string { return reply } }

// inOrder gives one reply after the other, the last one again and again.
func inOrder(replies ...string) func([]string) string {
	n := 0
	return func([]string) string {
		n++
		return replies[min(n, len(replies))-1]
	}
}

const reserved = "*6\r\n$8\r\nreserved\r\n$4\r\n4097\r\n$4\r\nheld\r\n:1\r\n:1\r\n:5\r\n"

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func([]string) string
		want   error // nil: reserved
		not    error
	}{
		{"at once", always(reserved), nil, nil},
		{"try again, then yes", inOrder("-TRYAGAIN no leader\r\n", "-TRYAGAIN no leader\r\n", reserved), nil, nil},
		{"unknown, then yes", inOrder("-UNKNOWN lost\r\n", reserved), nil, nil},
		{"lost connection, then yes", inOrder(hangUp, reserved), nil, nil},
		{"always try again", always("-TRYAGAIN no leader\r\n"), client.ErrUnavailable, client.ErrUnknown},
		{"always unknown", always("-UNKNOWN lost\r\n"), client.ErrUnknown, client.ErrUnavailable},
		{"unknown once, then never accepted", inOrder("-UNKNOWN lost\r\n", "-TRYAGAIN no leader\r\n"), client.ErrUnknown, client.ErrUnavailable},
		{"lost connections", always(hangUp), client.ErrUnknown, client.ErrUnavailable},
		{"silence", always(silence), client.ErrUnknown, client.ErrUnavailable},
		{"busy", always("-BUSY queue\r\n"), client.ErrBusy, client.ErrUnknown},
		{"unknown, then busy", inOrder("-UNKNOWN lost\r\n", "-BUSY queue\r\n"), client.ErrUnknown, client.ErrBusy},
		{"lost connection, then no password", inOrder(hangUp, "-NOAUTH no\r\n"), client.ErrUnknown, client.ErrForbidden},
		{"no password", always("-NOAUTH Authentication required.\r\n"), client.ErrForbidden, nil},
		{"wrong shard", always("-WRONGSHARD s7\r\n"), client.ErrUnavailable, client.ErrUnknown},
		{"later version's error", always("-PANIC now\r\n"), client.ErrUnknown, nil},
		{"a number", always(":1\r\n"), client.ErrUnknown, nil},
		{"null", always("$-1\r\n"), client.ErrUnknown, nil},
		{"another refusal", always("*2\r\n$5\r\nnever\r\n:0\r\n"), client.ErrUnknown, nil},
		{"five elements", always("*5\r\n$8\r\nreserved\r\n$4\r\n4097\r\n$4\r\nheld\r\n:1\r\n:1\r\n"), client.ErrUnknown, nil},
		{"no order id", always(strings.Replace(reserved, "4097", "x097", 1)), client.ErrUnknown, nil},
		{"no state", always(strings.Replace(reserved, "held", "hold", 1)), client.ErrUnknown, nil},
		{"refusal with an order", always(strings.Replace(reserved, "$8\r\nreserved", "$8\r\nsold_out", 1)), client.ErrUnknown, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *fakes) {
				cfg := clientConfig(n.add(t, c.answer).addr())
				cfg.Timeout = 300 * time.Millisecond
				r, err := n.open(t, cfg).Reserve(t.Context(), "1", "u", 1, "k")
				switch {
				case c.want == nil && (err != nil || r.Order != 4097):
					t.Errorf("got %+v, %v", r, err)
				case c.want != nil && !errors.Is(err, c.want):
					t.Errorf("got %v, want %v", err, c.want)
				case c.not != nil && errors.Is(err, c.not):
					t.Errorf("got %v, which is also %v", err, c.not)
				}
			})
		})
	}
}

// A caller's ended context is told, and does not disturb the others on the connection.
func TestContextEndsOneCall(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		f := n.add(t, func(args []string) string {
			if args[2] == "slow" {
				return silence
			}
			return reserved
		})
		cfg := clientConfig(f.addr())
		cfg.Connections, cfg.Timeout = 1, 5*time.Second
		c := n.open(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := c.Reserve(ctx, "1", "slow", 1, "")
		if !errors.Is(err, client.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFollowsTheLeader(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		leader := n.add(t, always(reserved))
		follower := n.add(t, always("-MOVED 0 "+leader.addr()+"\r\n"))
		c := n.open(t, clientConfig(follower.addr(), leader.addr()))
		for range 5 {
			if r, err := c.Reserve(t.Context(), "1", "u", 1, ""); err != nil || r.Order != 4097 {
				t.Fatalf("got %+v, %v", r, err)
			}
		}
		if follower.count() != 1 || leader.count() != 5 {
			t.Errorf("the follower was asked %d times, the leader %d times", follower.count(), leader.count())
		}
		// When the leader is gone, another voter knows the next one.
		leader.stop()
		follower.mu.Lock()
		follower.answer = always(reserved)
		follower.mu.Unlock()
		if r, err := c.Reserve(t.Context(), "1", "u", 1, ""); err != nil || r.Order != 4097 {
			t.Errorf("after the leader's end: %+v, %v", r, err)
		}
	})
}

// The seam for several shards: users go where the sale's pinned ring says, orders where their id says.
func TestSeveralShards(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		names := []string{"s1", "s2", "s3"}
		pinned := sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05}
		info := func(available int) string {
			pairs := []string{
				"id", "1", "revision", "2", "paused", "0", "closed", "0", "forgotten", "0", "stock", "60", "limit", "0", "opens_at", "1",
				"ends_at", "0", "next_release_at", "0", "hold_for_ms", "30000", "retain_for_ms", "86400000", "alloc", "20", "taken", "0",
				"given", "0", "scheduled", "0", "available", fmt.Sprint(available), "held", fmt.Sprint(20 - available), "confirmed", "0", "debt", "0",
				"released_total", "0", "expired_total", "0", "supply_version", "1", "now", "5", "shards", "s3,s1,s2",
				"ring_partitions", "271", "ring_replicas", "100", "ring_load", "1.05",
				"held_orders", "1", "confirmed_orders", "0", "excess_orders", "0", "violation", "", "index", "9",
			}
			return "*%d\r\n" + bulks(pairs) // the count comes with the shard's name
		}
		cfg := client.DefaultConfig()
		cfg.Shards = nil
		fakes := map[string]*fake{}
		for i, name := range names {
			f := n.add(t, func(args []string) string {
				switch args[0] {
				case "SALE.INFO", "AUDIT":
					body := info(10+i) + bulks([]string{"shard", name})
					return fmt.Sprintf(body, strings.Count(body, "$"))
				case "CONFIRM":
					if name == "s3" {
						return "-BUSY queue\r\n"
					}
					return fmt.Sprintf("*%d\r\n", len(args)-1) + strings.Repeat("$9\r\nconfirmed\r\n", len(args)-1)
				case "RULES":
					return "*4\r\n$4\r\nfull\r\n:0\r\n:1\r\n*0\r\n"
				case "SALE.OPEN", "SALE.PAUSE", "BAN":
					return "+OK\r\n"
				}
				return reserved
			})
			fakes[name] = f
			cfg.Shards = append(cfg.Shards, client.Shard{Name: name, Number: i + 1, Addresses: []string{f.addr()}})
		}
		c := n.open(t, cfg)
		ring, err := client.PinnedRing([]string{"s3", "s1", "s2"}, pinned)
		if err != nil {
			t.Fatal(err)
		}
		used := map[string]int{}
		for i := range 60 {
			user := fmt.Sprintf("u%d", i)
			if _, err := c.Reserve(t.Context(), "1", user, 1, ""); err != nil {
				t.Fatal(err)
			}
			owner := fakes[ring.Owner(user)]
			owner.mu.Lock()
			last := owner.asked[len(owner.asked)-1]
			owner.mu.Unlock()
			if !slices.Equal(last, []string{"RESERVE", "1", user, "1", ""}) {
				t.Fatalf("%s belongs to %s, which was last asked %v", user, ring.Owner(user), last)
			}
			used[ring.Owner(user)]++
		}
		if len(used) != 3 {
			t.Errorf("users were spread over %v", used)
		}

		ids := []sale.OrderID{sale.MakeOrderID(1, 2, 1), sale.MakeOrderID(1, 3, 1), sale.MakeOrderID(1, 1, 1), sale.MakeOrderID(1, 900, 1)}
		codes, err := c.Confirm(t.Context(), ids...)
		if want := []client.ConfirmCode{"confirmed", "unavailable", "confirmed", "unavailable"}; err != nil || !slices.Equal(codes, want) {
			t.Errorf("confirming: %v, %v; want %v", codes, err, want)
		}
		if sum, err := c.SaleInfo(t.Context(), "1"); err != nil || sum.Alloc != 60 || sum.Available != 33 || sum.Held != 27 || sum.Stock != 60 {
			t.Errorf("sum: %+v, %v", sum, err)
		}
		if audit, err := c.Audit(t.Context(), "1"); err != nil || !audit.Holds || audit.Total.Alloc != 60 || audit.Total.Stock != 60 || len(audit.Shards) != 3 {
			t.Errorf("audit: %+v, %v", audit, err)
		}
		before := map[string]int{}
		for name, f := range fakes {
			before[name] = f.count()
		}
		open := terms("2", 9, 0)
		open.Shards = names
		if err := c.OpenSale(t.Context(), open); err != nil {
			t.Error(err)
		}
		for name, f := range fakes {
			if f.count() != before[name]+1 {
				t.Errorf("%s was not told of the new sale", name)
			}
		}
		open.Shards = []string{"s1", "s9"}
		if wrong := (*client.RequestError)(nil); !errors.As(c.OpenSale(t.Context(), open), &wrong) || wrong.Field != "shards" {
			t.Error("a sale on an unknown shard was opened")
		}
		if err := c.Ban(t.Context(), "user", "x", 0, ""); err != nil || fakes["s1"].asked[len(fakes["s1"].asked)-1][0] != "BAN" {
			t.Errorf("bans belong to the first shard: %v", err)
		}
	})
}

func bulks(texts []string) string {
	var b strings.Builder
	for _, text := range texts {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(text), text)
	}
	return b.String()
}
