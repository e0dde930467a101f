package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/backend/agreement"
	"headgate.example/backend/audit"
	"headgate.example/backend/internal/countertest"
	"headgate.example/counter/client"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// system is a counter and a ledger with one open sale, and a queue's depth.
type system struct {
	t       *testing.T
	ledger  *store.Store
	counter *countertest.Counter
	depth   queue.Depth
	now     time.Time
}

func newSystem(t *testing.T, stock int64) *system {
	t.Helper()
	s := &system{t: t, ledger: storetest.SQLite(t), counter: countertest.New(time.Now()), now: time.Now()}
	draft := store.Sale{ID: "1", Currency: "CNY", Stock: stock, OpensAt: s.now.Add(-time.Minute), HoldFor: 30 * time.Second, PayWithin: time.Hour}
	s.must(s.ledger.CreateSale(t.Context(), &draft))
	changes, err := agreement.Open(sale.Terms{
		ID: "1", Revision: 1, Stock: stock, OpensAt: draft.OpensAt.UnixMilli(), HoldForMillis: 30_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	})
	s.must(err)
	_, err = s.ledger.ChangeSale(t.Context(), "1", func(store.Sale) ([]store.SaleChange, error) { return changes, nil })
	s.must(err)
	s.must(agreement.New(s.ledger, s.counter, servicetest.Log(t)).Push(t.Context(), "1"))
	return s
}

func (s *system) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// hold reserves and confirms.
func (s *system) hold(user string) sale.Binding {
	s.t.Helper()
	r, err := s.counter.Reserve(s.t.Context(), "1", user, 1, "")
	s.must(err)
	if r.Refused() {
		s.t.Fatalf("refused: %s", r.Code)
	}
	_, err = s.counter.Confirm(s.t.Context(), r.Order)
	s.must(err)
	return sale.Binding{Order: r.Order, Sale: "1", User: user, Quantity: r.Quantity, Slot: r.Slot}
}

func (s *system) write(bindings ...sale.Binding) {
	s.t.Helper()
	rows := make([]store.Accepted, len(bindings))
	for i, b := range bindings {
		rows[i] = store.Accepted{Binding: b, AcceptedAt: s.now}
	}
	report, err := s.ledger.WriteOrders(s.t.Context(), rows)
	s.must(err)
	for _, r := range report.Results {
		if r.Outcome != store.Written {
			s.t.Fatalf("order %s: %s", r.Order, r.Outcome)
		}
	}
}

func (s *system) run() audit.Report {
	return audit.Run(s.t.Context(), s.counter, s.ledger, func(context.Context) (queue.Depth, error) { return s.depth, nil },
		audit.Options{Grace: time.Minute, PageSize: 7, Now: func() time.Time { return s.now }})
}

// expect audits and checks the verdict and the ids that are named.
func (s *system) expect(verdict audit.Verdict, exit int, ids ...sale.OrderID) audit.Report {
	s.t.Helper()
	r := s.run()
	if r.Verdict != verdict || r.Verdict.ExitCode() != exit {
		s.t.Fatalf("verdict %s (exit %d), want %s (%d): %+v", r.Verdict, r.Verdict.ExitCode(), verdict, exit, r)
	}
	var found []sale.OrderID
	for _, sr := range r.Sales {
		for _, f := range sr.Findings {
			found = append(found, f.Order)
		}
	}
	if fmt.Sprint(found) != fmt.Sprint(ids) && len(found)+len(ids) > 0 {
		s.t.Fatalf("findings name %v, want %v: %+v", found, ids, r.Sales)
	}
	return r
}

func (s *system) orders(n int) []sale.Binding {
	bindings := make([]sale.Binding, n)
	for i := range bindings {
		bindings[i] = s.hold(fmt.Sprintf("u%06d", i))
	}
	return bindings
}

func TestHolds(t *testing.T) {
	s := newSystem(t, 100)
	s.expect(audit.Holds, 0)
	s.write(s.orders(50)...)
	if r := s.expect(audit.Holds, 0); r.Sales[0].Compared != 50 {
		t.Fatalf("%d ids were compared, want 50", r.Sales[0].Compared)
	}
	if _, err := s.counter.Reserve(t.Context(), "1", "holder", 1, ""); err != nil {
		t.Fatal(err)
	}
	s.expect(audit.Holds, 0) // a hold that is not confirmed is nobody's order yet
}

func TestOrderOnItsWayIsNotSettled(t *testing.T) {
	s := newSystem(t, 100)
	bindings := s.orders(20)
	s.write(bindings[:19]...)
	s.depth = queue.Depth{Ready: 1}
	s.now = s.now.Add(time.Hour)
	if r := s.expect(audit.NotSettled, 2); r.Sales[0].Travelling != 1 {
		t.Fatalf("%d travel, want 1", r.Sales[0].Travelling)
	}
	s.write(bindings[19])
	s.expect(audit.Holds, 0)
}

func TestDeadLetterKeepsItUnsettled(t *testing.T) {
	s := newSystem(t, 100)
	s.orders(1)
	s.now = s.now.Add(time.Hour)
	s.must(s.ledger.AddDeadLetter(t.Context(), store.DeadLetter{Topic: "orders", Body: []byte("x"), Reason: "cannot be read"}))
	s.expect(audit.NotSettled, 2)
}

func TestLostOrder(t *testing.T) {
	s := newSystem(t, 100)
	bindings := s.orders(30)
	s.write(bindings[:12]...)
	s.write(bindings[13:]...)
	s.expect(audit.NotSettled, 2, bindings[12].Order) // young: its message may be between publish and queue
	s.now = s.now.Add(2 * time.Minute)
	s.expect(audit.Violated, 1, bindings[12].Order)
}

func TestCancelledOrder(t *testing.T) {
	s := newSystem(t, 100)
	bindings := s.orders(10)
	s.write(bindings...)
	id := bindings[4].Order
	_, err := s.ledger.CancelOrder(t.Context(), id, bindings[4].User)
	s.must(err)
	s.now = s.now.Add(time.Hour)
	s.expect(audit.NotSettled, 2) // the release waits in the outbox
	s.must(s.ledger.FinishOutbox(t.Context(), "released", id))
	s.expect(audit.Violated, 1, id) // it is done, but the counter never heard of it
	_, err = s.counter.Release(t.Context(), id, "cancelled")
	s.must(err)
	s.expect(audit.Holds, 0)
}

func TestActiveOrderWithoutItsHold(t *testing.T) {
	s := newSystem(t, 100)
	bindings := s.orders(10)
	s.write(bindings...)
	_, err := s.counter.Release(t.Context(), bindings[2].Order, "by mistake")
	s.must(err)
	held, err := s.counter.Reserve(t.Context(), "1", "never-confirmed", 1, "")
	s.must(err)
	s.write(sale.Binding{Order: held.Order, Sale: "1", User: "never-confirmed", Quantity: 1, Slot: held.Slot})
	unknown := sale.MakeOrderID(held.Order.IDMillis()+5, 0, 1)
	s.write(sale.Binding{Order: unknown, Sale: "1", User: "unknown", Quantity: 1, Slot: 1})
	s.depth = queue.Depth{Ready: 100} // explains none of it
	s.expect(audit.Violated, 1, bindings[2].Order, held.Order, unknown)
}

func TestOtherBinding(t *testing.T) {
	s := newSystem(t, 100)
	bindings := s.orders(10)
	wrong := bindings[3]
	wrong.User = "somebody-else"
	s.write(append(bindings[:3:3], bindings[4:]...)...)
	s.write(wrong)
	s.expect(audit.Violated, 1, wrong.Order)
}

func TestLostCounter(t *testing.T) {
	s := newSystem(t, 100)
	s.write(s.orders(3)...)
	s.counter.Lose()
	r := s.expect(audit.Violated, 1)
	if len(r.Sales[0].Problems) == 0 {
		t.Fatal("nothing says that the counter lost the sale")
	}
}

func TestUnreachable(t *testing.T) {
	s := newSystem(t, 100)
	s.counter.Fail(client.ErrUnavailable)
	if r := s.expect(audit.Unreachable, 3); r.Error == "" || r.Queue != nil || r.Ledger != nil {
		t.Fatalf("nothing says what is unreachable, or figures are told that nobody read: %+v", r)
	}
	s.counter.Fail(nil)
	r := audit.Run(t.Context(), s.counter, s.ledger, func(context.Context) (queue.Depth, error) { return queue.Depth{}, errors.New("away") }, audit.Options{})
	if r.Verdict != audit.Unreachable {
		t.Fatalf("verdict %s without the queue", r.Verdict)
	}
	r = audit.Run(t.Context(), s.counter, s.ledger, nil, audit.Options{Sale: "no-such"})
	if r.Verdict != audit.Unreachable {
		t.Fatalf("verdict %s for a sale that is not there", r.Verdict)
	}
}

// What the broker does not tell is told as unknown, in words and in JSON, and is no number.
func TestUnknownCount(t *testing.T) {
	s := newSystem(t, 100)
	for _, c := range []struct {
		unacked     int
		words, json string
	}{
		{queue.UnknownCount, "ready 3, unacked unknown, delayed 2, dead 1", `{"ready":3,"unacked":null,"delayed":2,"dead":1}`},
		{0, "ready 3, unacked 0, delayed 2, dead 1", `{"ready":3,"unacked":0,"delayed":2,"dead":1}`},
	} {
		s.depth = queue.Depth{Ready: 3, Unacked: c.unacked, Delayed: 2, Dead: 1}
		told := s.run().Queue
		text, err := json.Marshal(told)
		if err != nil || told.String() != c.words || string(text) != c.json {
			t.Errorf("%d unacked: %s, %s, %v", c.unacked, told, text, err)
		}
	}
}

// A system that sells, cancels and releases while it is audited is never called violated.
func TestNeverViolatedWhileItWorks(t *testing.T) {
	s := newSystem(t, 100_000)
	stop := make(chan struct{})
	done := make(chan error, 1)
	s.depth = queue.Depth{Ready: 1} // this test's queue is the time between hold and write
	go func() {
		done <- work(t.Context(), s, stop)
	}()
	for range 60 {
		if r := s.run(); r.Verdict != audit.Holds && r.Verdict != audit.NotSettled {
			t.Errorf("verdict %s on a healthy system: %+v", r.Verdict, r)
			break
		}
	}
	close(stop)
	s.must(<-done)
	s.depth = queue.Depth{}
	s.expect(audit.Holds, 0)
}

// work buys, writes, and cancels every third order, the release after the ledger's commit.
func work(ctx context.Context, s *system, stop chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		user := fmt.Sprintf("w%06d", i)
		r, err := s.counter.Reserve(ctx, "1", user, 1, "")
		if err != nil {
			return err
		}
		if _, err := s.counter.Confirm(ctx, r.Order); err != nil {
			return err
		}
		row := store.Accepted{Binding: sale.Binding{Order: r.Order, Sale: "1", User: user, Quantity: 1, Slot: r.Slot}, AcceptedAt: time.Now()}
		if _, err := s.ledger.WriteOrders(ctx, []store.Accepted{row}); err != nil {
			return err
		}
		if i%3 != 0 {
			continue
		}
		if _, err := s.ledger.CancelOrder(ctx, r.Order, user); err != nil {
			return err
		}
		if _, err := s.counter.Release(ctx, r.Order, "cancelled"); err != nil {
			return err
		}
		if err := s.ledger.FinishOutbox(ctx, "released", r.Order); err != nil {
			return err
		}
	}
}

// An audit of a whole sale takes seconds, settled or with everything still in the queue.
