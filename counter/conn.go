package counter

import (
	"errors"
	"io"
	"net"
	"strings"
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

// conn is one client: what it asked, and what it is told. Whoever drives it, a handler or a loop, reads for
// it and writes for it, at most one buffer of requests and one of replies at a time. So a client that does
// not take its replies stops being read, and is closed after the write timeout.
type conn struct {
	srv           *Server
	id            int64
	remote, local net.Addr
	name          string
	role          role
	in            *resp.Reader
	out           *resp.Writer

	strangerUntil  time.Time // when a stranger's patience ends, whatever it sends
	wrongPasswords int
	quit           bool
	// mayWait: the driver can wait for the log, other shards and the leader's verification. If it cannot, the
	// first request that wants that is left in stuck, and nothing after it is looked at.
	mayWait bool
	stuck   [][]byte

	// The requests that wait for the log, in order: what call holds, and replies that were ready
	// before them in time but come after them in order.
	call    *replica.Call
	waiting []reply
	demands int // of waiting
	// onlyReserves: no waiting request can give units back, so applied state may refuse the next one.
	onlyReserves bool
	followed     bool // a waiting change concerns a dealer
	// view is what refusals from memory are made of; held for as long as requests are at hand.
	view      replica.View
	looks     int  // refusals tried on this view
	blind     bool // there was no view to be had for the requests at hand
	requests  int  // not yet in the metrics
	refusals  int  // likewise
	fruitless int  // looks that found no refusal since the last count
	tally     tally
}

// link is a connection as the server sees it.
type link interface {
	// hurry makes it end after the requests that have arrived.
	hurry()
	// cut ends it at once.
	cut()
}

func newConn(s *Server, remote, local net.Addr, r io.Reader, w io.Writer) *conn {
	c := &conn{srv: s, id: s.nextID.Add(1), remote: remote, local: local, call: replica.NewCall(), onlyReserves: true}
	c.in = resp.NewReader(r, resp.StrangerLimits())
	c.out = resp.NewWriter(w)
	c.tally.meter = s.meter
	c.become(stranger)
	if s.cfg.OperatorPassword == "" {
		c.become(operator)
	}
	return c
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

// panicked tells of a defect in the handling of this connection, which ends; the others go on.
func (c *conn) panicked(p any, stack []byte) {
	c.srv.rt.Log.Error("a connection's handler panicked", "panic", p, "stack", string(stack))
}

// evicted tells that the connection ends since its client does not read.
func (c *conn) evicted() {
	c.srv.meter.evicted.Inc()
	c.srv.rt.Log.Warn("closing a client that does not take its replies", "client", c.remote.String(), "name", c.name)
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
	case c.mayWait, cmd.prompt && len(c.waiting) == 0:
		c.settle()
		cmd.answer(c, args)
	default:
		c.stuck = args
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
