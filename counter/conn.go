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

	wrongPasswords int
	quit           bool
	hurried        atomic.Bool

	// The requests that wait for the log, in order: what call holds, and replies that were ready
	// before them in time but come after them in order.
	call    *replica.Call
	waiting []reply
	// onlyReserves: no waiting request can give units back, so applied state may refuse the next one.
	onlyReserves bool
}

// reply is the answer to one waiting request.
type reply struct {
	write    func(*resp.Writer, []machine.Result)
	commands int            // how many results of the call are its own
	ready    machine.Result // without commands: a refusal from memory
	failure  string         // without commands: an error reply
	demand   *demand        // without commands, or in place of a result: units of other shards are awaited
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, id: s.nextID.Add(1), call: replica.NewCall(), onlyReserves: true}
	c.in = resp.NewReader(nc, resp.StrangerLimits())
	c.out = resp.NewWriter(deadlineWriter{nc: nc, timeout: s.cfg.Limits.WriteTimeout})
	if s.cfg.OperatorPassword == "" {
		c.become(operator)
	}
	return c
}

type deadlineWriter struct {
	nc      net.Conn
	timeout time.Duration
}

func (w deadlineWriter) Write(b []byte) (int, error) {
	if err := w.nc.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	return w.nc.Write(b)
}

// become changes what the connection may do, and how much of it at once.
func (c *conn) become(r role) {
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

// read waits for more bytes; false when the connection is over.
func (c *conn) read() bool {
	timeout := c.srv.cfg.Limits.IdleTimeout
	if c.role == stranger {
		timeout = min(timeout, strangerTimeout)
	}
	if err := c.nc.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return false
	}
	if c.hurried.Load() { // after the deadline was set, or hurry's would be lost
		return false
	}
	err := c.in.Fill()
	c.malformed(err)
	_ = c.out.Flush() // only a protocol error wrote something
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

// pipeline takes every whole request that has arrived.
func (c *conn) pipeline() {
	for !c.quit {
		args, ok, err := c.in.Next()
		if err != nil {
			c.settle()
			c.malformed(err)
			return
		}
		if !ok {
			return
		}
		c.srv.meter.requests.Inc()
		c.request(args)
		if len(c.waiting) >= maxWaiting {
			c.settle()
		}
	}
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

// change parses a command for the log and puts it behind those that wait already.
func (c *conn) change(cmd *command, args [][]byte) {
	commands, err := cmd.change(args)
	if err != nil {
		c.fail(errorText(err))
		return
	}
	if cmd.reserve && c.onlyReserves && c.refuse(cmd, &commands[0]) {
		return
	}
	if cmd.before != nil {
		c.settle()
		if err := cmd.before(c, &commands[0]); err != nil {
			c.fail(c.replicaError(err))
			return
		}
	}
	if !c.srv.replica.Add(c.call, commands...) {
		c.settle()
		c.srv.replica.Add(c.call, commands...)
	}
	c.onlyReserves = c.onlyReserves && cmd.reserve
	c.waiting = append(c.waiting, reply{write: cmd.reply, commands: len(commands)})
}

// refuse answers a reservation from memory, if applied state allows no other answer and nothing that
// waits before it on this connection could change that.
func (c *conn) refuse(cmd *command, m *machine.Command) bool {
	var result machine.Result
	var sure bool
	var supply int64
	err := c.srv.replica.Fresh(c.srv.cfg.Limits.ReadWait, func(s *machine.State, now replica.Clock) {
		if result, sure = s.Refuse(m.Sale, m.User, m.Key, m.Quantity, now.Wall, now.Served); sure && result.Code == machine.CodeDry {
			info, _ := s.Info(m.Sale, now.Wall)
			supply = info.SupplyVersion
		}
	})
	if err != nil || !sure {
		return false // the log decides, or says why it cannot
	}
	if result.Code == machine.CodeDry {
		all, known := c.srv.dealers.verdict(m.Sale, supply, m.Quantity)
		if !known {
			c.waiting = append(c.waiting, reply{write: cmd.reply, demand: c.srv.dealers.wait(m)})
			return true
		}
		result = all
	}
	c.srv.meter.refused.Inc()
	c.srv.meter.decision(machine.Reserve, result.Code)
	c.waiting = append(c.waiting, reply{write: cmd.reply, ready: result})
	return true
}

// fail puts an error reply behind the requests that wait.
func (c *conn) fail(text string) {
	c.waiting = append(c.waiting, reply{failure: text})
}

// settle brings the waiting changes into the log together and writes all waiting replies, in order.
func (c *conn) settle() {
	if len(c.waiting) == 0 {
		return
	}
	var err error
	if len(c.call.Commands) > 0 {
		if err = c.srv.replica.Propose(c.call); err == nil {
			err = c.call.Wait()
		}
	}
	results := c.call.Results
	if err == nil {
		c.applied(results)
	}
	for i := range c.waiting {
		r := &c.waiting[i]
		switch {
		case r.failure != "":
			c.out.Error(r.failure)
		case r.demand != nil:
			c.awaited(r)
			results = results[r.commands:]
		case r.commands == 0:
			r.write(c.out, []machine.Result{r.ready})
		case err != nil:
			c.out.Error(c.replicaError(err))
		default:
			r.write(c.out, results[:r.commands])
			results = results[r.commands:]
		}
	}
	clear(c.waiting)
	c.waiting = c.waiting[:0]
	c.onlyReserves = true
	c.call.Reset()
}

// applied follows up what the log decided: it is counted, dealers hear of what concerns them, and buyers
// who found this shard dry begin to wait for units of others, all of them before the first is waited for.
func (c *conn) applied(results []machine.Result) {
	commands := c.call.Commands
	for at := range c.waiting {
		r := &c.waiting[at]
		for i := range commands[:r.commands] {
			if m := &commands[i]; m.Kind == machine.Reserve && results[i].Code == machine.CodeDry {
				r.demand = c.srv.dealers.wait(m)
			} else {
				c.srv.meter.decision(m.Kind, results[i].Code)
				c.srv.dealers.follow(m)
			}
		}
		commands, results = commands[r.commands:], results[r.commands:]
	}
}

// awaited writes what became of a buyer who waited for units of other shards.
func (c *conn) awaited(r *reply) {
	<-r.demand.done
	if err := r.demand.err; err != nil {
		c.out.Error(c.replicaError(err))
		return
	}
	r.write(c.out, []machine.Result{r.demand.result})
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
