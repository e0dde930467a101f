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

// idleSlices is how many deadlines in a row must strike before an idle connection is closed.
const idleSlices = 4

// toContinue is what a client is told who asked before he sends a body: no answer yet.
const toContinue = "HTTP/1.1 100 Continue\r\n\r\n"

// clientConn is a client's connection, and bounds its times. fasthttp could do that, but would read the
// clock and move a timer for each of three deadlines with every request, almost none of which is ever
// reached. Here the clock is read only when a request comes in pieces, and when a deadline strikes:
//
//   - a request that has not arrived with its first bytes must be here read_timeout later; so must the
//     first byte of a new connection;
//   - a connection without a request is closed after idle_timeout, at most a quarter later;
//   - an answer that is not taken within write_timeout is given up, at most as much again later.
//
// One goroutine reads and writes; Close may be called by another. Whoever takes the connection over
// (a link of peers) sets deadlines of his own, and is bounded by those alone from then on.
type clientConn struct {
	net.Conn
	address netip.Addr // of the other end
	times   *Listener

	manual  bool // deadlines are set from outside
	spoken  bool // something was read
	pending bool // a request has begun and its answer has not

	armed   readBound
	served  uint64 // answers
	struck  uint64 // served, when an idle deadline struck last
	strikes int    // of idle deadlines since the last answer
	writing bool   // a write deadline is armed

	once  sync.Once
	slots chan struct{} // gets one back at the end
}

// readBound is what the armed read deadline bounds.
type readBound uint8

const (
	boundNothing readBound = iota
	boundIdle              // a slice of the idle time
	boundRequest           // the rest of a request, or a connection's first byte
)

func newClientConn(conn net.Conn, times *Listener, slots chan struct{}) *clientConn {
	c := &clientConn{Conn: conn, times: times, slots: slots}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.address = tcp.AddrPort().Addr().Unmap()
	}
	return c
}

// Read gives what has come, or an error that is os.ErrDeadlineExceeded.
func (c *clientConn) Read(p []byte) (int, error) {
	if c.manual {
		return c.Conn.Read(p)
	}
	for {
		if err := c.boundRead(); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(p)
		if n > 0 {
			if !c.pending && c.armed == boundRequest {
				c.armed = boundNothing // it was the first byte's
			}
			c.spoken, c.pending = true, true
			return n, err
		}
		if c.armed != boundIdle || !errors.Is(err, os.ErrDeadlineExceeded) || c.idleTooLong() {
			return n, err
		}
		c.armed = boundNothing
	}
}

// boundRead sees to it that the right deadline is armed.
func (c *clientConn) boundRead() error {
	want, within := boundIdle, c.times.IdleTimeout/idleSlices
	if c.pending || !c.spoken {
		want, within = boundRequest, c.times.ReadTimeout
	}
	if c.armed == want {
		return nil
	}
	c.armed = want
	return c.Conn.SetReadDeadline(time.Now().Add(within))
}

// idleTooLong counts the idle deadlines that struck since the last answer.
func (c *clientConn) idleTooLong() bool {
	if c.struck != c.served {
		c.struck, c.strikes = c.served, 0
	}
	c.strikes++
	return c.strikes > idleSlices
}

// Write sends an answer, or gives it up.
func (c *clientConn) Write(p []byte) (int, error) {
	if c.manual {
		return c.Conn.Write(p)
	}
	for written, strikes := 0, 0; ; strikes++ {
		if !c.writing {
			c.writing = true
			if err := c.Conn.SetWriteDeadline(time.Now().Add(c.times.WriteTimeout)); err != nil {
				return written, err
			}
		}
		n, err := c.Conn.Write(p[written:])
		written += n
		if err == nil || strikes > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			if string(p) != toContinue {
				c.pending = false
				c.served++
			}
			return written, err
		}
		c.writing = false // it may have been armed for an earlier answer
	}
}

// SetDeadline hands the times over to the caller.
func (c *clientConn) SetDeadline(t time.Time) error {
	c.handOver()
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline hands the times over to the caller.
func (c *clientConn) SetReadDeadline(t time.Time) error {
	c.handOver()
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline hands the times over to the caller.
func (c *clientConn) SetWriteDeadline(t time.Time) error {
	c.handOver()
	return c.Conn.SetWriteDeadline(t)
}

// handOver is called first where nobody else uses the connection yet: see fasthttp's hijacking.
func (c *clientConn) handOver() {
	if !c.manual {
		c.manual = true
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
