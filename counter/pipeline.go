package counter

import (
	"slices"
	"strings"

	"headgate.example/counter/machine"
	"headgate.example/counter/resp"
	"headgate.example/lib/problem"
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
	demand   *demand      // without commands, or in place of a result: units of other shards are awaited
}

// pipeline takes every whole request that has arrived, as long as the replies can be delivered and, for who
// may not wait, as far as nothing has to be waited for.
func (c *conn) pipeline() {
	for !c.quit && c.stuck == nil && !c.out.Failed() {
		args, ok, err := c.in.Next()
		if err != nil {
			if c.mayWait || len(c.waiting) == 0 {
				c.settle()
				c.malformed(err)
			}
			return
		}
		if !ok {
			return
		}
		c.requests++
		c.request(args)
		if len(c.waiting) >= maxWaiting {
			if !c.mayWait {
				return
			}
			c.settle()
		}
	}
}

// reserve refuses a reservation from memory, or puts it behind those that wait for the log already. The
// arguments are valid only meanwhile.
func (c *conn) reserve(cmd *command, args [][]byte) {
	m, err := parseReserve(args)
	if err == nil {
		if c.onlyReserves && c.srv.looking.worthwhile() && c.refuse(cmd, &m) {
			return
		}
		err = m.Validate()
	}
	if err != nil {
		c.fail(errorText(err))
		return
	}
	if c.add(args, m) {
		c.waiting = append(c.waiting, reply{write: cmd.reply, kind: machine.Reserve, commands: 1})
	}
}

// add puts commands of one request, which are valid, to those that wait for the log. It is false, and the
// request stuck, when those that wait have to be settled first and may not be waited for.
func (c *conn) add(args [][]byte, commands ...machine.Command) bool {
	if c.srv.replica.Add(c.call, commands...) {
		return true
	}
	if !c.mayWait {
		c.stuck = args
		return false
	}
	c.settle()
	return c.srv.replica.Add(c.call, commands...)
}

// refuse answers a reservation from memory, if applied state allows no other answer, or lets it wait for
// units of other shards. The caller has made sure that nothing that waits before it on this connection
// could change that.
func (c *conn) refuse(cmd *command, m *machine.Command) bool {
	if !c.inView() {
		return false // the log decides, or says why it cannot
	}
	result, sure := c.view.State.Refuse(m.Sale, m.User, m.Key, m.Quantity, c.view.Clock.Wall, c.view.Clock.Served)
	if !sure {
		c.fruitless++
		return false
	}
	if result.Code == machine.CodeDry {
		var known bool
		if result, known = c.dry(m); !known {
			c.endView() // a dealer waits for the state's lock, and others wait for the dealer
			c.waiting = append(c.waiting, reply{write: cmd.reply, demand: c.srv.dealers.wait(owned(m))})
			c.demands++
			return true
		}
	}
	c.refusals++
	c.tally.add(machine.Reserve, result.Code)
	if result.Code == machine.CodeWrongShard {
		c.fail(errorReply(problem.RESPWrongShard, result.Reason))
		return true
	}
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

// dry gives the verdict over all shards on a reservation that this one has too few units for, if there is
// one.
func (c *conn) dry(m *machine.Command) (machine.Result, bool) {
	incarnation, supply := c.view.State.Supply(m.Sale)
	return c.srv.dealers.verdict(m.Sale, incarnation, supply, m.Quantity)
}

// owned copies a reservation that refers to the connection's buffer.
func owned(m *machine.Command) *machine.Command {
	return &machine.Command{
		Kind: m.Kind, Sale: strings.Clone(m.Sale), User: strings.Clone(m.User), Quantity: m.Quantity, Key: strings.Clone(m.Key),
	}
}

// inView makes sure of a view; false when there is none to be had, or not at once for who may not wait. Then
// the log decides.
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
	patience := c.srv.cfg.Limits.ReadWait
	if !c.mayWait {
		patience = 0
	}
	var err error
	c.view, err = c.srv.replica.Look(patience)
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
	if cmd.before != nil {
		if !c.mayWait {
			c.stuck = args
			return
		}
		c.settle()
		if err := cmd.before(c, &commands[0]); err != nil {
			c.fail(c.replicaError(err))
			return
		}
	}
	if !c.add(args, commands...) {
		return
	}
	c.onlyReserves = false
	c.followed = c.followed || c.srv.dealers.follows(commands[0].Kind)
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
	c.answer(err)
}

// answer writes all waiting replies, in order, when the fate of the call is known.
func (c *conn) answer(err error) {
	if err == nil && c.followed {
		c.follow()
	}
	results := c.call.Results
	refused := 0
	for i := range c.waiting {
		r := &c.waiting[i]
		if err == nil && r.commands > 0 && r.demand == nil && results[0].Code == machine.CodeDry {
			c.await(c.waiting[i:], results)
		}
		switch {
		case r.failure != "":
			c.out.Error(r.failure)
		case r.demand != nil:
			c.awaited(r)
			refused += int(r.commands) // by the log, which found this shard dry
			results = results[r.commands:]
		case r.commands == 0:
			writeRefusal(c.out, r.code, r.detail)
		case err != nil:
			c.out.Error(c.replicaError(err))
		default:
			own := results[:r.commands]
			results = results[r.commands:]
			for j := range own {
				c.tally.add(r.kind, own[j].Code)
				if own[j].Code.Refusal() {
					refused++
				}
			}
			r.write(c.out, own)
		}
	}
	c.srv.looking.decided(refused)
	c.tally.flush()
	clear(c.waiting)
	c.waiting = c.waiting[:0]
	c.onlyReserves, c.followed, c.demands = true, false, 0
	c.call.Reset()
}

// awaits says whether some of the replies, the fate of the call being known, have to wait for other shards.
func (c *conn) awaits(err error) bool {
	return c.demands > 0 || err == nil &&
		slices.ContainsFunc(c.call.Results, func(r machine.Result) bool { return r.Code == machine.CodeDry })
}

// follow lets dealers hear of what the log decided that concerns them.
func (c *conn) follow() {
	commands := c.call.Commands()
	for i := range commands {
		c.srv.dealers.follow(&commands[i])
	}
}

// await lets the buyers among some waiting requests who found this shard dry wait for units of others, all
// of them before the first is waited for. results are those of these requests.
func (c *conn) await(waiting []reply, results []machine.Result) {
	commands := c.call.Commands()
	commands = commands[len(commands)-len(results):]
	for at := range waiting {
		r := &waiting[at]
		if r.commands > 0 && results[0].Code == machine.CodeDry {
			r.demand = c.srv.dealers.wait(&commands[0])
		}
		commands, results = commands[r.commands:], results[r.commands:]
	}
}

// awaited writes what became of a buyer who waited for units of other shards. A dealer has counted it, if
// it was decided.
func (c *conn) awaited(r *reply) {
	<-r.demand.done
	if err := r.demand.err; err != nil {
		c.out.Error(c.replicaError(err))
		return
	}
	r.write(c.out, []machine.Result{r.demand.result})
}

// count brings what was gathered into the metrics.
func (c *conn) count() {
	c.blind = false
	c.tally.flush()
	c.srv.meter.requests.Add(c.requests)
	c.requests = 0
	if c.refusals > 0 {
		c.srv.meter.refused.Add(c.refusals)
	}
	c.srv.looking.looked(c.refusals, c.fruitless)
	c.refusals, c.fruitless = 0, 0
}
