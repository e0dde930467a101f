package peers

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
)

// stuckConn is a connection to a peer that can be made to stand still: its buffers are full, and nothing comes
// from it, not even its end.
type stuckConn struct {
	net.Conn
	stuck, closed        chan struct{}
	stickOnce, closeOnce sync.Once
}

func (c *stuckConn) stick() { c.stickOnce.Do(func() { close(c.stuck) }) }

func (c *stuckConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.stuck:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (c *stuckConn) Write(b []byte) (int, error) {
	select {
	case <-c.stuck:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return c.Conn.Write(b)
	}
}

func (c *stuckConn) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// stuckConns collects the connections that are opened.
type stuckConns struct {
	mu   sync.Mutex
	list []*stuckConn
}

func (s *stuckConns) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &stuckConn{Conn: conn, stuck: make(chan struct{}), closed: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, c)
	return c, nil
}

// opened gives the connections that a node has to its only peer.
func (s *stuckConns) opened(n *node) (own []*stuckConn) {
	links := *n.members[0].links.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range links {
		for _, c := range s.list {
			if l.conn == net.Conn(c) {
				own = append(own, c)
			}
		}
	}
	return own
}

// Whoever keeps the links to a peer finds out that it stands still, though its pings cannot be written.
func TestAPeerThatTakesNothingIsDead(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2")
	c.ping = 50 * time.Millisecond
	var conns stuckConns
	c.dial = conns.dial
	c.startAll()
	one := c.nodes["edge-1"]
	own := conns.opened(one)
	if len(own) != one.cfg.Links {
		t.Fatalf("%d connections", len(own))
	}
	for _, conn := range own {
		conn.stick()
	}
	servicetest.Eventually(t, 30*time.Second, "the peer is taken for dead", func() bool { return one.Deaths.Load() == 1 })
	c.agree() // over new links
}

// One link that stands still is found out, too: the hops of its users would wait in vain.
func TestALinkThatTakesNothingIsReplaced(t *testing.T) {
	c := newCluster(t, "edge-1", "edge-2")
	c.ping = 50 * time.Millisecond
	var conns stuckConns
	c.dial = conns.dial
	c.startAll()
	one := c.nodes["edge-1"]
	stuck := conns.opened(one)[1]
	stuck.stick()
	servicetest.Eventually(t, 30*time.Second, "the link is closed", func() bool {
		select {
		case <-stuck.closed:
			return true
		default:
			return false
		}
	})
	c.agree()
	for i := range 20 { // over both links
		if verdict, err := one.press(c.userOf("edge-2") + string(rune('a'+i))); err != nil || verdict == refused {
			t.Errorf("%d, %v", verdict, err)
		}
	}
}
