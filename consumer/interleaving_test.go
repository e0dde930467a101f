package consumer_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"headgate.example/consumer"
	"headgate.example/lib/payment"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// TestInterleavings: whatever the order in which buyers pay and cancel, callbacks come (late, again,
// forged, out of order, or never), deadlines pass, deadline messages, sweeps and questions run, and
// however the provider misbehaves: money and stock agree at every step, an order is paid or cancelled
// once, and in the end every amount that the provider took is an order's or was given back.
func TestInterleavings(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { runInterleavings(t, storetest.SQLiteConfig(t), 0) })
	t.Run("mysql", func(t *testing.T) { runInterleavings(t, storetest.MySQLConfig(t), 15) })
}

func runInterleavings(t *testing.T, cfg store.Config, checks int) {
	w := newWorldOn(t, storetest.Open(t, cfg), 1, time.Hour)
	b := w.bank()
	w.cfg.Payment.AskAfter = time.Hour // asked when the test says so
	consumers, err := consumer.Open(t.Context(), w.cfg, service.NewRuntime("consumer", servicetest.Log(t)),
		consumer.WithCounter(w.counter), consumer.WithQueue(w.queue), consumer.WithLedger(w.ledger), consumer.WithProvider(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = consumers.Close() })
	driver, dsn := "sqlite", cfg.Path+"?_busy_timeout=10000"
	if cfg.Driver == store.MySQL {
		driver, dsn = "mysql", cfg.DSN.Reveal()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if checks > 0 { // fewer, on a database where each statement is a round trip
		set := flag.Lookup("rapid.checks")
		before := set.Value.String()
		_ = set.Value.Set(fmt.Sprint(checks))
		t.Cleanup(func() { _ = set.Value.Set(before) })
	}
	rapid.Check(t, func(t *rapid.T) {
		m := &interleaving{w: w, bank: b, consumer: consumers, db: db, final: map[sale.OrderID]sale.OrderState{}}
		w.minted++
		m.sale = fmt.Sprintf("s%d", w.minted)
		storetest.OpenSale(t, w.store, m.sale, 6, time.Hour)
		t.Repeat(map[string]func(*rapid.T){
			"order": m.order, "begin": m.begin, "press": m.press, "deliver": m.deliver, "forge": m.forge, "cancel": m.cancel,
			"expire": m.expire, "due": m.due, "message": m.message, "sweep": m.sweep, "ask": m.ask, "give back": m.giveBack, "behave": m.behave,
			"": m.check,
		})
		m.end(t)
	})
}

type interleaving struct {
	w        *world
	bank     *bank
	consumer *consumer.Server
	db       *sql.DB

	sale    string
	orders  []store.Accepted
	begun   []begun
	network []store.SandboxCallback // callbacks that may come, now or again
	final   map[sale.OrderID]sale.OrderState
}

type begun struct{ reference, proof string }

func (m *interleaving) ids() []sale.OrderID {
	ids := make([]sale.OrderID, len(m.orders))
	for i, a := range m.orders {
		ids[i] = a.Order
	}
	return ids
}

// any skips the step until there are orders.
func (m *interleaving) any(t *rapid.T) store.Accepted {
	if len(m.orders) == 0 {
		t.Skip("no order yet")
	}
	return rapid.SampledFrom(m.orders).Draw(t, "order")
}

// change runs a statement behind everybody's back: time passes by it.
func (m *interleaving) change(t *rapid.T, statement string, args ...any) {
	if _, err := m.db.Exec(statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

const longAgo = "2020-01-01 00:00:00.000"

func need(t *rapid.T, err error, fine ...error) {
	t.Helper()
	if err != nil && !slices.ContainsFunc(fine, func(f error) bool { return errors.Is(err, f) }) {
		t.Fatalf("%v", err)
	}
}

func (m *interleaving) order(t *rapid.T) {
	if len(m.orders) == 6 {
		t.Skip("sold out")
	}
	a := m.w.mint(sale.Confirmed)
	a.Sale = m.sale
	report, err := m.w.store.WriteOrders(context.Background(), []store.Accepted{a})
	need(t, err)
	if report.Count(store.Written) != 1 {
		t.Fatalf("%+v", report)
	}
	m.orders = append(m.orders, a)
}

func (m *interleaving) begin(t *rapid.T) {
	a := m.any(t)
	ctx := context.Background()
	_, p, err := m.w.store.BeginPayment(ctx, a.Order, a.User, store.PaymentTerms{Provider: m.bank.Name(), Margin: time.Second, AskAfter: time.Hour})
	need(t, err, store.ErrNotPayable)
	if err != nil || rapid.IntRange(0, 5).Draw(t, "the request gets lost") == 0 {
		return
	}
	page, err := m.bank.Begin(ctx, payment.Request{Reference: p.Reference, Order: a.Order, AmountMinor: p.AmountMinor, Currency: p.Currency, ExpiresAt: p.ExpiresAt})
	need(t, err)
	_, query, _ := strings.Cut(page, "?")
	values, err := url.ParseQuery(query)
	need(t, err)
	if known := (begun{values.Get("reference"), values.Get("proof")}); !slices.Contains(m.begun, known) {
		m.begun = append(m.begun, known)
	}
}

func (m *interleaving) press(t *rapid.T) {
	if len(m.begun) == 0 {
		t.Skip("nothing to pay")
	}
	page := rapid.SampledFrom(m.begun).Draw(t, "page")
	_, err := m.bank.Pay(context.Background(), page.reference, page.proof)
	need(t, err, sandbox.ErrClosed)
	m.collect(t)
}

// collect takes the callbacks over from the sandbox's courier.
func (m *interleaving) collect(t *rapid.T) {
	m.change(t, "UPDATE sandbox_callbacks SET due_at = '"+longAgo+"'")
	rows, err := m.w.store.ClaimSandboxCallbacks(context.Background(), 100, time.Hour)
	need(t, err)
	for _, row := range rows {
		m.network = append(m.network, row)
		need(t, m.w.store.FinishSandboxCallback(context.Background(), row.ID))
	}
}

// deliver lets a callback come; it may come again.
func (m *interleaving) deliver(t *rapid.T) {
	if len(m.network) == 0 {
		t.Skip("no callback is on its way")
	}
	i := rapid.IntRange(0, len(m.network)-1).Draw(t, "callback")
	row := m.network[i]
	if rapid.Bool().Draw(t, "the last time") {
		m.network = slices.Delete(m.network, i, i+1)
	}
	m.notify(t, row.Body, row.Signature, row.Once)
}

func (m *interleaving) notify(t *rapid.T, body, signature string, forged bool) {
	notice, err := m.bank.Verify(http.Header{sandbox.SignatureHeader: {signature}}, []byte(body))
	if errors.Is(err, payment.ErrForged) != forged {
		t.Fatalf("verifying %s (forged: %v): %v", body, forged, err)
	}
	if err == nil && notice.State == payment.Paid {
		_, err = m.w.store.ReceivePayment(context.Background(), m.bank.Name(), notice.Reference, store.Money{AmountMinor: notice.AmountMinor, Currency: notice.Currency, At: notice.At})
		need(t, err)
	}
}

func (m *interleaving) forge(t *rapid.T) {
	a := m.any(t)
	body := fmt.Sprintf(`{"version":1,"event":"paid","reference":"%s-1","order":"%s","amount_minor":1999,"currency":"CNY","at":1}`, a.Order, a.Order)
	signature := rapid.SampledFrom([]string{"", "p1.", "p1.AAAA", "p9.AAAA"}).Draw(t, "signature")
	if len(m.network) > 0 { // of another callback
		signature = m.network[0].Signature
		body += " "
	}
	m.notify(t, body, signature, true)
}

func (m *interleaving) cancel(t *rapid.T) {
	a := m.any(t)
	_, err := m.w.store.CancelOrder(context.Background(), a.Order, a.User)
	need(t, err, store.ErrNotCancellable)
}

// expire makes an order's payments expire, here and perhaps at the provider.
func (m *interleaving) expire(t *rapid.T) {
	a := m.any(t)
	m.change(t, "UPDATE payments SET expires_at = ? WHERE order_id = ?", longAgo, int64(a.Order))
	m.change(t, "UPDATE payments SET check_at = ? WHERE order_id = ? AND check_at IS NOT NULL", longAgo, int64(a.Order))
	if rapid.Bool().Draw(t, "at the provider") {
		m.change(t, "UPDATE sandbox_payments SET expires_at = ? WHERE order_id = ?", longAgo, int64(a.Order))
	}
}

func (m *interleaving) due(t *rapid.T) {
	m.change(t, "UPDATE orders SET deadline = ? WHERE id = ?", longAgo, int64(m.any(t).Order))
}

func (m *interleaving) message(t *rapid.T) {
	need(t, m.consumer.EndOrders(context.Background(), fmt.Sprintf(`{"version":1,"orders":["%s"]}`, m.any(t).Order)))
}

func (m *interleaving) sweep(t *rapid.T) { need(t, m.consumer.Sweep(context.Background())) }

func (m *interleaving) ask(t *rapid.T) {
	m.change(t, "UPDATE payments SET check_at = ? WHERE check_at IS NOT NULL", longAgo)
	need(t, m.consumer.AskPayments(context.Background()))
}

func (m *interleaving) giveBack(t *rapid.T) {
	m.change(t, "UPDATE refunds SET due_at = ?", longAgo)
	m.bank.lost.Store(rapid.Int64Range(0, 1).Draw(t, "answers that get lost"))
	need(t, m.consumer.GiveBack(context.Background()))
}

func (m *interleaving) behave(t *rapid.T) {
	need(t, m.bank.SetBehaviour(context.Background(), sandbox.Behaviour{
		Repeat: rapid.IntRange(0, 2).Draw(t, "repeat"), Reorder: rapid.Bool().Draw(t, "reorder"), Forge: rapid.Bool().Draw(t, "forge"),
		Drop: rapid.Bool().Draw(t, "drop"), Late: rapid.Bool().Draw(t, "late"), Silent: rapid.Bool().Draw(t, "silent"),
	}))
}

// check is what holds after every step.
func (m *interleaving) check(t *rapid.T) {
	storetest.CheckSale(t, m.w.store, m.sale, m.ids()...)
	storetest.CheckMoney(t, m.w.store, m.ids()...)
	rows, err := m.w.store.OrdersByIDs(context.Background(), m.ids())
	need(t, err)
	for _, row := range rows {
		if was := m.final[row.ID]; was != "" && was != row.State {
			t.Fatalf("order %s was %s and is %s", row.ID, was, row.State)
		}
		if row.State != sale.Unpaid {
			m.final[row.ID] = row.State
		}
	}
}

// end lets everything come to its end with a provider that answers, and compares its books with ours.
func (m *interleaving) end(t *rapid.T) {
	ctx := context.Background()
	need(t, m.bank.SetBehaviour(ctx, sandbox.Behaviour{}))
	m.bank.lost.Store(0)
	m.collect(t)
	for _, row := range m.network {
		m.notify(t, row.Body, row.Signature, row.Once)
	}
	for _, table := range []string{"payments", "sandbox_payments"} {
		m.change(t, "UPDATE "+table+" SET expires_at = ?", longAgo)
	}
	m.change(t, "UPDATE orders SET deadline = ?", longAgo)
	m.ask(t)
	// A payment whose request got lost is unknown to the provider; its order waits for doubt_after.
	m.change(t, "UPDATE payments SET state = 'doubtful' WHERE state = 'open'")
	m.sweep(t)
	m.change(t, "UPDATE refunds SET due_at = ?", longAgo)
	need(t, m.consumer.GiveBack(ctx))
	need(t, m.consumer.Relay(ctx))
	m.check(t)

	var taken, given int64
	for _, page := range m.begun {
		row, err := m.w.store.SandboxPayment(ctx, page.reference)
		need(t, err)
		if row.State == store.SandboxPaid {
			taken += row.AmountMinor
		}
		given += row.RefundedMinor
	}
	came, back := storetest.CheckMoney(t, m.w.store, m.ids()...)
	if came != taken || back != given {
		t.Fatalf("the provider took %d and gave %d back; the ledger has %d and %d", taken, given, came, back)
	}
	for id, state := range m.final {
		want := map[sale.OrderState]sale.HoldState{sale.Paid: sale.Confirmed, sale.Cancelled: sale.Released}[state]
		if got := m.w.counter.state(id); got != want {
			t.Fatalf("order %s is %s, the counter has it %s", id, state, got)
		}
	}
	if len(m.final) != len(m.orders) {
		t.Fatalf("%d of %d orders have come to an end", len(m.final), len(m.orders))
	}
}
