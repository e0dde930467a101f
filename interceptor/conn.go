package interceptor

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// clientConn is a client's connection. One goroutine reads and writes; Close may be called by another.
//
// fasthttp moves three deadlines with each request: of waiting for it, of reading it, and of the answer.
// Each costs a system timer's lock, and almost none is ever reached. Here a deadline that is later than the
// one that is armed is only noted: when the armed one strikes too early, the noted one is armed and the
// call goes on. No call fails before its deadline, and none later.
type clientConn struct {
	net.Conn
	address     netip.Addr // of the other end
	read, write deadline
	spoken      bool // something was read
	once        sync.Once
	slots       chan struct{} // gets one back at the end
}

func newClientConn(conn net.Conn, slots chan struct{}) *clientConn {
	c := &clientConn{Conn: conn, slots: slots}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.address = tcp.AddrPort().Addr().Unmap()
	}
	return c
}

// deadline is what a call must end by, and what the system was told. Never is the zero time.
type deadline struct{ wanted, armed time.Time }

// set notes a deadline and reports whether the system must be told.
func (d *deadline) set(t time.Time) bool {
	d.wanted = t
	if !t.IsZero() && !d.armed.IsZero() && !t.Before(d.armed) {
		return false
	}
	d.armed = t
	return true
}

// tooEarly reports whether a call was ended by an armed deadline before its own, which is then to be armed.
func (d *deadline) tooEarly(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || d.armed.Equal(d.wanted) || !d.wanted.IsZero() && !time.Now().Before(d.wanted) {
		return false
	}
	d.armed = d.wanted
	return true
}

// SetReadDeadline bounds later calls of Read.
func (c *clientConn) SetReadDeadline(t time.Time) error {
	if c.read.set(t) {
		return c.Conn.SetReadDeadline(t)
	}
	return nil
}

// SetWriteDeadline bounds later calls of Write.
func (c *clientConn) SetWriteDeadline(t time.Time) error {
	if c.write.set(t) {
		return c.Conn.SetWriteDeadline(t)
	}
	return nil
}

// SetDeadline does both.
func (c *clientConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Read is bounded by the read deadline.
func (c *clientConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		c.spoken = c.spoken || n > 0
		if n > 0 || err == nil || !c.read.tooEarly(err) {
			return n, err
		}
		if err := c.Conn.SetReadDeadline(c.read.armed); err != nil {
			return 0, err
		}
	}
}

// Write is bounded by the write deadline.
func (c *clientConn) Write(p []byte) (int, error) {
	for written := 0; ; {
		n, err := c.Conn.Write(p[written:])
		written += n
		if err == nil || !c.write.tooEarly(err) {
			return written, err
		}
		if err := c.Conn.SetWriteDeadline(c.write.armed); err != nil {
			return written, err
		}
	}
}

// SyscallConn lets hungUp look at the socket.
func (c *clientConn) SyscallConn() (syscall.RawConn, error) {
	if raw, ok := c.Conn.(syscall.Conn); ok {
		return raw.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close gives the connection's slot back.
func (c *clientConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots })
	return err
}
