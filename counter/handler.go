package counter

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// handler drives a connection by a goroutine of its own, which waits wherever there is something to wait for.
// It is how connections are served where there are no loops.
type handler struct {
	*conn
	nc        net.Conn
	readUntil time.Time // the read deadline
	hurried   atomic.Bool
}

func newHandler(s *Server, nc net.Conn) *handler {
	h := &handler{nc: nc}
	h.conn = newConn(s, nc.RemoteAddr(), nc.LocalAddr(), nc, &deadlineWriter{nc: nc, timeout: s.cfg.Limits.WriteTimeout})
	h.mayWait = true
	return h
}

// deadlineWriter bounds each write to at least timeout and at most a quarter more: moving a deadline
// costs more than it may seem.
type deadlineWriter struct {
	nc      net.Conn
	timeout time.Duration
	until   time.Time
}

func (w *deadlineWriter) Write(b []byte) (int, error) {
	if now := time.Now(); w.until.Sub(now) < w.timeout {
		w.until = now.Add(w.timeout + w.timeout/4)
		if err := w.nc.SetWriteDeadline(w.until); err != nil {
			return 0, err
		}
	}
	return w.nc.Write(b)
}

// hurry implements link.
func (h *handler) hurry() {
	h.hurried.Store(true)
	_ = h.nc.SetReadDeadline(time.Unix(1, 0)) // wakes a waiting read; a failure means that it is closed already
}

// cut implements link.
func (h *handler) cut() { _ = h.nc.Close() } // it is given up

func (h *handler) serve() {
	defer h.nc.Close() //nolint:errcheck // nothing more is sent
	defer func() {
		if p := recover(); p != nil {
			h.panicked(p, debug.Stack())
		}
	}()
	defer h.linger()
	defer h.endView()
	for !h.quit && h.read() {
		h.pipeline()
		h.settle()
		if err := h.out.Flush(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				h.evicted()
			}
			return
		}
	}
}

// linger lets the last replies arrive: closing with unread requests would reset the connection, and the
// client might lose what it was told.
func (h *handler) linger() {
	half, ok := h.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if h.nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, h.nc, lingerBytes) // whatever comes is too late
	}
}

// read waits for more bytes; false when the connection is over. The deadline of a known client is moved
// only when less than the idle time-out is left of it, since moving it costs a good part of a request.
func (h *handler) read() bool {
	idle := h.srv.cfg.Limits.IdleTimeout
	now := time.Now()
	deadline := now.Add(idle + idle/8)
	if h.role == stranger && h.strangerUntil.Before(deadline) {
		deadline = h.strangerUntil
	}
	if h.readUntil.Before(now.Add(idle)) || deadline.Before(h.readUntil) {
		h.readUntil = deadline
		if err := h.nc.SetReadDeadline(deadline); err != nil {
			return false
		}
	}
	if h.hurried.Load() { // after the deadline was set, or hurry's would be lost
		return false
	}
	err := h.in.Fill()
	if err != nil {
		h.malformed(err)
		_ = h.out.Flush() // only a protocol error wrote something
	}
	return err == nil
}
