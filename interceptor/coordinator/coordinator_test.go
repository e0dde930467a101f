package coordinator

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

const (
	first  = sale.OrderID(4096)
	second = sale.OrderID(8192)
)

// script is a counter and an upstream that answer as told and note what they were asked. A call that
// the script does not hold fails the test.
type script struct {
	t       *testing.T
	order   any // client.Hold or error
	reserve any // client.Reservation or error
	forward any // Outcome
	confirm any // client.ConfirmCode, []client.ConfirmCode or error
	abort   any // string or error
	calls   []string
}

func (s *script) note(answer any, format string, args ...any) error {
	call := fmt.Sprintf(format, args...)
	s.calls = append(s.calls, call)
	if answer == nil {
		s.t.Errorf("unexpected call: %s", call)
		return errors.New("not in the script")
	}
	err, _ := answer.(error)
	return err
}

func (s *script) Order(_ context.Context, id sale.OrderID) (client.Hold, error) {
	err := s.note(s.order, "ORDER %s", id)
	hold, _ := s.order.(client.Hold)
	return hold, err
}

func (s *script) Reserve(_ context.Context, saleID, user string, quantity int64, key string) (client.Reservation, error) {
	err := s.note(s.reserve, "RESERVE %s %s %d %q", saleID, user, quantity, key)
	r, _ := s.reserve.(client.Reservation)
	return r, err
}

func (s *script) Confirm(_ context.Context, ids ...sale.OrderID) ([]client.ConfirmCode, error) {
	err := s.note(s.confirm, "CONFIRM %v", ids)
	switch c := s.confirm.(type) {
	case client.ConfirmCode:
		return []client.ConfirmCode{c}, err
	case []client.ConfirmCode:
		return c, err
	}
	return nil, err
}

func (s *script) Abort(_ context.Context, id sale.OrderID, reason string) (string, error) {
	err := s.note(s.abort, "ABORT %s %s", id, reason)
	word, _ := s.abort.(string)
	return word, err
}

func (s *script) Forward(_ context.Context, o Order) Outcome {
	_ = s.note(s.forward, "FORWARD %s %s", o.Order, o.Ticket)
	outcome, _ := s.forward.(Outcome)
	return outcome
}

// plainTickets shows what was signed.
type plainTickets struct{ err error }

func (p plainTickets) SignTicket(t auth.Ticket) (string, error) {
	return fmt.Sprintf("%s/%s/%s/%d/%d/%s/%d", t.Order, t.Sale, t.User, t.Quantity, t.Slot, t.Key, t.ExpiresAt), p.err
}

func reserved(id sale.OrderID) client.Reservation {
	return client.Reservation{Code: client.CodeReserved, Order: id, State: sale.Held, Quantity: 1, Slot: 1, ExpiresAt: 99}
}

func already(id sale.OrderID, state sale.HoldState, quantity int64) client.Reservation {
	return client.Reservation{Code: client.CodeAlready, Order: id, State: state, Quantity: quantity, Slot: 1, ExpiresAt: 99}
}

func refusal(word string, detail int64) client.Reservation {
	return client.Reservation{Code: word, Detail: detail}
}

func binding(id sale.OrderID) sale.Binding {
	return sale.Binding{Order: id, Sale: "s", User: "u", Quantity: 1, Slot: 1}
}

func hold(state sale.HoldState) client.Hold {
	return client.Hold{Binding: binding(first), State: state, Key: "k", ExpiresAt: 77}
}

func ticket() *auth.Ticket {
	return &auth.Ticket{Order: first, Sale: "s", User: "u", Quantity: 1, Slot: 1, Key: "k", ExpiresAt: 55}
}

func units(n int64) *int64 { return &n }

var (
	press    = Request{Sale: "s", User: "u", Quantity: 1}
	keyed    = Request{Sale: "s", User: "u", Quantity: 1, Key: "k"}
	retrying = Request{Sale: "s", User: "u", Quantity: 1, Ticket: ticket()}

	accepted  = Answer{Accepted: true, Order: first, Reserved: true}
	taken     = Outcome{Fate: Taken}
	certainly = Outcome{Fate: Refused, Reply: "full"}
	lost      = Outcome{Fate: Unknown, Cause: errors.New("time-out")}
	notSent   = Outcome{Fate: NotSent, Cause: errors.New("no route")}
)

// undecided is the answer that lets a retry learn the outcome.
func undecided(key string, exp int64) Answer {
	return Answer{Code: problem.UnknownOutcome, Order: first, Reserved: true,
		Ticket: fmt.Sprintf("4096/s/u/1/1/%s/%d", key, exp)}
}

type branch struct {
	name    string
	request Request
	script  script
	want    Answer // Detail and Cause are not compared
	calls   string // joined by "; "
}

const (
	reserveCall = `RESERVE s u 1 ""`
	forwardCall = "; FORWARD 4096 4096/s/u/1/1//99"
)

func runBranches(t *testing.T, branches []branch) {
	for _, b := range branches {
		t.Run(b.name, func(t *testing.T) {
			s := b.script
			s.t = t
			got := New(&s, plainTickets{}).Buy(t.Context(), &s, b.request)
			got.Detail, got.Cause = "", nil
			if !reflect.DeepEqual(got, b.want) {
				t.Errorf("answer\n got %+v\nwant %+v", got, b.want)
			}
			if calls := strings.Join(s.calls, "; "); calls != b.calls {
				t.Errorf("calls\n got %s\nwant %s", calls, b.calls)
			}
		})
	}
}

func TestFirstPress(t *testing.T) {
	unavailable := Answer{Code: problem.Unavailable, Reserved: true}
	runBranches(t, []branch{
		{"taken and confirmed", press, script{reserve: reserved(first), forward: taken, confirm: client.ConfirmConfirmed},
			accepted, reserveCall + forwardCall + "; CONFIRM [4096]"},
		{"confirm says expired", press, script{reserve: reserved(first), forward: taken, confirm: client.ConfirmExpired},
			unavailable, reserveCall + forwardCall + "; CONFIRM [4096]"},
		{"confirm says released", press, script{reserve: reserved(first), forward: taken, confirm: client.ConfirmReleased},
			unavailable, reserveCall + forwardCall + "; CONFIRM [4096]"},
		{"confirm says unknown", press, script{reserve: reserved(first), forward: taken, confirm: client.ConfirmUnknown},
			undecided("", 99), reserveCall + forwardCall + "; CONFIRM [4096]"},
		{"confirm says unavailable", press, script{reserve: reserved(first), forward: taken, confirm: client.ConfirmUnavailable},
			undecided("", 99), reserveCall + forwardCall + "; CONFIRM [4096]"},
		{"confirm fails", press, script{reserve: reserved(first), forward: taken, confirm: client.ErrUnknown},
			undecided("", 99), reserveCall + forwardCall + "; CONFIRM [4096]"},
		{"confirm answers too little", press, script{reserve: reserved(first), forward: taken, confirm: []client.ConfirmCode{}},
			undecided("", 99), reserveCall + forwardCall + "; CONFIRM [4096]"},
		{"upstream unknown", press, script{reserve: reserved(first), forward: lost},
			undecided("", 99), reserveCall + forwardCall},
		{"upstream refused", press, script{reserve: reserved(first), forward: certainly, abort: client.Released},
			Answer{Reply: "full"}, reserveCall + forwardCall + "; ABORT 4096 upstream refused"},
		{"upstream refused, hold expired meanwhile", press, script{reserve: reserved(first), forward: certainly, abort: client.WasExpired},
			Answer{Reply: "full"}, reserveCall + forwardCall + "; ABORT 4096 upstream refused"},
		{"upstream refused, another press got through", press, script{reserve: reserved(first), forward: certainly, abort: client.StillConfirmed},
			accepted, reserveCall + forwardCall + "; ABORT 4096 upstream refused"},
		{"upstream refused, abort says unknown", press, script{reserve: reserved(first), forward: certainly, abort: client.UnknownOrder},
			undecided("", 99), reserveCall + forwardCall + "; ABORT 4096 upstream refused"},
		{"upstream refused, abort fails", press, script{reserve: reserved(first), forward: certainly, abort: client.ErrUnavailable},
			undecided("", 99), reserveCall + forwardCall + "; ABORT 4096 upstream refused"},
		{"upstream never reached", press, script{reserve: reserved(first), forward: notSent, abort: client.Released},
			Answer{Code: problem.Unavailable}, reserveCall + forwardCall + "; ABORT 4096 upstream not reached"},
		{"upstream has no connection free", press, script{reserve: reserved(first), abort: client.Released,
			forward: Outcome{Fate: NotSent, Code: problem.Overloaded, RetryAfter: 2 * time.Second, Cause: errors.New("busy")}},
			Answer{Code: problem.Overloaded, RetryAfter: 2 * time.Second}, reserveCall + forwardCall + "; ABORT 4096 upstream not reached"},
		{"upstream never reached, another press got through", press, script{reserve: reserved(first), forward: notSent, abort: client.StillConfirmed},
			accepted, reserveCall + forwardCall + "; ABORT 4096 upstream not reached"},
		{"upstream never reached, abort fails", press, script{reserve: reserved(first), forward: notSent, abort: client.ErrUnknown},
			undecided("", 99), reserveCall + forwardCall + "; ABORT 4096 upstream not reached"},
	})
}

func TestReserveRefused(t *testing.T) {
	var branches []branch
	for word, want := range map[string]Answer{
		client.CodeNoSale:       {Code: problem.NotFound},
		client.CodePaused:       {Code: problem.Paused},
		client.CodeNotOpen:      {Code: problem.NotOpen, OpensAt: 42},
		client.CodeEnded:        {Code: problem.Ended},
		client.CodeLimit:        {Code: problem.LimitReached},
		client.CodeSoldOut:      {Code: problem.SoldOut, Held: units(42)},
		client.CodeInsufficient: {Code: problem.Insufficient, Left: units(42)},
	} {
		want.CounterSaid = true
		branches = append(branches, branch{word, press, script{reserve: refusal(word, 42)}, want, reserveCall})
	}
	branches = append(branches, branch{"a word of a later version", press, script{reserve: refusal("tired", 0)}, Answer{Code: problem.Internal}, reserveCall})
	runBranches(t, branches)
}

func TestReserveFailed(t *testing.T) {
	runBranches(t, []branch{
		{"busy", press, script{reserve: client.ErrBusy}, Answer{Code: problem.Overloaded}, reserveCall},
		{"unavailable", press, script{reserve: fmt.Errorf("s1: %w", client.ErrUnavailable)}, Answer{Code: problem.Unavailable}, reserveCall},
		{"unknown", press, script{reserve: client.ErrUnknown}, Answer{Code: problem.Unavailable, Reserved: true}, reserveCall},
		{"deadline", press, script{reserve: context.DeadlineExceeded}, Answer{Code: problem.Unavailable, Reserved: true}, reserveCall},
		{"no sale", press, script{reserve: client.ErrNoSale}, Answer{Code: problem.NotFound, CounterSaid: true}, reserveCall},
		{"password", press, script{reserve: client.ErrForbidden}, Answer{Code: problem.Internal}, reserveCall},
		{"malformed", press, script{reserve: &client.RequestError{Field: "user", Reason: "x"}}, Answer{Code: problem.Internal}, reserveCall},
	})
}

func TestAlready(t *testing.T) {
	const keyedCall, keyedForward = `RESERVE s u 1 "k"`, "; FORWARD 4096 4096/s/u/1/1/k/99"
	runBranches(t, []branch{
		{"held: forwarded again", press, script{reserve: already(first, sale.Held, 1), forward: taken, confirm: client.ConfirmConfirmed},
			accepted, reserveCall + forwardCall + "; CONFIRM [4096]"},
		{"held, upstream never reached: the earlier press may have been", press, script{reserve: already(first, sale.Held, 1), forward: notSent},
			undecided("", 99), reserveCall + forwardCall},
		{"held, upstream refused", press, script{reserve: already(first, sale.Held, 1), forward: certainly, abort: client.Released},
			Answer{Reply: "full"}, reserveCall + forwardCall + "; ABORT 4096 upstream refused"},
		{"held with another quantity", press, script{reserve: already(first, sale.Held, 2)},
			Answer{Code: problem.AlreadyOrdered, Order: first, Reserved: true}, reserveCall},
		{"confirmed without a key", press, script{reserve: already(first, sale.Confirmed, 1)},
			Answer{Code: problem.AlreadyOrdered, Order: first, Reserved: true}, reserveCall},
		{"confirmed with the same key", keyed, script{reserve: already(first, sale.Confirmed, 1)}, accepted, keyedCall},
		{"confirmed with the same key and another quantity", keyed, script{reserve: already(first, sale.Confirmed, 3)},
			Answer{Code: problem.AlreadyOrdered, Order: first, Reserved: true}, keyedCall},
		{"held with the same key", keyed, script{reserve: already(first, sale.Held, 1), forward: lost},
			undecided("k", 99), keyedCall + keyedForward},
		{"a state that cannot be", press, script{reserve: already(first, sale.Expired, 1)},
			Answer{Code: problem.Internal, Reserved: true}, reserveCall},
	})
}

func TestRetryWithTicket(t *testing.T) {
	const orderCall, again = "ORDER 4096", `; RESERVE s u 1 "k"`
	keyless := retrying
	keyless.Ticket = ticket()
	keyless.Ticket.Key = ""
	two := retrying
	two.Quantity, two.Stated = 2, true
	unstated := retrying
	unstated.Quantity = 5
	other := hold(sale.Held)
	other.User = "somebody else"
	runBranches(t, []branch{
		{"held: forwarded", retrying, script{order: hold(sale.Held), forward: taken, confirm: client.ConfirmConfirmed},
			accepted, orderCall + "; FORWARD 4096 4096/s/u/1/1/k/77; CONFIRM [4096]"},
		{"held, still unknown", retrying, script{order: hold(sale.Held), forward: lost},
			undecided("k", 77), orderCall + "; FORWARD 4096 4096/s/u/1/1/k/77"},
		{"held, upstream never reached", retrying, script{order: hold(sale.Held), forward: notSent},
			undecided("k", 77), orderCall + "; FORWARD 4096 4096/s/u/1/1/k/77"},
		{"confirmed", retrying, script{order: hold(sale.Confirmed)}, accepted, orderCall},
		{"the ticket's quantity counts when none is stated", unstated, script{order: hold(sale.Confirmed)}, accepted, orderCall},
		{"another quantity is stated", two, script{order: hold(sale.Confirmed)},
			Answer{Code: problem.AlreadyOrdered, Order: first, Reserved: true}, orderCall},
		{"expired: reserved anew", retrying, script{order: hold(sale.Expired), reserve: reserved(second), forward: taken, confirm: client.ConfirmConfirmed},
			Answer{Accepted: true, Order: second, Reserved: true}, orderCall + again + "; FORWARD 8192 8192/s/u/1/1/k/99; CONFIRM [8192]"},
		{"released, and sold out since", retrying, script{order: hold(sale.Released), reserve: refusal(client.CodeSoldOut, 0)},
			Answer{Code: problem.SoldOut, Held: units(0), CounterSaid: true}, orderCall + again},
		{"forgotten: reserved anew", retrying, script{order: client.ErrNoOrder, reserve: refusal(client.CodeEnded, 0)},
			Answer{Code: problem.Ended, CounterSaid: true}, orderCall + again},
		{"counter away", retrying, script{order: client.ErrUnavailable}, undecided("k", 55), orderCall},
		{"bound to somebody else", retrying, script{order: other},
			Answer{Code: problem.Internal, Order: first, Reserved: true}, orderCall},
		{"keyless, expired, then another press's order is confirmed", keyless,
			script{order: hold(sale.Expired), reserve: already(second, sale.Confirmed, 1)},
			Answer{Code: problem.AlreadyOrdered, Order: second, Reserved: true}, orderCall + `; RESERVE s u 1 ""`},
		{"keyless, unknown to ORDER, yet already confirmed under the ticket's id", keyless,
			script{order: client.ErrNoOrder, reserve: already(first, sale.Confirmed, 1)},
			accepted, orderCall + `; RESERVE s u 1 ""`},
	})
}

func TestTicketThatCannotBeSigned(t *testing.T) {
	s := &script{t: t, reserve: reserved(first)}
	if got := New(s, plainTickets{errors.New("no key")}).Buy(t.Context(), s, press); got.Code != problem.Internal || got.Cause == nil || len(s.calls) != 1 {
		t.Fatalf("%+v after %v", got, s.calls)
	}
	s = &script{t: t, order: client.ErrUnavailable}
	if got := New(s, plainTickets{errors.New("no key")}).Buy(t.Context(), s, retrying); got.Code != problem.UnknownOutcome || got.Order != first {
		t.Fatalf("%+v", got)
	}
}

// What is odd must reach the operator's log.
func TestOddAnswersCarryTheirCause(t *testing.T) {
	for _, s := range []*script{
		{reserve: client.ErrUnknown},
		{reserve: reserved(first), forward: lost},
		{reserve: reserved(first), forward: taken, confirm: client.ConfirmReleased},
		{reserve: reserved(first), forward: certainly, abort: client.ErrUnknown},
	} {
		s.t = t
		if got := New(s, plainTickets{}).Buy(t.Context(), s, press); got.Cause == nil {
			t.Errorf("%v: no cause for the log", s.calls)
		}
	}
}
