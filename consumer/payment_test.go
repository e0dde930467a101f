package consumer_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headgate.example/consumer"
	"headgate.example/lib/auth"
	"headgate.example/lib/payment"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// bank is the sandbox, whose callbacks nobody delivers here, with faults: while away it does not answer
// when asked; the first refunds get lost after they were done.
type bank struct {
	*sandbox.Sandbox
	away      atomic.Bool
	lost      atomic.Int64 // refunds whose answers still get lost
	refunds   atomic.Int64
	refusing  atomic.Bool
	questions atomic.Int64
	nonsense  atomic.Pointer[payment.Notice] // what it says of the reference that is in it
}

func (b *bank) Query(ctx context.Context, reference string) (payment.Notice, error) {
	b.questions.Add(1)
	if n := b.nonsense.Load(); n != nil && n.Reference == reference {
		return *n, nil
	}
	if b.away.Load() {
		return payment.Notice{}, errors.New("away")
	}
	return b.Sandbox.Query(ctx, reference)
}

func (b *bank) Refund(ctx context.Context, r payment.Refund) error {
	b.refunds.Add(1)
	if b.refusing.Load() {
		return payment.ErrRefused
	}
	err := b.Sandbox.Refund(ctx, r)
	if b.lost.Add(-1) >= 0 {
		return errors.New("the answer got lost")
	}
	return err
}

func (w *world) bank() *bank {
	w.t.Helper()
	w.cfg.Payment.Provider = payment.Sandbox
	w.cfg.Payment.Sandbox.Keys = []auth.SymmetricKey{{ID: "p1", Secret: "pay-secret-0123456789abc"}}
	w.cfg.Payment.AskAfter = 20 * time.Millisecond
	w.cfg.PaymentInterval = 5 * time.Millisecond
	box, err := sandbox.New(w.cfg.Payment.Sandbox, w.store)
	if err != nil {
		w.t.Fatal(err)
	}
	return &bank{Sandbox: box}
}

// begin begins to pay an order, and gives what pays it.
func (w *world) begin(b *bank, a store.Accepted) (press func()) {
	w.t.Helper()
	ctx := context.Background()
	_, p, err := w.store.BeginPayment(ctx, a.Order, a.User, store.PaymentTerms{Provider: b.Name(), Margin: w.cfg.Payment.Margin, AskAfter: w.cfg.Payment.AskAfter})
	if err != nil {
		w.t.Fatal(err)
	}
	page, err := b.Begin(ctx, payment.Request{Reference: p.Reference, Order: a.Order, AmountMinor: p.AmountMinor, Currency: p.Currency, ExpiresAt: p.ExpiresAt})
	if err != nil {
		w.t.Fatal(err)
	}
	_, query, _ := strings.Cut(page, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if _, err := b.Pay(ctx, values.Get("reference"), values.Get("proof")); err != nil {
			w.t.Errorf("paying: %v", err)
		}
	}
}

func (w *world) refundState(want string) {
	w.t.Helper()
	w.eventually("the refund is "+want, func() bool {
		rows, err := w.store.ListRefunds(context.Background(), "", 0, 10)
		return err == nil && len(rows) == 1 && rows[0].State == want
	})
}

// TestLostCallback: an order whose callback never came is paid, because the provider is asked.
func TestLostCallback(t *testing.T) {
	w := newWorld(t, 10, time.Hour)
	b := w.bank()
	order := w.mint(sale.Confirmed)
	w.start(consumer.WithProvider(b))
	w.publishOrders(order)
	w.states(sale.Unpaid, order)
	w.begin(b, order)()
	w.states(sale.Paid, order)
	w.check(order)
	storetest.CheckMoney(t, w.store, order.Order)
}

// TestDeadlineAsksFirst: at the deadline an order that the provider knows to be paid is paid, and one
// that is not is cancelled; each by the provider's word.
func TestDeadlineAsksFirst(t *testing.T) {
	w := newWorld(t, 10, 2*time.Second)
	b := w.bank()
	b.away.Store(true)
	paid, unpaid, never := w.mint(sale.Confirmed), w.mint(sale.Confirmed), w.mint(sale.Confirmed)
	w.start(consumer.WithProvider(b))
	w.publishOrders(paid, unpaid, never)
	w.states(sale.Unpaid, paid, unpaid, never)
	press := w.begin(b, paid)
	w.begin(b, unpaid)
	press()
	w.states(sale.Cancelled, never) // its deadline has passed, and so have the others'
	asked := b.questions.Load()
	w.eventually("the provider is asked again", func() bool { return b.questions.Load() > asked+1 })
	w.states(sale.Unpaid, paid, unpaid)
	b.away.Store(false)
	w.states(sale.Paid, paid)
	w.states(sale.Cancelled, unpaid)
	w.eventually("units go back", func() bool { return w.backlog().OutboxDue == 0 })
	w.check(paid, unpaid, never)
	storetest.CheckMoney(t, w.store, paid.Order, unpaid.Order, never.Order)
}

// TestSilentProvider: a provider that never answers holds up a deadline for doubt_after, no longer; the
// money that it tells of afterwards goes back, once, though the first answers get lost.
func TestSilentProvider(t *testing.T) {
	w := newWorld(t, 10, 1500*time.Millisecond)
	b := w.bank()
	w.cfg.Payment.DoubtAfter = 300 * time.Millisecond
	b.away.Store(true)
	b.lost.Store(1)
	order := w.mint(sale.Confirmed)
	w.start(consumer.WithProvider(b))
	w.publishOrders(order)
	w.states(sale.Unpaid, order)
	w.begin(b, order)()
	w.states(sale.Cancelled, order)
	b.away.Store(false)
	w.refundState(store.RefundDone)
	if n := b.refunds.Load(); n < 2 {
		t.Fatalf("the refund was asked for %d times, want it repeated", n)
	}
	if came, back := storetest.CheckMoney(t, w.store, order.Order); came == 0 || came != back {
		t.Fatalf("%d came, %d went back", came, back)
	}
	w.check(order)
}

// TestLostBegin: a payment that the provider never heard of holds up its order's deadline for
// doubt_after, as one without an answer does, and is then closed: it is not asked about for ever.
func TestLostBegin(t *testing.T) {
	for name, c := range map[string]struct {
		doubtAfter time.Duration
		order      sale.OrderState
		payment    string
	}{
		"its Begin may be on its way": {time.Hour, sale.Unpaid, store.PaymentOpen},
		"its Begin got lost":          {100 * time.Millisecond, sale.Cancelled, store.PaymentClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 10, 1500*time.Millisecond)
			b := w.bank()
			w.cfg.Payment.DoubtAfter = c.doubtAfter
			order := w.mint(sale.Confirmed)
			w.start(consumer.WithProvider(b))
			w.publishOrders(order)
			w.states(sale.Unpaid, order)
			due, _, err := w.store.BeginPayment(t.Context(), order.Order, order.User, store.PaymentTerms{Provider: b.Name(), Margin: w.cfg.Payment.Margin, AskAfter: w.cfg.Payment.AskAfter})
			if err != nil {
				t.Fatal(err)
			}
			w.eventually("the order's deadline has passed", func() bool {
				now, err := w.store.Now(t.Context())
				return err == nil && now.After(due.Deadline)
			})
			if asked := b.questions.Load(); c.payment == store.PaymentOpen {
				w.eventually("the provider is asked again", func() bool { return b.questions.Load() > asked })
			}
			w.states(c.order, order)
			payments, err := w.store.PaymentsOfOrder(t.Context(), order.Order)
			if err != nil || len(payments) != 1 || payments[0].State != c.payment || (payments[0].CheckAt == nil) != (c.payment == store.PaymentClosed) {
				t.Fatalf("%+v, %v; want it %s", payments, err, c.payment)
			}
			w.check(order)
		})
	}
}

// TestNonsense: a provider that says what cannot be of one payment does not hold up the others.
func TestNonsense(t *testing.T) {
	yesterday := time.Now().Add(-24 * time.Hour)
	for name, nonsense := range map[string]payment.Notice{
		"nothing was paid":   {State: payment.Paid, Currency: "CNY", At: yesterday},
		"no such currency":   {State: payment.Paid, AmountMinor: 1999, Currency: "Yuan Renminbi", At: yesterday},
		"before money began": {State: payment.Paid, AmountMinor: 1999, Currency: "CNY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 10, time.Hour)
			b := w.bank()
			w.cfg.Payment.AskAfter = 300 * time.Millisecond
			wrong, good := w.mint(sale.Confirmed), w.mint(sale.Confirmed)
			running := w.start(consumer.WithProvider(b))
			w.publishOrders(wrong, good)
			w.states(sale.Unpaid, wrong, good)
			nonsense.Reference = wrong.Order.String() + "-1"
			b.nonsense.Store(&nonsense)
			pressWrong := w.begin(b, wrong)
			press := w.begin(b, good)
			press()
			pressWrong()
			w.states(sale.Paid, good)
			w.states(sale.Unpaid, wrong)
			b.nonsense.Store(nil)
			w.states(sale.Paid, wrong)
			running.stop(t)
			storetest.CheckMoney(t, w.store, wrong.Order, good.Order)
		})
	}
}

// slowBank takes two seconds for each answer, by the consumer's clock.
type slowBank struct {
	*bank
	clock *manualClock
}

func (b *slowBank) Query(ctx context.Context, reference string) (payment.Notice, error) {
	b.clock.advance(2 * time.Second)
	return b.bank.Query(ctx, reference)
}

// claims notes how long payments are claimed for.
type claims struct {
	consumer.Ledger
	longest time.Duration
}

func (c *claims) ClaimPayments(ctx context.Context, limit int, lease time.Duration) ([]store.Payment, error) {
	c.longest = max(c.longest, lease)
	return c.Ledger.ClaimPayments(ctx, limit, lease)
}

// TestDeadConsumersClaimsEndSoon: a consumer that dies while it asks the provider leaves the payments that it has
// claimed to the others soon, since their orders keep their units until somebody has asked; so a round of questions
// is short, however slow the answers.
func TestDeadConsumersClaimsEndSoon(t *testing.T) {
	w := newWorld(t, 20, time.Hour)
	b, clock := w.bank(), newManualClock()
	orders := w.many(10, sale.Confirmed)
	if _, err := w.store.WriteOrders(t.Context(), orders); err != nil {
		t.Fatal(err)
	}
	for _, order := range orders {
		w.begin(b, order)
	}
	ledger := &claims{Ledger: w.ledger}
	s, err := consumer.Open(t.Context(), w.cfg, service.NewRuntime("consumer", servicetest.Log(t)), consumer.WithCounter(w.counter), consumer.WithQueue(w.queue),
		consumer.WithLedger(ledger), consumer.WithProvider(&slowBank{b, clock}), consumer.WithClock(clock))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	began := clock.Now()
	w.eventually("the payments are due", func() bool {
		if err := s.AskPaymentsOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.questions.Load() > 0
	})
	if took := clock.Now().Sub(began); took > 10*time.Second {
		t.Errorf("a round of questions took %s", took)
	}
	if ledger.longest > 30*time.Second {
		t.Errorf("payments were claimed for %s", ledger.longest)
	}
}

// TestRefusedRefund: a refund that the provider refuses waits for an operator, who has it asked for again.
func TestRefusedRefund(t *testing.T) {
	w := newWorld(t, 10, time.Hour)
	b := w.bank()
	b.refusing.Store(true)
	order := w.mint(sale.Confirmed)
	w.start(consumer.WithProvider(b))
	w.publishOrders(order)
	w.states(sale.Unpaid, order)
	press := w.begin(b, order)
	if _, err := w.store.CancelOrder(context.Background(), order.Order, order.User); err != nil {
		t.Fatal(err)
	}
	press()
	w.refundState(store.RefundParked)
	rows, err := w.store.ListRefunds(context.Background(), store.RefundParked, 0, 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("parked: %+v, %v", rows, err)
	}
	retry := func() {
		t.Helper()
		if r, changed, err := w.store.RetryRefund(context.Background(), rows[0].ID); err != nil || !changed {
			t.Fatalf("retrying: %+v, %v, %v", r, changed, err)
		}
	}
	asked := b.refunds.Load()
	retry()
	w.eventually("it is refused again", func() bool { return b.refunds.Load() > asked })
	w.refundState(store.RefundParked)
	b.refusing.Store(false)
	retry()
	w.refundState(store.RefundDone)
}
