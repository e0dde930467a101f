package apptest

import (
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The sale whose histories are checked: few units, so that every refusal occurs.
const (
	linearUsers = 4
	linearKeys  = 2
	linearStock = 2 // and one unit a user
)

// linearCall is a request; linearReply what came of it, with code "?" when nobody knows.
type linearCall struct {
	command   string // RESERVE CONFIRM ABORT RELEASE ORDER
	user, key int    // of RESERVE
	order     string // of the others
}

type linearReply struct {
	code   string
	order  string
	state  string
	detail int64
}

// linearState is a sale as the protocol describes it. It is comparable: no maps, no slices.
type linearState struct {
	live [linearUsers][linearKeys]linearOrder
	done string // released orders, sorted, each followed by a space
}

// linearOrder is a live order of a user and key. Its id is "?" as long as nobody was told.
type linearOrder struct{ id, state string }

func (s *linearState) count(state string) (n int64) {
	for u := range s.live {
		for _, o := range s.live[u] {
			if o.id != "" && (state == "" || o.state == state) {
				n++
			}
		}
	}
	return n
}

// step gives the state after a call, and whether the reply is what the protocol demands. An unknown
// reply may be any.
func (s linearState) step(call linearCall, reply linearReply) (bool, linearState) {
	unknown := reply.code == "?"
	if call.command == "RESERVE" {
		return s.reserve(call, reply, unknown)
	}
	if strings.Contains(s.done, call.order+" ") {
		want := map[string]string{"CONFIRM": "released", "ABORT": "released", "RELEASE": "already", "ORDER": "released"}[call.command]
		return unknown || reply.code == want, s
	}
	for u := range s.live {
		for k := range s.live[u] {
			if o := &s.live[u][k]; o.id == call.order {
				code := o.end(call.command)
				if code == "released" {
					s.finish(call.order)
					*o = linearOrder{}
				}
				return unknown || reply.code == code, s
			}
		}
	}
	return false, s // whoever knows an id was told of it by an earlier reply
}

// end carries out a command on a live order, and gives the code of the answer.
func (o *linearOrder) end(command string) string {
	switch {
	case command == "CONFIRM":
		o.state = "confirmed"
		return "confirmed"
	case command == "ABORT" && o.state == "held", command == "RELEASE" && o.state == "confirmed":
		return "released"
	}
	return o.state
}

func (s *linearState) finish(id string) {
	ids := append(strings.Fields(s.done), id)
	slices.Sort(ids)
	s.done = strings.Join(ids, " ") + " "
}

func (s linearState) reserve(call linearCall, reply linearReply, unknown bool) (bool, linearState) {
	mine := &s.live[call.user][call.key]
	switch {
	case mine.id != "":
		if unknown {
			return true, s
		}
		ok := reply.code == "already" && reply.state == mine.state && (mine.id == reply.order || mine.id == "?")
		mine.id = reply.order
		return ok, s
	case s.live[call.user][1-call.key].id != "":
		return unknown || reply.code == "limit" && reply.detail == 1, s
	case s.count("") == linearStock:
		return unknown || reply.code == "sold_out" && reply.detail == s.count("held"), s
	case unknown:
		*mine = linearOrder{id: "?", state: "held"}
		return true, s
	}
	*mine = linearOrder{id: reply.order, state: "held"}
	return reply.code == "reserved" && reply.state == "held" && !strings.Contains(s.done, reply.order+" "), s
}

func linearModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return linearState{} },
		Step: func(state, input, output any) (bool, any) {
			return state.(linearState).step(input.(linearCall), output.(linearReply))
		},
	}
}

// The checker finds what it is there to find.
func TestLinearModelFindsWrongAnswers(t *testing.T) {
	const never = 1 << 40
	op := func(from, to int64, call linearCall, reply linearReply) porcupine.Operation {
		return porcupine.Operation{Input: call, Call: from, Output: reply, Return: to}
	}
	reserve := func(user, key int) linearCall { return linearCall{command: "RESERVE", user: user, key: key} }
	on := func(command, order string) linearCall { return linearCall{command: command, order: order} }
	got := func(order string) linearReply { return linearReply{code: "reserved", order: order, state: "held"} }
	unknown := linearReply{code: "?"}
	for _, c := range []struct {
		name    string
		want    bool
		history []porcupine.Operation
	}{
		{"a purchase", true, []porcupine.Operation{op(1, 2, reserve(0, 0), got("7")), op(3, 4, on("CONFIRM", "7"), linearReply{code: "confirmed"}),
			op(5, 6, on("RELEASE", "7"), linearReply{code: "released"}), op(7, 8, reserve(0, 0), got("8"))}},
		{"an unknown outcome that happened", true, []porcupine.Operation{op(1, never, reserve(0, 0), unknown),
			op(5, 6, reserve(0, 0), linearReply{code: "already", order: "7", state: "held"})}},
		{"an unknown outcome that did not", true, []porcupine.Operation{op(1, never, reserve(0, 0), unknown), op(5, 6, reserve(0, 0), got("7"))}},
		{"sold out from old state", false, []porcupine.Operation{op(1, 2, reserve(0, 0), got("7")), op(1, 2, reserve(1, 0), got("8")),
			op(3, 4, on("ABORT", "8"), linearReply{code: "released"}), op(5, 6, reserve(2, 0), linearReply{code: "sold_out", detail: 2})}},
		{"one too many", false, []porcupine.Operation{op(1, 2, reserve(0, 0), got("7")), op(1, 2, reserve(1, 0), got("8")), op(3, 4, reserve(2, 0), got("9"))}},
		{"a lost order", false, []porcupine.Operation{op(1, 2, reserve(0, 0), got("7")), op(3, 4, reserve(0, 0), got("8"))}},
		{"a refusal that was none", false, []porcupine.Operation{op(1, 2, reserve(0, 0), linearReply{code: "sold_out"})}},
		{"a confirmation forgotten", false, []porcupine.Operation{op(1, 2, reserve(0, 0), got("7")), op(3, 4, on("CONFIRM", "7"), linearReply{code: "confirmed"}),
			op(5, 6, on("ORDER", "7"), linearReply{code: "held"})}},
	} {
		if ok := porcupine.CheckOperations(linearModel(), c.history); ok != c.want {
			t.Errorf("%s: linearizable %v, want %v", c.name, ok, c.want)
		}
	}
}
