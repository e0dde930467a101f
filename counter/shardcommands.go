package counter

import (
	"fmt"
	"strings"

	"headgate.example/counter/machine"
	"headgate.example/counter/replica"
	"headgate.example/counter/resp"
	"headgate.example/lib/sale"
)

// What the shards of a sale tell each other, with the operator's password. See DESIGN.md, shards.

func shardAsk(args [][]byte) ([]machine.Command, error) {
	taken, err := number("taken", args[3])
	if err != nil {
		return nil, err
	}
	want, err := number("want", args[4])
	if err != nil {
		return nil, err
	}
	m := machine.Command{Kind: machine.Ask, Sale: string(args[1]), Value: string(args[2]), Total: taken, Quantity: want}
	switch string(args[5]) {
	case "sell":
	case "debt":
		m.ForDebt = true
	default:
		return nil, &sale.FieldError{Field: "purpose", Reason: "must be sell or debt"}
	}
	return one(m, nil)
}

func shardGive(args [][]byte) ([]machine.Command, error) {
	given, err := number("given", args[3])
	return one(machine.Command{Kind: machine.Accept, Sale: string(args[1]), Value: string(args[2]), Total: given}, err)
}

// writeMoved answers ASK with what this shard ever gave, GIVE with what it ever took.
func writeMoved(w *resp.Writer, results []machine.Result) {
	switch r := &results[0]; {
	case writeError(w, r):
	case r.Code == machine.CodeNoSale:
		w.Error(noSale)
	default:
		w.Int(r.Detail)
	}
}

// answerCollect is this shard's row of a collect; it reflects everything that was acknowledged.
func answerCollect(c *conn, args [][]byte) {
	var row machine.Collected
	var known bool
	id := string(args[1])
	if !c.latest(func(s *machine.State, _ replica.Clock) { row, known = s.Collect(id) }) {
		return
	}
	if !known {
		c.out.Null()
		return
	}
	f := fields{}
	f.text("shard", row.Shard)
	f.number("incarnation", row.Incarnation)
	f.number("revision", row.Revision)
	f.number("supply_version", row.Supply)
	f.number("paused", boolean(row.Paused))
	f.number("closed", boolean(row.Closed))
	f.number("forgotten", boolean(row.Forgotten))
	f.number("restoring", boolean(row.Restoring))
	f.number("stock", row.Stock)
	f.number("alloc", row.Alloc)
	f.number("debt", row.Debt)
	f.number("scheduled", row.Scheduled)
	f.number("next_release_at", row.NextReleaseAt)
	f.number("available", row.Available)
	f.number("held", row.Held)
	f.number("confirmed", row.Confirmed)
	f.transfers(row.Transfers)
	f.write(c.out)
}

// transfers writes what moved to and from each other shard: peer:given:acknowledged:taken, by comma.
func (f *fields) transfers(list []machine.Transfer) {
	texts := make([]string, len(list))
	for i, t := range list {
		texts[i] = fmt.Sprintf("%s:%d:%d:%d", t.Peer, t.Given, t.Acknowledged, t.Taken)
	}
	f.text("transfers", strings.Join(texts, ","))
}
