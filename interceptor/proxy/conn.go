package proxy

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// ErrNotSent says that the upstream certainly has not seen the request.
var ErrNotSent = errors.New("upstream not reached")

// errStale says that a connection had been closed while it idled. It is an ErrNotSent.
var errStale = fmt.Errorf("%w: the connection was closed meanwhile", ErrNotSent)

// conn looks, before the first byte of each request after the first, whether the other end is still
// there: what is written to a connection that an upstream closed at its restart is lost without a
// word, and would make the outcome of an order unknown. It is used by one goroutine at a time.
type conn struct {
	net.Conn
	raw      syscall.RawConn // nil: cannot be looked at
	answered bool            // something was read since the last write
}

func newConn(c net.Conn) net.Conn {
	w := &conn{Conn: c}
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			w.raw = raw
		}
	}
	return w
}

func (c *conn) Read(b []byte) (int, error) {
	c.answered = true
	return c.Conn.Read(b)
}

func (c *conn) Write(b []byte) (int, error) {
	if c.answered {
		c.answered = false
		if c.raw != nil && !quiet(c.raw) {
			return 0, errStale
		}
	}
	return c.Conn.Write(b)
}
