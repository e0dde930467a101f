package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"headgate.example/lib/config"
)

const maxDialTime = time.Second

// node is one counter address, spoken to with one password.
type node struct {
	address  string
	password config.Secret
	cfg      *Config
	base     context.Context // ends with the Client
	dialTCP  dialFunc

	made  atomic.Int64 // connections, ever
	lives atomic.Int64 // of them, not closed yet

	mu     sync.Mutex
	closed bool
	conn   rueidis.Client // nil until first used
	trying *firstTry      // nil when none is under way
}

// firstTry is the making of a node's connections; all callers wait for the same one.
type firstTry struct {
	done chan struct{}
	conn rueidis.Client
	err  error
}

// connect gives the node's connections, which dial when they are used. The first calls wait for a first
// try, which takes at most maxDialTime for each of dialling and greeting; a context ends the wait earlier,
// and then nothing was sent.
func (n *node) connect(ctx context.Context) (rueidis.Client, error) {
	n.mu.Lock()
	if n.closed || n.conn != nil {
		defer n.mu.Unlock()
		if n.closed {
			return nil, errClosed
		}
		return n.conn, nil
	}
	if n.trying == nil {
		n.trying = &firstTry{done: make(chan struct{})}
		go n.try(n.trying) // close waits for it
	}
	t := n.trying
	n.mu.Unlock()
	select {
	case <-t.done:
		return t.conn, t.err
	case <-ctx.Done():
		return nil, &dialError{ctx.Err()}
	}
}

func (n *node) try(t *firstTry) {
	t.conn, t.err = n.open()
	n.mu.Lock()
	n.conn, n.trying = t.conn, nil
	n.mu.Unlock()
	close(t.done)
}

func (n *node) open() (rueidis.Client, error) {
	multiplex := bits.Len(uint(n.cfg.Connections - 1)) // 2^multiplex connections
	if multiplex == 0 {
		multiplex = -1 // one; 0 would mean rueidis's own choice
	}
	conn, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:         []string{n.address},
		Password:            n.password.Reveal(),
		Dialer:              net.Dialer{Timeout: min(n.cfg.Timeout, maxDialTime), KeepAlive: time.Second},
		DialCtxFn:           n.dial,
		ConnWriteTimeout:    max(n.cfg.Timeout, time.Second),
		ClientSetInfo:       rueidis.DisableClientSetInfo,
		PipelineMultiplex:   multiplex,
		ReadBufferEachConn:  64 << 10,
		WriteBufferEachConn: 64 << 10,
		DisableRetry:        true, // a Client repeats by itself, knowing what happened
		DisableCache:        true,
		AlwaysPipelining:    true, // a caller that gives up must not break the connection of the others
		AlwaysRESP2:         true,
		ForceSingleClient:   true,
	})
	if conn == nil {
		return nil, fmt.Errorf("counter %s: %w", n.address, err)
	}
	return conn, nil // it dials again when used, even if the first try failed
}

// dialFunc connects to a counter.
type dialFunc func(ctx context.Context, dialer *net.Dialer, address string) (net.Conn, error)

func dialTCP(ctx context.Context, dialer *net.Dialer, address string) (net.Conn, error) {
	return dialer.DialContext(ctx, "tcp", address)
}

// dialError is a connection that was not made: nothing was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return "connecting: " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// dial ignores the context of the caller for whom rueidis happens to dial: others wait for it as well.
func (n *node) dial(_ context.Context, address string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
	conn, err := n.dialTCP(n.base, dialer, address)
	if err != nil {
		return nil, &dialError{err}
	}
	n.lives.Add(1)
	n.made.Add(1)
	return &connection{Conn: conn, closed: sync.OnceFunc(func() { n.lives.Add(-1) })}, nil
}

// connection counts itself out when it is closed.
type connection struct {
	net.Conn
	closed func()
}

func (c *connection) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// connected watches a node from now on. What it gives reports whether there was a connection at any time since:
// without one nothing can have been sent.
func (n *node) connected() func() bool {
	before := n.made.Load()
	if n.lives.Load() > 0 {
		return func() bool { return true }
	}
	return func() bool { return n.made.Load() != before }
}

func (n *node) close() {
	n.mu.Lock()
	n.closed = true
	t := n.trying
	n.mu.Unlock()
	if t != nil {
		<-t.done
	}
	n.mu.Lock()
	conn := n.conn
	n.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

var errClosed = errors.New("the client is closed")
