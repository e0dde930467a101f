package peers

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/interceptor/userkey"
	"headgate.example/lib/auth"
	"headgate.example/lib/service/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testKeys(t testing.TB) *auth.Keyring {
	t.Helper()
	keys, err := auth.NewKeyring([]auth.SymmetricKey{{ID: "h1", Secret: "hop-secret-0123456789"}})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// counts is a Store of how often each key was used, and never forgets by time.
type counts struct {
	mu   sync.Mutex
	used map[uint64]int64
}

func (c *counts) StoreName() string { return "counts" }

func (c *counts) Take(moves func(uint64) bool, yield func(uint64, int64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, n := range c.used {
		if moves(key) {
			yield(key, n)
			delete(c.used, key)
		}
	}
}

func (c *counts) Import(key uint64, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used[key] = max(c.used[key], n)
}

// take uses a key once, unless it was used so often already.
func (c *counts) take(key uint64, most int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used[key] >= most {
		return false
	}
	c.used[key]++
	return true
}

func (c *counts) has(key uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used[key] > 0
}

// node is one edge without HTTP: a press is a request of a user, allowed so often.
type node struct {
	*Set
	t        testing.TB
	cluster  *cluster
	counts   *counts
	listener net.Listener
	stop     context.CancelFunc
	done     sync.WaitGroup
	conns    sync.Map
	blocked  atomic.Pointer[chan struct{}] // hops wait for it before they are answered
	served   atomic.Int64
}

type cluster struct {
	t     testing.TB
	peers []Peer
	most  int64 // presses that a user is allowed
	nodes map[string]*node
	keys  userkey.Hasher
	log   *slog.Logger
	away  string        // owner_away; "": the default
	ping  time.Duration // interval; 0: half a second
	dial  func(ctx context.Context, address string) (net.Conn, error)
	more  []Store // of each node, after its counts
}

func newCluster(t testing.TB, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, most: 5, nodes: map[string]*node{}, keys: userkey.New([]byte("users")), log: servicetest.Log(t)}
	for _, name := range names {
		c.peers = append(c.peers, Peer{Name: name, Address: servicetest.FreePort(t)})
	}
	return c
}

func (c *cluster) start(name string) *node {
	c.t.Helper()
	at := slices.IndexFunc(c.peers, func(p Peer) bool { return p.Name == name })
	var l net.Listener
	servicetest.Eventually(c.t, 30*time.Second, "the address is free", func() (free bool) {
		var err error
		l, err = net.Listen("tcp", c.peers[at].Address)
		return err == nil
	})
	cfg := DefaultConfig()
	// Stalls are no deaths: a peer whose connections break is dead at once all the same.
	cfg.PingInterval, cfg.ConnectTimeout = cmp.Or(c.ping, 500*time.Millisecond), 10*time.Second
	cfg.OwnerAway = cmp.Or(c.away, cfg.OwnerAway)
	n := &node{t: c.t, cluster: c, counts: &counts{used: map[uint64]int64{}}, listener: l}
	keys := testKeys(c.t)
	n.Set = New(Options{Self: name, Peers: c.peers, Config: cfg, Careful: 100 * time.Millisecond, Keys: func() *auth.Keyring { return keys }, Clock: time.Now,
		Wall: func() int64 { return time.Now().UnixMilli() }, ConfigHash: func() string { return "same" }, Stores: append([]Store{n.counts}, c.more...),
		Log: c.log.With("node", name), Dial: c.dial})
	n.SetHandler(n)
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = sync.OnceFunc(func() {
		_ = l.Close()
		cancel()
		n.conns.Range(func(conn, _ any) bool { _ = conn.(net.Conn).Close(); return true })
		n.done.Wait()
	})
	n.done.Go(func() { n.Run(ctx) })
	n.done.Go(n.accept)
	c.nodes[name] = n
	c.t.Cleanup(n.stop)
	return n
}

// startAll starts nodes and waits until they agree.
func (c *cluster) startAll() {
	c.t.Helper()
	for _, p := range c.peers {
		c.start(p.Name)
	}
	c.agree()
}

// agree waits until all nodes that run have the same ring of all of them, and nothing is on its way.
func (c *cluster) agree() {
	c.t.Helper()
	servicetest.Eventually(c.t, 30*time.Second, "the nodes agree", func() bool {
		for _, n := range c.nodes {
			r := n.Report()
			live, _ := n.Live()
			if !r.Agreed || r.Pending > 0 || live != len(c.nodes) || n.pending.Load() > 0 {
				return false
			}
			n.mu.Lock()
			held := n.held
			n.mu.Unlock()
			if held != (heldParts{}) {
				return false
			}
		}
		return true
	})
}

// kill ends a node without a word.
func (c *cluster) kill(name string) {
	n := c.nodes[name]
	delete(c.nodes, name)
	n.stop()
}

func (n *node) accept() {
	for {
		conn, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.conns.Store(conn, nil)
		n.done.Go(func() {
			defer conn.Close()
			reader := bufio.NewReader(conn)
			req, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			consent, err := n.Accept(req.URL.RawQuery, req.Header.Get(auth.HeaderFrom), req.Header.Get(auth.HeaderHop))
			if err != nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 404 Not Found\r\n\r\n")
				return
			}
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\n%s: %s\r\n\r\n", auth.HeaderHop, consent.Signature)
			n.Serve(conn, consent)
		})
	}
}

// ServeHop implements Handler.
func (n *node) ServeHop(hop Hop) {
	n.served.Add(1)
	key := binary.BigEndian.Uint64(hop.Payload)
	place, section := n.Arrive(key, hop.Epoch)
	blocked := n.blocked.Load()
	if place.Kind != Pending && blocked == nil {
		n.answer(hop, key, place, section)
		return
	}
	n.done.Go(func() {
		if blocked != nil {
			<-*blocked
		}
		if place.Kind == Pending {
			place, section = n.Await(key, hop.Epoch)
		}
		n.answer(hop, key, place, section)
	})
}

func (n *node) answer(hop Hop, key uint64, place Place, section Section) {
	if place.Kind == Away {
		hop.Moved(place.Owner.Name())
		return
	}
	hop.Answer([]byte{n.decide(key, place, section)})
}

const (
	refused byte = iota
	allowed
	unknown
)

func (n *node) decide(key uint64, place Place, section Section) byte {
	defer section.Leave()
	switch {
	case place.Careful && !n.counts.has(key):
		return unknown
	case n.counts.take(key, n.cluster.most):
		return allowed
	}
	return refused
}

// press is what an edge does with a request, as far as it concerns this package.
func (n *node) press(user string) (byte, error) {
	key := n.cluster.keys.User(user)
	place, section := n.Enter(key)
	if place.Kind != Here {
		frame := binary.BigEndian.AppendUint64(make([]byte, HopHead), key)
		var reply Reply
		var err error
		if place, section, reply, err = n.Hop(place, key, frame, time.Now().Add(30*time.Second)); err != nil {
			return 0, err
		}
		if place.Kind != Here {
			defer reply.Release()
			return reply.Payload()[0], nil
		}
	}
	return n.decide(key, place, section), nil
}

// userOf finds a user whom the node owns.
func (c *cluster) userOf(owner string) string {
	for i := range 10_000 {
		user := fmt.Sprintf("u%04d", i)
		if c.nodes[owner].OwnerName(c.keys.User(user)) == owner {
			return user
		}
	}
	c.t.Fatalf("%s owns nobody", owner)
	return ""
}
