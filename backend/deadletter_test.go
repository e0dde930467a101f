package backend_test

import (
	"fmt"
	"testing"
	"time"

	"headgate.example/backend"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// letter keeps a dead letter and gives its path.
func (s *shop) letter(body []byte, topic string) string {
	s.t.Helper()
	if err := s.ledger.AddDeadLetter(s.t.Context(), store.DeadLetter{Topic: topic, Body: body, Reason: "why"}); err != nil {
		s.t.Fatal(err)
	}
	letters, err := s.ledger.ListDeadLetters(s.t.Context(), 0, 0)
	if err != nil || len(letters) == 0 {
		s.t.Fatalf("%v, %v", letters, err)
	}
	return fmt.Sprintf("/api/admin/dead-letters/%d", letters[len(letters)-1].ID)
}

func (s *shop) settled(path, action, want string) {
	s.t.Helper()
	var done struct{ Result string }
	s.call(root, "POST", path+"/"+action, nil).want(200, "").into(&done)
	if done.Result != want {
		s.t.Fatalf("%s of %s: %q, want %q", action, path, done.Result, want)
	}
}

func orderMessage(ticket string) []byte {
	return sale.OrderMessage{Version: sale.MessageVersion, Ticket: ticket, AcceptedAt: time.Now().UnixMilli()}.Encode()
}

func (s *shop) openLetters() int {
	s.t.Helper()
	backlog, err := s.ledger.Backlog(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return int(backlog.DeadLetters)
}

// TestDiscard: the order that a letter proves is rejected and its unit is to be given back, once; one
// that has a row stays as it is; one that proves nothing just goes.
func TestDiscard(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	ticket, text := s.hold("1", "a1")
	if _, err := s.counter.Confirm(t.Context(), ticket.Order); err != nil {
		t.Fatal(err)
	}
	path := s.letter(orderMessage(text), backend.Topic)
	var shown struct {
		Order   sale.Binding
		Reason  string
		Body    string
		Refused string
	}
	s.call(root, "GET", path, nil).want(200, "").into(&shown)
	if shown.Order != ticket.Binding() || shown.Reason != "why" || shown.Body == "" || shown.Refused != "" {
		t.Fatalf("shown as %+v", shown)
	}
	s.call(alice, "GET", path, nil).want(403, "forbidden")
	s.call(alice, "POST", path+"/discard", nil).want(403, "forbidden")
	s.settled(path, "discard", "rejected")
	s.settled(path, "discard", "settled")
	s.settled(path, "replay", "settled")
	row, err := s.ledger.OrderByID(t.Context(), ticket.Order)
	if err != nil || row.State != sale.Rejected {
		t.Fatalf("the order is %+v, %v", row, err)
	}
	if out, err := s.ledger.OutboxByID(t.Context(), ticket.Order); err != nil || out.State != store.OutboxDue {
		t.Fatalf("the release is %+v, %v", out, err)
	}

	known, text := s.hold("1", "a2")
	s.consume(known)
	path = s.letter(orderMessage(text), backend.Topic)
	s.settled(path, "discard", "dropped")
	if row, err = s.ledger.OrderByID(t.Context(), known.Order); err != nil || row.State != sale.Unpaid {
		t.Fatalf("the order with a row is %+v, %v", row, err)
	}

	path = s.letter([]byte("\xff nonsense"), backend.Topic)
	var proof struct {
		Refused    string
		BodyBase64 string `json:"body_base64"`
	}
	s.call(root, "GET", path, nil).want(200, "").into(&proof)
	if proof.Refused == "" || proof.BodyBase64 == "" {
		t.Fatalf("a message of no text is shown as %+v", proof)
	}
	s.settled(path, "discard", "dropped")
	if n := s.openLetters(); n != 0 {
		t.Fatalf("%d letters are left", n)
	}
	s.call(root, "POST", "/api/admin/dead-letters/999/discard", nil).want(404, "not_found")
}

// TestReplay: a letter goes to the consumer whole, once.
func TestReplay(t *testing.T) {
	s := newShop(t)
	body := orderMessage("no ticket")
	path := s.letter(body, backend.Topic)
	s.settled(path, "replay", "replayed")
	s.settled(path, "replay", "settled")
	s.settled(path, "discard", "settled")
	parked, err := s.ledger.ListParked(t.Context(), 0, 10)
	if err != nil || len(parked) != 1 || string(parked[0].Body) != string(body) || parked[0].Topic != backend.Topic {
		t.Fatalf("parked: %+v, %v", parked, err)
	}
	other := s.letter([]byte("a deadline"), "something-else")
	s.call(root, "POST", other+"/replay", nil).want(409, "conflict")
	if n := s.openLetters(); n != 1 {
		t.Fatalf("%d letters are left, want the one that is not replayed", n)
	}
}
