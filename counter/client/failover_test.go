package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"headgate.example/counter/client"
)

// threeVoters is a client of these voters, of which the first is asked first.
func threeVoters(t *testing.T, n *fakes, timeout time.Duration, voters ...*fake) *client.Client {
	t.Helper()
	cfg := clientConfig(voters[0].addr())
	cfg.Timeout = timeout
	for _, v := range voters[1:] {
		cfg.Shards[0].Addresses = append(cfg.Shards[0].Addresses, v.addr())
	}
	return n.open(t, cfg)
}

// A leader that is paused or cut off answers nothing. The others still name it for a moment, have no
// leader for another, and then there is a new one: one call sees it through, and the next ones find the
// new leader at once.
func TestSilentLeaderIsReplacedWithinOneCall(t *testing.T) {
	inBubble(t, func(t *testing.T, n *fakes) {
		paused := n.add(t, always(silence))
		next := n.add(t, inOrder("-MOVED 0 "+paused.addr()+"\r\n", "-MOVED 0 "+paused.addr()+"\r\n", "-TRYAGAIN no leader serves yet\r\n", reserved))
		other := n.add(t, always("-MOVED 0 "+next.addr()+"\r\n"))
		c := threeVoters(t, n, 4*time.Second, paused, next, other)
		for range 3 {
			if r, err := c.Reserve(t.Context(), "1", "u", 1, "k"); err != nil || r.Code != client.CodeReserved {
				t.Fatalf("%+v, %v", r, err)
			}
		}
		if n := paused.count(); n != 1 {
			t.Errorf("the silent leader was asked %d times", n)
		}
	})
}

// What a call was told decides what its caller is told.
func TestOutcomesWhileThereIsNoLeader(t *testing.T) {
	const tryAgain, unknown = "-TRYAGAIN no leader serves yet\r\n", "-UNKNOWN leadership lost while committing log\r\n"
	for _, c := range []struct {
		name   string
		first  func([]string) string // of the voter that is asked first; the others have no leader
		change error
		read   error
	}{
		{"never accepted", always(tryAgain), client.ErrUnavailable, client.ErrUnavailable},
		{"leadership lost in flight", inOrder(unknown, tryAgain), client.ErrUnknown, client.ErrUnavailable},
		{"no answer", always(silence), client.ErrUnknown, client.ErrUnavailable},
		{"cut in the middle", always(hangUp), client.ErrUnknown, client.ErrUnavailable},
		{"busy after doubt", inOrder(unknown, "-BUSY\r\n"), client.ErrUnknown, client.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *fakes) {
				shard := threeVoters(t, n, 300*time.Millisecond, n.add(t, c.first), n.add(t, always(tryAgain)), n.add(t, always(tryAgain)))
				if _, err := shard.Abort(t.Context(), 4194304, "test"); !errors.Is(err, c.change) {
					t.Errorf("a change: %v, want %v", err, c.change)
				}
				shard = threeVoters(t, n, 300*time.Millisecond, n.add(t, c.first), n.add(t, always(tryAgain)), n.add(t, always(tryAgain)))
				if _, err := shard.Order(t.Context(), 4194304); !errors.Is(err, c.read) && !strings.Contains(c.name, "busy") {
					t.Errorf("a read: %v, want %v", err, c.read)
				}
			})
		})
	}
}

// A caller's time may end at any moment of an attempt: while nobody could be connected to, nothing was sent.
func TestNothingIsInDoubtWithoutAConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *fakes) {
		for timeout := 100 * time.Millisecond; timeout < 300*time.Millisecond; timeout += time.Millisecond {
			cfg := clientConfig("away:7380")
			cfg.Timeout = timeout
			c, err := client.Open(cfg, client.WithDial(func(context.Context, string) (net.Conn, error) {
				time.Sleep(13 * time.Millisecond) // of the bubble's clock
				return nil, syscall.ECONNREFUSED
			}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Abort(t.Context(), 4194304, "test"); !errors.Is(err, client.ErrUnavailable) {
				t.Errorf("within %s: %v", timeout, err)
			}
			c.Close()
		}
	})
}
