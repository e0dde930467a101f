package counter

import (
	"headgate.example/counter/machine"
	"headgate.example/counter/resp"
)

// maxLooks bounds how long one view keeps log entries from being applied: some 100 us.
const maxLooks = 512

// maxRefused bounds the bytes of replies that are gathered while a view is held, since writing may wait.
const maxRefused = 32 << 10

// reply is the answer to one waiting request.
type reply struct {
	write    func(*resp.Writer, []machine.Result)
	failure  string // without commands: an error reply
	detail   int64  // without commands: of a refusal from memory
	commands int32  // how many results of the call are its own
	kind     machine.Kind
	code     machine.Code // without commands: a refusal from memory
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
		c.requests++
		c.request(args)
		if len(c.waiting) >= maxWaiting {
			c.settle()
		}
	}
}

// reserve refuses a reservation from memory, or puts it behind those that wait for the log already. The
// arguments are valid only meanwhile.
func (c *conn) reserve(cmd *command, args [][]byte) {
	m, err := parseReserve(args)
	if err == nil {
		if c.onlyReserves && c.refuse(&m) {
			return
		}
		err = m.Validate()
	}
	if err != nil {
		c.fail(errorText(err))
		return
	}
	if !c.srv.replica.Add(c.call, m) {
		c.settle()
		c.srv.replica.Add(c.call, m)
	}
	c.waiting = append(c.waiting, reply{write: cmd.reply, kind: machine.Reserve, commands: 1})
}

// refuse answers a reservation from memory, if applied state allows no other answer. The caller has
// made sure that nothing that waits before it on this connection could change that.
func (c *conn) refuse(m *machine.Command) bool {
	if !c.inView() {
		return false // the log decides, or says why it cannot
	}
	result, sure := c.view.State.Refuse(m.Sale, m.User, m.Key, m.Quantity, c.view.Clock.Wall, c.view.Clock.Served)
	if !sure {
		return false
	}
	c.refusals++
	c.tally.add(machine.Reserve, result.Code)
	if len(c.waiting) > 0 {
		c.waiting = append(c.waiting, reply{kind: machine.Reserve, code: result.Code, detail: result.Detail})
		return true
	}
	writeRefusal(c.out, result.Code, result.Detail)
	if c.out.Buffered() > maxRefused {
		c.endView()
		_ = c.out.Flush() // the error is kept for the next one
	}
	return true
}

// inView makes sure of a view; false when there is none to be had now.
func (c *conn) inView() bool {
	if c.looks++; c.looks > maxLooks {
		c.endView()
	}
	if c.view.State != nil {
		return true
	}
	if c.blind {
		return false
	}
	var err error
	c.view, err = c.srv.replica.Look(c.srv.cfg.Limits.ReadWait)
	c.blind = err != nil
	return err == nil
}

// endView must be called before anything that may wait, or that reads the state in another way.
func (c *conn) endView() {
	c.view.End()
	c.looks = 0
}

// change parses a command for the log and puts it behind those that wait already.
func (c *conn) change(cmd *command, args [][]byte) {
	commands, err := cmd.change(args)
	if err != nil {
		c.fail(errorText(err))
		return
	}
	if !c.srv.replica.Add(c.call, commands...) {
		c.settle()
		c.srv.replica.Add(c.call, commands...)
	}
	c.onlyReserves = false
	c.waiting = append(c.waiting, reply{write: cmd.reply, kind: commands[0].Kind, commands: int32(len(commands))})
}

// fail puts an error reply behind the requests that wait.
func (c *conn) fail(text string) {
	c.waiting = append(c.waiting, reply{failure: text})
}

// settle brings the waiting changes into the log together and writes all waiting replies, in order.
func (c *conn) settle() {
	c.endView()
	c.count()
	if len(c.waiting) == 0 {
		return
	}
	var err error
	if c.call.Len() > 0 {
		if err = c.srv.replica.Propose(c.call); err == nil {
			err = c.call.Wait()
		}
	}
	results := c.call.Results
	for i := range c.waiting {
		switch r := &c.waiting[i]; {
		case r.failure != "":
			c.out.Error(r.failure)
		case r.commands == 0:
			writeRefusal(c.out, r.code, r.detail)
		case err != nil:
			c.out.Error(c.replicaError(err))
		default:
			own := results[:r.commands]
			results = results[r.commands:]
			for j := range own {
				c.tally.add(r.kind, own[j].Code)
			}
			r.write(c.out, own)
		}
	}
	c.tally.flush()
	clear(c.waiting)
	c.waiting = c.waiting[:0]
	c.onlyReserves = true
	c.call.Reset()
}

// count brings what was gathered into the metrics.
func (c *conn) count() {
	c.blind = false
	c.tally.flush()
	c.srv.meter.requests.Add(c.requests)
	c.requests = 0
	if c.refusals > 0 {
		c.srv.meter.refused.Add(c.refusals)
		c.refusals = 0
	}
}
