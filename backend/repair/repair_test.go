package repair_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.example/backend/agreement"
	"headgate.example/backend/audit"
	"headgate.example/backend/internal/countertest"
	"headgate.example/backend/repair"
	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/payment"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "orders"

// system is a counter and a ledger with one open sale "1", and a queue's depth.
type system struct {
	t       *testing.T
	ledger  *store.Store
	counter *countertest.Counter
	keys    *auth.Keyring
	depth   queue.Depth
	bank    payment.Provider
}

func newSystem(t *testing.T, stock, limit int64) *system {
	t.Helper()
	s := &system{t: t, ledger: storetest.SQLite(t), counter: countertest.New(time.Now())}
	var err error
	s.keys, err = auth.NewKeyring([]auth.SymmetricKey{{ID: "k1", Secret: "0123456789abcdef0123456789abcdef"}})
	s.must(err)
	opens := time.Now().Add(-time.Minute)
	draft := store.Sale{ID: "1", Currency: "CNY", PriceMinor: 100, Stock: stock, LimitPerUser: limit, OpensAt: opens, HoldFor: 30 * time.Second, PayWithin: time.Hour}
	s.must(s.ledger.CreateSale(t.Context(), &draft))
	changes, err := agreement.Open(sale.Terms{
		ID: "1", Revision: 1, Stock: stock, Limit: limit, OpensAt: opens.UnixMilli(), HoldForMillis: 30_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	})
	s.must(err)
	s.intend(changes)
	return s
}

func (s *system) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *system) intend(changes []store.SaleChange) {
	s.t.Helper()
	_, err := s.ledger.ChangeSale(s.t.Context(), "1", func(store.Sale) ([]store.SaleChange, error) { return changes, nil })
	s.must(err)
	s.push()
}

func (s *system) push() {
	s.t.Helper()
	s.must(agreement.New(s.ledger, s.counter, servicetest.Log(s.t)).Push(s.t.Context(), "1"))
}

// buy reserves and confirms.
func (s *system) buy(user, key string) store.Accepted {
	s.t.Helper()
	r, err := s.counter.Reserve(s.t.Context(), "1", user, 1, key)
	s.must(err)
	if r.Refused() {
		s.t.Fatalf("%s: refused: %s", user, r.Code)
	}
	code, err := s.counter.Confirm(s.t.Context(), r.Order)
	s.must(err)
	if code != "confirmed" {
		s.t.Fatalf("confirming: %s", code)
	}
	return store.Accepted{Binding: sale.Binding{Order: r.Order, Sale: "1", User: user, Quantity: r.Quantity, Slot: r.Slot}, Key: key, AcceptedAt: time.Now()}
}

func (s *system) write(orders ...store.Accepted) {
	s.t.Helper()
	for page := range slices.Chunk(orders, store.MaxBatch) {
		report, err := s.ledger.WriteOrders(s.t.Context(), page)
		s.must(err)
		if report.Count(store.Written) != len(page) {
			s.t.Fatalf("%+v", report)
		}
	}
}

func (s *system) message(a store.Accepted) []byte {
	s.t.Helper()
	ticket, err := s.keys.SignTicket(auth.Ticket{Order: a.Order, Sale: a.Sale, User: a.User, Quantity: a.Quantity, Slot: a.Slot, Key: a.Key, ExpiresAt: 1})
	s.must(err)
	return sale.OrderMessage{Version: sale.MessageVersion, Ticket: ticket, AcceptedAt: time.Now().UnixMilli()}.Encode()
}

// park is what the consumer does with an order that the counter does not know.
func (s *system) park(a store.Accepted) {
	s.t.Helper()
	s.must(s.ledger.ParkMessages(s.t.Context(), time.Hour, store.ParkedMessage{OrderID: a.Order, Topic: topic, Body: s.message(a)}))
}

// consume decides the parked messages that are due, as the consumer does.
func (s *system) consume() {
	s.t.Helper()
	due, err := s.ledger.ClaimParked(s.t.Context(), 100, time.Hour)
	s.must(err)
	for _, m := range due {
		_, ticket, err := s.keys.VerifyOrder(m.Body)
		s.must(err)
		code, err := s.counter.Confirm(s.t.Context(), ticket.Order)
		s.must(err)
		if code == "confirmed" {
			s.write(store.Accepted{Binding: ticket.Binding(), Key: ticket.Key})
			s.must(s.ledger.FinishParked(s.t.Context(), m.ID))
		}
	}
}

// relay delivers the releases that are due.
func (s *system) relay() {
	s.t.Helper()
	rows, err := s.ledger.ClaimOutbox(s.t.Context(), 100, time.Hour)
	s.must(err)
	for _, row := range rows {
		answer, err := s.counter.Release(s.t.Context(), row.OrderID, "freed")
		s.must(err)
		if answer == client.UnknownOrder {
			s.must(s.ledger.ParkOutbox(s.t.Context(), answer, row.OrderID))
			continue
		}
		s.must(s.ledger.FinishOutbox(s.t.Context(), answer, row.OrderID))
	}
}

func (s *system) repairWith(counter repair.Counter, apply bool) repair.Outcome {
	return repair.Run(s.t.Context(), repair.Parts{
		Counter: counter, Ledger: s.ledger, Provider: s.bank, Tickets: s.keys, Shards: map[string]int{"s1": 0}, Log: servicetest.Log(s.t),
		Depth: func(context.Context) (queue.Depth, error) { return s.depth, nil },
	}, repair.Options{Apply: apply, Payments: s.bank != nil, Settle: time.Millisecond})
}

func (s *system) repair(apply bool) repair.Outcome {
	s.t.Helper()
	r := s.repairWith(s.counter, apply)
	if r.Error != "" {
		s.t.Fatalf("%+v", r)
	}
	return r
}

func (s *system) audit() audit.Report {
	return audit.Run(s.t.Context(), s.counter, s.ledger, func(context.Context) (queue.Depth, error) { return s.depth, nil }, audit.Options{})
}

func (s *system) holds(confirmed int64) {
	s.t.Helper()
	if r := s.audit(); r.Verdict != audit.Holds || r.Sales[0].Counter.Confirmed != confirmed {
		s.t.Fatalf("want %d confirmed: %+v", confirmed, r)
	}
	if r := s.repair(false); !r.Clean() {
		s.t.Fatalf("another repair finds: %+v", r)
	}
}

func kinds(r repair.Outcome) string {
	var all []string
	for _, step := range r.Steps {
		all = append(all, fmt.Sprintf("%s:%d", step.Kind, step.Count))
	}
	return strings.Join(all, " ")
}

func want(t *testing.T, r repair.Outcome, steps string, listed ...string) {
	t.Helper()
	if kinds(r) != steps {
		t.Fatalf("steps %q, want %q: %+v", kinds(r), steps, r)
	}
	if len(r.Listed) != len(listed) {
		t.Fatalf("listed %q, want %q", r.Listed, listed)
	}
	for i := range listed {
		if !strings.Contains(r.Listed[i], listed[i]) {
			t.Fatalf("listed %q, want %q", r.Listed, listed)
		}
	}
}

// TestLostCounter: orders, a parked message, a dead letter and a release that is under way.
func TestLostCounter(t *testing.T) {
	s := newSystem(t, 100, 2)
	var orders []store.Accepted
	for i := range 20 {
		orders = append(orders, s.buy(fmt.Sprintf("u%d", i), "key"))
	}
	s.write(orders[:18]...)
	s.park(orders[18])
	s.must(s.ledger.AddDeadLetter(t.Context(), store.DeadLetter{Topic: topic, OrderID: orders[19].Order, Body: s.message(orders[19]), Reason: "why"}))
	s.must(s.ledger.AddDeadLetter(t.Context(), store.DeadLetter{Topic: topic, Body: []byte("nonsense"), Reason: "why"}))
	for _, gone := range orders[:3] {
		_, err := s.ledger.CancelOrder(t.Context(), gone.Order, gone.User)
		s.must(err)
	}
	s.relay()
	_, err := s.ledger.CancelOrder(t.Context(), orders[3].Order, orders[3].User)
	s.must(err)
	highest := orders[19].Order

	s.counter.Lose()
	s.relay() // answered `unknown`: parked
	const steps = "pause_sale:0 restore_shard:16"
	want(t, s.repair(false), steps, "dead letter 2")
	if r := s.audit(); r.Verdict != audit.Violated {
		t.Fatalf("a dry run changed something: %+v", r)
	}
	want(t, s.repair(true), steps+" finish_release:1 retry_message:1", "dead letter 2")
	s.push()
	s.consume()
	if r := s.repair(true); len(r.Steps) != 0 {
		t.Fatalf("the second repair: %+v", r)
	}
	// The letter's units are kept for it until an operator has decided.
	letter := orders[19]
	rejected, err := s.ledger.DiscardDeadLetter(t.Context(), 1, &letter)
	if err != nil || !rejected {
		t.Fatalf("%v, %v", rejected, err)
	}
	_, err = s.ledger.DiscardDeadLetter(t.Context(), 2, nil)
	s.must(err)
	s.relay()
	s.holds(15)
	s.intend(agreement.Resume())
	s.write(s.buy("u0", "key"), s.buy("late", ""))
	if last := s.buy("later", ""); last.Order <= highest {
		t.Fatalf("order %s was minted after %s", last.Order, highest)
	}
	if r, err := s.counter.Reserve(t.Context(), "1", "u5", 1, "key"); err != nil || r.Code != client.CodeAlready || r.Order != orders[5].Order {
		t.Fatalf("a buyer's repeated press: %+v, %v", r, err)
	}
}

// TestSlotOfTwo: of two claims to one slot the higher id wins, wherever they are.
func TestSlotOfTwo(t *testing.T) {
	s := newSystem(t, 100, 1)
	mint := func(minute int64, user string) store.Accepted {
		at := time.Now().UnixMilli() - sale.EpochMillis - 600_000 + minute*60_000
		return store.Accepted{Binding: sale.Binding{Order: sale.MakeOrderID(at, 0, 1), Sale: "1", User: user, Quantity: 1, Slot: 1}}
	}
	inLedger, newer := mint(1, "a"), mint(2, "a")
	older, newest := mint(3, "b"), mint(4, "b")
	s.write(inLedger)
	for _, a := range []store.Accepted{newer, older, newest} {
		s.park(a)
	}
	s.counter.Lose()
	s.depth = queue.Depth{Ready: 1}
	if r := s.repair(true); len(r.Waiting) == 0 || len(r.Steps) != 0 {
		t.Fatalf("with messages in the queue: %+v", r)
	}
	s.depth = queue.Depth{}
	want(t, s.repair(true), "free_order:1 expire_message:1 pause_sale:0 restore_shard:2 finish_release:1 retry_message:2")
	s.push()
	s.consume()
	s.holds(2)
	for id, state := range map[sale.OrderID]sale.OrderState{inLedger.Order: sale.Cancelled, newer.Order: sale.Unpaid, older.Order: sale.OrderExpired, newest.Order: sale.Unpaid} {
		if row, err := s.ledger.OrderByID(t.Context(), id); err != nil || row.State != state {
			t.Errorf("order %s is %s (%v), want %s", id, row.State, err, state)
		}
	}
	storetest.CheckSale(t, s.ledger, "1", inLedger.Order, newer.Order, older.Order, newest.Order)
}

// TestExcess: what is beyond the stock is restored as debt, and listed.
func TestExcess(t *testing.T) {
	s := newSystem(t, 3, 1)
	for i := range 3 {
		s.write(s.buy(fmt.Sprintf("u%d", i), ""))
	}
	at := time.Now().UnixMilli() - sale.EpochMillis
	s.park(store.Accepted{Binding: sale.Binding{Order: sale.MakeOrderID(at, 0, 7), Sale: "1", User: "u0", Quantity: 1, Slot: 2}})
	s.counter.Lose()
	r := s.repair(true)
	want(t, r, "pause_sale:0 restore_shard:4 retry_message:1", "4 units are claimed of a stock of 3", "u0 has 2 units")
	s.push()
	if info, err := s.counter.SaleInfo(t.Context(), "1"); err != nil || info.Debt != 1 || info.Available != 0 || info.Confirmed != 4 {
		t.Fatalf("%+v, %v", info, err)
	}
}

// TestOldLedger: rows are missing, and others lack their end.
func TestOldLedger(t *testing.T) {
	s := newSystem(t, 100, 2)
	var orders []store.Accepted
	for i := range 10 {
		orders = append(orders, s.buy(fmt.Sprintf("u%d", i), "k"))
	}
	s.write(orders[:4]...) // the backup has these
	_, err := s.counter.Release(t.Context(), orders[1].Order, "cancelled after the backup")
	s.must(err)
	again := s.buy("u1", "k") // and its slot is somebody's again
	if again.Slot != orders[1].Slot {
		t.Fatalf("slot %d, want %d", again.Slot, orders[1].Slot)
	}
	s.must(s.counter.SetStock(t.Context(), "1", 3, 120)) // so was the stock
	want(t, s.repair(false), "adopt_sale:1 free_order:1 write_order:7")
	want(t, s.repair(true), "adopt_sale:1 free_order:1 write_order:7")
	s.relay()
	s.push()
	s.holds(10)
	current, err := s.ledger.SaleByID(t.Context(), "1")
	if err != nil || current.Revision != 3 || current.Stock != 120 || current.StockCeiling != 120 || current.Intent != store.IntentOpen {
		t.Fatalf("%+v, %v", current, err)
	}
	row, err := s.ledger.OrderByID(t.Context(), orders[7].Order)
	if err != nil || row.State != sale.Unpaid || row.RequestKey != "k" || row.AmountMinor != 100 {
		t.Fatalf("%+v, %v", row, err)
	}
	s.intend(agreement.Pause()) // the change log goes on
	// What is over in the ledger and confirmed at the counter is released again.
	_, err = s.ledger.CancelOrder(t.Context(), orders[5].Order, orders[5].User)
	s.must(err)
	s.must(s.ledger.FinishOutbox(t.Context(), "released", orders[5].Order))
	want(t, s.repair(true), "release:1")
	s.relay()
	s.holds(9)
}

// TestListed: an order that neither side can decide.
func TestListed(t *testing.T) {
	s := newSystem(t, 100, 1)
	unknown := sale.Binding{Order: sale.MakeOrderID(5, 0, 1), Sale: "1", User: "u", Quantity: 1, Slot: 1}
	s.write(store.Accepted{Binding: unknown})
	want(t, s.repair(true), "", "the counter does not know it")
	s.must(s.counter.OpenSale(t.Context(), sale.Terms{
		ID: "2", Revision: 1, Stock: 1, OpensAt: 1, HoldForMillis: 30_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	}))
	want(t, s.repair(true), "", "sale 2: the counter has it", "the counter does not know it")
}

// TestManyParts: a restore that is cut short goes on from where it was.
