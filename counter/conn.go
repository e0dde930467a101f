package counter

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"headgate.example/counter/machine"
	"headgate.example/counter/replica"
	"headgate.example/counter/resp"
	"headgate.example/lib/problem"
)

// role is what a connection has shown a password for.
type role int

const (
	stranger role = iota
	client
	operator
)

const (
	strangerTimeout   = 10 * time.Second // to show a password
	maxWrongPasswords = 3                // then the connection is closed
	maxWaiting        = 4096             // requests of one connection that wait for the log together
	lingerTime        = 250 * time.Millisecond
	lingerBytes       = 1 << 20
)

// conn is one client. One goroutine reads, decides and writes; it holds at most one buffer of
// requests and one of replies, so a client that does not take its replies stops being read, and is
// closed after the write timeout.
type conn struct {
	srv  *Server
	nc   net.Conn
	id   int64
	name string
	role role
	in   *resp.Reader
	out  *resp.Writer

	strangerUntil  time.Time // when a stranger's patience ends, whatever it sends
	wrongPasswords int
	quit           bool
	hurried        atomic.Bool

	// The requests that wait for the log, in order: what call holds, and replies that were ready
	// before them in time but come after them in order.
	call    *replica.Call
	waiting []reply
	// onlyReserves: no waiting request can give units back, so applied state may refuse the next one.
	onlyReserves bool
	// view is what refusals from memory are made of; held for as long as requests are at hand.
	view      replica.View
	looks     int  // refusals tried on this view
	blind     bool // there was no view to be had for the requests at hand
	requests  int  // not yet in the metrics
	refusals  int  // likewise
	tally     tally
	readUntil time.Time // the read deadline
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, id: s.nextID.Add(1), call: replica.NewCall(), onlyReserves: true}
	c.in = resp.NewReader(nc, resp.StrangerLimits())
	c.tally.meter = s.meter
	c.out = resp.NewWriter(&deadlineWriter{nc: nc, timeout: s.cfg.Limits.WriteTimeout})
	c.become(stranger)
	if s.cfg.OperatorPassword == "" {
		c.become(operator)
	}
	return c
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

// become changes what the connection may do, and how much of it at once.
func (c *conn) become(r role) {
	if r == stranger && (c.role != stranger || c.strangerUntil.IsZero()) {
		c.strangerUntil = time.Now().Add(strangerTimeout)
	}
	c.role = r
	limits := resp.DefaultLimits()
	switch r {
	case stranger:
		limits = resp.StrangerLimits()
	case operator:
		limits.BulkBytes = machine.MaxRestoreBytes
		limits.RequestBytes = machine.MaxRestoreBytes + 4096
	}
	c.in.SetLimits(limits)
}

// hurry makes the connection end after the requests that have arrived.
func (c *conn) hurry() {
	c.hurried.Store(true)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes a waiting read; a failure means that it is closed already
}

func (c *conn) serve() {
	defer c.nc.Close() //nolint:errcheck // nothing more is sent
	defer func() {
		if p := recover(); p != nil {
			c.srv.rt.Log.Error("a connection's handler panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	defer c.linger()
	defer c.endView()
	c.srv.meter.accepted.Inc()
	for !c.quit && c.read() {
		c.pipeline()
		c.settle()
		if err := c.out.Flush(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.srv.meter.evicted.Inc()
				c.srv.rt.Log.Warn("closing a client that does not take its replies", "client", c.nc.RemoteAddr().String(), "name", c.name)
			}
			return
		}
	}
}

// linger lets the last replies arrive: closing with unread requests would reset the connection, and the
// client might lose what it was told.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.nc, lingerBytes) // whatever comes is too late
	}
}

// read waits for more bytes; false when the connection is over. The deadline of a known client is moved
// only when less than the idle time-out is left of it, since moving it costs a good part of a request.
func (c *conn) read() bool {
	idle := c.srv.cfg.Limits.IdleTimeout
	now := time.Now()
	deadline := now.Add(idle + idle/8)
	if c.role == stranger && c.strangerUntil.Before(deadline) {
		deadline = c.strangerUntil
	}
	if c.readUntil.Before(now.Add(idle)) || deadline.Before(c.readUntil) {
		c.readUntil = deadline
		if err := c.nc.SetReadDeadline(deadline); err != nil {
			return false
		}
	}
	if c.hurried.Load() { // after the deadline was set, or hurry's would be lost
		return false
	}
	err := c.in.Fill()
	if err != nil {
		c.malformed(err)
		_ = c.out.Flush() // only a protocol error wrote something
	}
	return err == nil
}

// malformed answers a protocol error, once.
func (c *conn) malformed(err error) {
	var wrong *resp.ProtocolError
	switch {
	case errors.As(err, &wrong):
		c.out.Error(errorReply(problem.RESPErr, wrong.Error()))
	case errors.Is(err, io.ErrUnexpectedEOF):
		c.out.Error(errorReply(problem.RESPErr, "Protocol error: the connection ended within a request"))
	default:
		return
	}
	c.srv.meter.malformed.Inc()
	c.quit = true
}

func (c *conn) request(args [][]byte) {
	cmd, ok := c.srv.lookUp(args[0])
	switch {
	case !ok:
		c.fail(errorReply(problem.RESPErr, "unknown command '"+shorten(args[0])+"'"))
	case cmd.needs > c.role && c.role == stranger:
		c.fail(errorReply(problem.RESPNoAuth, "Authentication required."))
	case cmd.needs > c.role:
		c.fail(errorReply(problem.RESPNoPerm, cmd.name+" needs the operator's password"))
	case len(args) < cmd.args || cmd.most >= 0 && len(args) > cmd.most:
		c.fail(errorReply(problem.RESPErr, "wrong number of arguments: "+cmd.usage))
	case c.srv.recovering.Load() && !cmd.early:
		c.fail(errorReply(problem.RESPTryAgain, "the counter is recovering: "+c.srv.recoveryText()))
	case cmd == c.srv.reserve:
		c.reserve(cmd, args)
	case cmd.change != nil:
		c.change(cmd, args)
	default:
		c.settle()
		cmd.answer(c, args)
	}
}

func shorten(arg []byte) string {
	const most = 64
	if len(arg) > most {
		return string(arg[:most]) + "..."
	}
	return string(arg)
}

// latest reads what every acknowledged command has led to; on failure it has written the error.
func (c *conn) latest(read func(*machine.State, replica.Clock)) bool {
	return c.look(c.srv.replica.Latest, read)
}

// fresh reads what was true at most 100 ms ago; on failure it has written the error.
func (c *conn) fresh(read func(*machine.State, replica.Clock)) bool {
	return c.look(c.srv.replica.Fresh, read)
}

type lookFunc = func(time.Duration, func(*machine.State, replica.Clock)) error

func (c *conn) look(how lookFunc, read func(*machine.State, replica.Clock)) bool {
	if err := how(c.srv.cfg.Limits.ReadWait, read); err != nil {
		c.out.Error(c.replicaError(err))
		return false
	}
	return true
}

// replicaError is the error reply for a command that the log did not decide.
func (c *conn) replicaError(err error) string {
	var moved *replica.NotLeaderError
	switch {
	case errors.As(err, &moved):
		return errorReply(problem.RESPMoved, "0 "+moved.Client)
	case errors.Is(err, replica.ErrBusy):
		c.srv.meter.busy.Inc()
		return errorReply(problem.RESPBusy, err.Error())
	case errors.Is(err, replica.ErrNotAccepted):
		c.srv.meter.notAccepted.Inc()
		return errorReply(problem.RESPTryAgain, strings.TrimPrefix(err.Error(), replica.ErrNotAccepted.Error()+": "))
	}
	c.srv.meter.undecided.Inc()
	return errorReply(problem.RESPUnknown, strings.TrimPrefix(err.Error(), replica.ErrUnknown.Error()+": "))
}
