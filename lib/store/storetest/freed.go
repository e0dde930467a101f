package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

func testCancel(t *testing.T, s *store.Store) {
	ctx := context.Background()
	id := newSaleID()
	OpenSale(t, s, id, 10, time.Hour)
	a := accepted(id, "u1", 1)
	write(t, s, []store.Accepted{a}, store.Written)
	_, err := s.CancelOrder(ctx, a.Order, "u2")
	wantError(t, err, store.ErrNotFound)
	_, err = s.CancelOrder(ctx, newID(), "u1")
	wantError(t, err, store.ErrNotFound)
	cancelled, err := s.CancelOrder(ctx, a.Order, "u1")
	must(t, err)
	if cancelled.State != sale.Cancelled || cancelled.Active() || cancelled.Reason == "" {
		t.Fatalf("cancelled: %+v", cancelled)
	}
	_, err = s.CancelOrder(ctx, a.Order, "u1")
	wantError(t, err, store.ErrNotCancellable)
	state(t, s, a.Order, sale.Cancelled)
	CheckSale(t, s, id, a.Order)
}

func testSweep(t *testing.T, s *store.Store) {
	ctx := context.Background()
	soon, later := newSaleID(), newSaleID()
	OpenSale(t, s, soon, 10, time.Millisecond)
	OpenSale(t, s, later, 10, time.Hour)
	a, b, c := accepted(soon, "u1", 1), accepted(soon, "u2", 1), accepted(later, "u1", 1)
	write(t, s, []store.Accepted{a, b, c}, store.Written, store.Written, store.Written)
	swept := 0
	servicetest.Eventually(t, 30*time.Second, "both due orders are cancelled", func() bool {
		report, err := s.CancelDue(ctx, 1)
		must(t, err)
		if report.Cancelled > 1 {
			t.Fatalf("CancelDue(1) cancelled %d", report.Cancelled)
		}
		swept += report.Cancelled
		return swept == 2
	})
	state(t, s, a.Order, sale.Cancelled)
	state(t, s, b.Order, sale.Cancelled)
	state(t, s, c.Order, sale.Unpaid)
	if again, err := s.CancelDue(ctx, 100); again.Cancelled != 0 || err != nil {
		t.Fatalf("a second sweep: %+v, %v", again, err)
	}
	CheckSale(t, s, soon, a.Order, b.Order)
	CheckSale(t, s, later, c.Order)
}

func testOutbox(t *testing.T, s *store.Store) {
	ctx := context.Background()
	drainOutbox(t, s)
	before, err := s.Backlog(ctx)
	must(t, err)
	id := newSaleID()
	OpenSale(t, s, id, 10, time.Hour)
	var batch []store.Accepted
	for i := range 3 {
		a := accepted(id, fmt.Sprintf("u%d", i), 1)
		batch = append(batch, a)
		write(t, s, []store.Accepted{a}, store.Written)
		_, err := s.CancelOrder(ctx, a.Order, a.User)
		must(t, err)
	}
	claimed, err := s.ClaimOutbox(ctx, 2, time.Hour)
	must(t, err)
	if len(claimed) != 2 || claimed[0].OrderID != batch[0].Order || claimed[0].Attempts != 1 {
		t.Fatalf("claimed %+v", claimed)
	}
	rest, err := s.ClaimOutbox(ctx, 10, time.Millisecond)
	must(t, err)
	if len(rest) != 1 || rest[0].OrderID != batch[2].Order {
		t.Fatalf("the second claim is %+v: the leased rows must not be in it", rest)
	}
	servicetest.Eventually(t, 30*time.Second, "the lease ends and the row is due again", func() bool {
		again, err := s.ClaimOutbox(ctx, 10, time.Millisecond)
		must(t, err)
		return len(again) == 1 && again[0].OrderID == batch[2].Order && again[0].Attempts >= 2
	})
	must(t, s.FinishOutbox(ctx, "released", batch[0].Order))
	must(t, s.FinishOutbox(ctx, "already", batch[0].Order)) // settled rows keep the first answer
	must(t, s.ParkOutbox(ctx, "unknown", batch[1].Order))
	must(t, s.RetryOutbox(ctx, time.Hour, "no answer", batch[2].Order))
	for i, want := range []struct{ state, answer string }{
		{store.OutboxDone, "released"}, {store.OutboxParked, "unknown"}, {store.OutboxDue, "no answer"},
	} {
		row, err := s.OutboxByID(ctx, batch[i].Order)
		must(t, err)
		if row.State != want.state || row.Answer != want.answer {
			t.Fatalf("outbox row %d is %+v, want %+v", i, row, want)
		}
	}
	after, err := s.Backlog(ctx)
	must(t, err)
	if after.OutboxDue != before.OutboxDue+1 || after.OutboxParked != before.OutboxParked+1 || after.OutboxAge < 0 {
		t.Fatalf("backlog %+v, before %+v", after, before)
	}
	open, err := s.UnfinishedOutbox(ctx, batch[0].Order-1, 10)
	must(t, err)
	if len(open) != 2 || open[0].OrderID != batch[1].Order {
		t.Fatalf("unfinished: %+v", open)
	}
	must(t, s.FinishOutbox(ctx, "released", batch[1].Order, batch[2].Order))
}

func drainOutbox(t *testing.T, s *store.Store) {
	t.Helper()
	for {
		rows, err := s.ClaimOutbox(context.Background(), 1000, time.Hour)
		must(t, err)
		if len(rows) == 0 {
			return
		}
		var ids []sale.OrderID
		for _, row := range rows {
			ids = append(ids, row.OrderID)
		}
		must(t, s.FinishOutbox(context.Background(), "released", ids...))
	}
}

func testDeadLetters(t *testing.T, s *store.Store) {
	ctx := context.Background()
	id := newSaleID()
	OpenSale(t, s, id, 10, time.Hour)
	a, known := accepted(id, "u1", 1), accepted(id, "u2", 1)
	write(t, s, []store.Accepted{known}, store.Written)
	body := []byte("\x00not json\xff")
	letter := store.DeadLetter{OrderID: a.Order, Topic: id, Body: body, Reason: strings.Repeat("é", 300)}
	must(t, s.AddDeadLetter(ctx, letter))
	must(t, s.AddDeadLetter(ctx, letter)) // a redelivery
	letter.Body, letter.Reason = []byte("another"), "not \xff text"
	must(t, s.AddDeadLetter(ctx, letter))
	wantError(t, s.AddDeadLetter(ctx, store.DeadLetter{Topic: id, Body: make([]byte, store.MaxBodyBytes+1)}), store.ErrBodyTooLarge)
	all, err := s.ListDeadLetters(ctx, 0, 0)
	must(t, err)
	var mine []store.DeadLetter
	for _, l := range all {
		if l.Topic == id {
			mine = append(mine, l)
		}
	}
	if len(mine) != 2 || string(mine[0].Body) != string(body) || mine[0].OrderID != a.Order {
		t.Fatalf("the dead letters are %+v", mine)
	}
	a.AcceptedAt = time.Time{} // whoever discards a letter need not know it
	discard := func(id int64, a *store.Accepted, rejects bool) {
		t.Helper()
		rejected, err := s.DiscardDeadLetter(ctx, id, a)
		must(t, err)
		if rejected != rejects {
			t.Fatalf("discarding letter %d rejected an order: %v", id, rejected)
		}
	}
	discard(mine[0].ID, &a, true)
	state(t, s, a.Order, sale.Rejected)
	_, err = s.DiscardDeadLetter(ctx, mine[0].ID, nil)
	wantError(t, err, store.ErrNotFound)
	discard(mine[1].ID, &known, false) // has a row: only the letter goes
	state(t, s, known.Order, sale.Unpaid)
	CheckSale(t, s, id, a.Order, known.Order)

	letter.Reason = "still no order"
	must(t, s.AddDeadLetter(ctx, letter)) // published anew after it was discarded: not to be lost in silence
	again, err := s.ListDeadLetters(ctx, 0, 0)
	must(t, err)
	if len(again) != 1 || again[0].ID != mine[1].ID || again[0].Reason != letter.Reason {
		t.Fatalf("a discarded letter that came again is listed as %+v", again)
	}
	replayDeadLetter(t, s, again[0])
}

// replayDeadLetter: a replayed letter is parked whole, once and due at once; when it is dead again, it
// is the same letter.
func replayDeadLetter(t *testing.T, s *store.Store, letter store.DeadLetter) {
	ctx := context.Background()
	must(t, s.ReplayDeadLetter(ctx, letter.ID))
	wantError(t, s.ReplayDeadLetter(ctx, letter.ID), store.ErrNotFound)
	settled, err := s.DeadLetterByID(ctx, letter.ID)
	must(t, err)
	if settled.DiscardedAt == nil || string(settled.Body) != string(letter.Body) {
		t.Fatalf("the replayed letter is %+v", settled)
	}
	due, err := s.ClaimParked(ctx, 10, time.Hour)
	must(t, err)
	if len(due) != 1 || due[0].Topic != letter.Topic || due[0].OrderID != letter.OrderID || string(due[0].Body) != string(letter.Body) {
		t.Fatalf("after the replay these are due: %+v", due)
	}
	must(t, s.AddDeadLetter(ctx, letter)) // the consumer finds it dead again
	must(t, s.FinishParked(ctx, due[0].ID))
	again, err := s.DeadLetterByID(ctx, letter.ID)
	must(t, err)
	if again.DiscardedAt != nil {
		t.Fatalf("the letter that was dead again is %+v", again)
	}
	_, err = s.DeadLetterByID(ctx, letter.ID+1000)
	wantError(t, err, store.ErrNotFound)
	wantError(t, s.ReplayDeadLetter(ctx, letter.ID+1000), store.ErrNotFound)
}

func testParked(t *testing.T, s *store.Store) {
	ctx := context.Background()
	message := store.ParkedMessage{OrderID: newID(), Topic: "orders", Body: []byte(newSaleID()), Reason: "shard away"}
	other := message
	other.Body = []byte(newSaleID())
	must(t, s.ParkMessages(ctx, time.Millisecond, message, other))
	must(t, s.ParkMessages(ctx, time.Millisecond, message)) // a redelivery
	var claimed []store.ParkedMessage
	servicetest.Eventually(t, 30*time.Second, "both messages are due", func() bool {
		rows, err := s.ClaimParked(ctx, 10, time.Hour)
		must(t, err)
		claimed = append(claimed, rows...)
		return len(claimed) == 2
	})
	if claimed[0].Attempts != 1 || claimed[0].Reason != "shard away" {
		t.Fatalf("claimed %+v", claimed)
	}
	must(t, s.RetryParked(ctx, time.Millisecond, "still away", claimed[0].ID))
	must(t, s.FinishParked(ctx, claimed[1].ID))
	servicetest.Eventually(t, 30*time.Second, "the retried message is due again", func() bool {
		rows, err := s.ClaimParked(ctx, 10, time.Hour)
		must(t, err)
		return len(rows) == 1 && rows[0].ID == claimed[0].ID && rows[0].Attempts == 2 && rows[0].Reason == "still away"
	})
	backlog, err := s.Backlog(ctx)
	must(t, err)
	listed, err := s.ListParked(ctx, 0, 0)
	must(t, err)
	if backlog.Parked != 1 || len(listed) != 1 {
		t.Fatalf("backlog %+v, listed %+v", backlog, listed)
	}
	must(t, s.FinishParked(ctx, claimed[0].ID))
	wantError(t, s.ParkMessages(ctx, 0, store.ParkedMessage{Body: make([]byte, store.MaxBodyBytes+1)}), store.ErrBodyTooLarge)
}
