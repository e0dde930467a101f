package counter

import (
	"errors"
	"strconv"
	"unsafe"

	"headgate.example/counter/machine"
	"headgate.example/counter/resp"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// command is one row of the command table. It either makes changes for the log, with a reply made of
// their results, or answers by itself. RESERVE alone has neither: see conn.reserve.
type command struct {
	name   string
	usage  string
	needs  role
	args   int // at least, the name included
	most   int // at most; -1: as many as a request may have
	change func(args [][]byte) ([]machine.Command, error)
	// before is asked, when set, with nothing of the connection waiting: an error keeps the change
	// out of the log.
	before func(c *conn, m *machine.Command) error
	reply  func(*resp.Writer, []machine.Result)
	answer func(c *conn, args [][]byte)
	early  bool // is answered while the shard is recovered
	prompt bool // answer waits for nothing
}

const maxNameBytes = 16

// lookUp finds a command by its name in any case.
func (s *Server) lookUp(name []byte) (*command, bool) {
	if len(name) > maxNameBytes {
		return nil, false
	}
	var upper [maxNameBytes]byte
	for i, b := range name {
		if b >= 'a' && b <= 'z' {
			b -= 'a' - 'A'
		}
		upper[i] = b
	}
	if string(upper[:len(name)]) == "RESERVE" { // most of what comes
		return s.reserve, true
	}
	cmd, ok := s.commands[string(upper[:len(name)])]
	return cmd, ok
}

// parseReserve reads a RESERVE without copying: the command is good for as long as args are. It is not
// validated.
func parseReserve(args [][]byte) (machine.Command, error) {
	quantity, err := number("quantity", args[3])
	return machine.Command{Kind: machine.Reserve, Sale: alias(args[1]), User: alias(args[2]), Quantity: quantity, Key: alias(args[4])}, err
}

// alias is the text in b, for as long as b is not written to.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func confirm(args [][]byte) ([]machine.Command, error) {
	list := make([]machine.Command, 0, len(args)-1)
	for _, a := range args[1:] {
		id, err := order(a)
		if err != nil {
			return nil, err
		}
		list = append(list, machine.Command{Kind: machine.Confirm, Order: id})
	}
	return list, nil
}

// giveBack makes the parser of ABORT and RELEASE at the shard of this number.
func giveBack(kind machine.Kind, shard int) func([][]byte) ([]machine.Command, error) {
	return func(args [][]byte) ([]machine.Command, error) {
		id, err := order(args[1])
		if err == nil && id.Shard() != shard {
			err = &wrongShardError{id.Shard()}
		}
		return one(machine.Command{Kind: kind, Order: id, Reason: string(args[2])}, err)
	}
}

// wrongShardError is an order of another shard.
type wrongShardError struct{ number int }

func (e *wrongShardError) Error() string {
	return errorReply(problem.RESPWrongShard, "number "+strconv.Itoa(e.number))
}

func saleOpen(args [][]byte) ([]machine.Command, error) {
	terms, err := sale.ParseTerms(args[1])
	return one(machine.Command{Kind: machine.OpenSale, Terms: &terms}, err)
}

func saleRestore(args [][]byte) ([]machine.Command, error) {
	restore, err := machine.ParseRestore(args[1])
	return one(machine.Command{Kind: machine.RestoreSale, Restore: restore}, err)
}

// saleChange makes the parser of a command with a sale and a revision.
func saleChange(kind machine.Kind) func([][]byte) ([]machine.Command, error) {
	return func(args [][]byte) ([]machine.Command, error) {
		revision, err := number("revision", args[2])
		return one(machine.Command{Kind: kind, Sale: string(args[1]), Revision: revision}, err)
	}
}

func saleStock(args [][]byte) ([]machine.Command, error) {
	revision, err := number("revision", args[2])
	if err != nil {
		return nil, err
	}
	total, err := number("total", args[3])
	return one(machine.Command{Kind: machine.SetStock, Sale: string(args[1]), Revision: revision, Total: total}, err)
}

func ban(args [][]byte) ([]machine.Command, error) {
	kind, err := machine.ParseRuleKind(string(args[1]))
	if err != nil {
		return nil, err
	}
	until, err := number("until", args[3])
	return one(machine.Command{Kind: machine.Ban, Rule: kind, Value: string(args[2]), Until: until, Reason: string(args[4])}, err)
}

func unban(args [][]byte) ([]machine.Command, error) {
	kind, err := machine.ParseRuleKind(string(args[1]))
	return one(machine.Command{Kind: machine.Unban, Rule: kind, Value: string(args[2])}, err)
}

func revoke(args [][]byte) ([]machine.Command, error) {
	before, err := number("before", args[2])
	return one(machine.Command{Kind: machine.Revoke, User: string(args[1]), Before: before}, err)
}

// one checks a command before it costs a place in the log.
func one(m machine.Command, err error) ([]machine.Command, error) {
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		return nil, err
	}
	return []machine.Command{m}, nil
}

func number(field string, arg []byte) (int64, error) {
	if len(arg) == 1 && arg[0] >= '0' && arg[0] <= '9' {
		return int64(arg[0] - '0'), nil
	}
	n, err := strconv.ParseInt(string(arg), 10, 64)
	if err != nil {
		return 0, &sale.FieldError{Field: field, Reason: "must be a whole number"}
	}
	return n, nil
}

func order(arg []byte) (sale.OrderID, error) {
	id, err := sale.ParseOrderID(string(arg))
	if err != nil {
		return 0, &sale.FieldError{Field: "order", Reason: err.Error()}
	}
	return id, nil
}

// errorText is the error reply for a request that cannot be understood.
func errorText(err error) string {
	if field := (*sale.FieldError)(nil); errors.As(err, &field) {
		return errorReply(problem.RESPErr, field.Field+": "+field.Reason)
	}
	if other := (*wrongShardError)(nil); errors.As(err, &other) {
		return other.Error()
	}
	return errorReply(problem.RESPErr, "request: "+err.Error())
}

// errorReply puts the code in front, as clients expect.
func errorReply(code problem.RESPError, text string) string { return string(code) + " " + text }

// writeError writes the results that are errors on the wire; false when it is none.
func writeError(w *resp.Writer, r *machine.Result) bool {
	switch r.Code {
	case machine.CodeConflict:
		w.Error(errorReply(problem.RESPConflict, "revision "+strconv.FormatInt(r.Revision, 10)))
	case machine.CodeWrongShard:
		w.Error(errorReply(problem.RESPWrongShard, r.Reason))
	case machine.CodeBusy:
		w.Error(errorReply(problem.RESPBusy, r.Field+": "+r.Reason))
	case machine.CodeErr:
		w.Error(errorReply(problem.RESPErr, r.Field+": "+r.Reason))
	default:
		return false
	}
	return true
}

// writeReservation is [code, order, state, quantity, slot, expires], or [refusal, detail].
func writeReservation(w *resp.Writer, results []machine.Result) {
	r := &results[0]
	if writeError(w, r) {
		return
	}
	if r.Code.Refusal() {
		writeRefusal(w, r.Code, r.Detail)
		return
	}
	if r.Code == machine.CodeReserved {
		w.Raw("*6\r\n$8\r\nreserved\r\n")
	} else {
		w.Array(6)
		w.Bulk(r.Code.String())
	}
	w.BulkInt(int64(r.Order))
	w.Bulk(r.State.String())
	w.Int(r.Quantity)
	w.Int(r.Slot)
	w.Int(r.Expires)
}

func writeRefusal(w *resp.Writer, code machine.Code, detail int64) {
	w.Array(2)
	w.Bulk(code.String())
	w.Int(detail)
}

// writeCodes is a code for each order of CONFIRM. An order of another shard cannot be decided here: it
// is unavailable, since unknown would say that nobody has it.
func writeCodes(shard int) func(*resp.Writer, []machine.Result) {
	return func(w *resp.Writer, results []machine.Result) {
		w.Array(len(results))
		for i := range results {
			r := &results[i]
			if r.Code.Error() || r.Code == machine.CodeUnknown && r.Order.Shard() != shard {
				w.Bulk("unavailable")
				continue
			}
			w.Bulk(r.Code.String())
		}
	}
}

// writeCode is the word for ABORT and RELEASE.
func writeCode(w *resp.Writer, results []machine.Result) {
	if !writeError(w, &results[0]) {
		w.Simple(results[0].Code.String())
	}
}

// noSale is the error reply to a change of a sale that is not there.
const noSale = "ERR sale: is not known here"

// writeOK is OK for the operator's changes.
func writeOK(w *resp.Writer, results []machine.Result) {
	switch r := &results[0]; {
	case writeError(w, r):
	case r.Code == machine.CodeNoSale:
		w.Error(noSale)
	case r.Code != machine.CodeOK:
		w.Error("ERR command: unexpected outcome " + r.Code.String())
	default:
		w.Simple("OK")
	}
}
