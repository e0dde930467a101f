package consumer

import (
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// message is one order message on its way into the ledger, from the queue or from among the parked.
type message struct {
	body     []byte
	accepted store.Accepted // zero until verified
	verdict  verdict
	why      string // for dead and parked
}

// verdict is what is to be done with a message.
type verdict int

const (
	undecided verdict = iota // not asked yet, or the ledger did not answer
	waiting                  // the counter's shard did not answer
	settled                  // the ledger has it
	dead                     // never becomes an order
	parked                   // cannot be decided now
)

// parse verifies a message's form and ticket. One that does not verify is dead: it never becomes
// readable by trying again.
func (s *Server) parse(body []byte) *message {
	m := &message{body: body}
	read, ticket, err := s.keys.VerifyOrder(body)
	if err != nil {
		return m.as(dead, err.Error())
	}
	m.accepted = store.Accepted{Binding: ticket.Binding(), Key: ticket.Key, AcceptedAt: acceptedAt(read, ticket)}
	return m
}

func (m *message) as(v verdict, why string) *message {
	m.verdict, m.why = v, why
	return m
}

// acceptedAt is when the backend says it took the order. That is not signed: a time far from the
// order id's own, which is, gives way to it.
func acceptedAt(m sale.OrderMessage, ticket auth.Ticket) time.Time {
	minted := ticket.Order.Time()
	claimed := time.UnixMilli(m.AcceptedAt)
	if off := claimed.Sub(minted); off < -24*time.Hour || off > 24*time.Hour {
		return minted
	}
	return claimed
}
