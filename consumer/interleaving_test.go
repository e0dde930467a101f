//go:build !race

// One goroutine does it all: the race detector would see nothing, and take seventeen times as long.

package consumer_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strconv"
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
	t.Run("sqlite", func(t *testing.T) { runInterleavings(t, storetest.SQLiteConfig(t), 1) })
	t.Run("mysql", func(t *testing.T) { runInterleavings(t, storetest.MySQLConfig(t), 5) })
}

// runInterleavings runs -rapid.checks checks; so many times fewer on a database where each statement is
// a round trip.
func runInterleavings(t *testing.T, cfg store.Config, fewer int) {
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
	checks := flag.Lookup("rapid.checks").Value
	before := checks.String()
	n, err := strconv.Atoi(before)
	if err != nil {
		t.Fatal(err)
	}
	_ = checks.Set(strconv.Itoa(max(n/fewer, 1)))
	t.Cleanup(func() { _ = checks.Set(before) })
	rapid.Check(t, func(t *rapid.T) {
		m := &interleaving{w: w, bank: b, consumer: consumers, db: db, final: map[sale.OrderID]sale.OrderState{}, state: map[sale.OrderID]sale.OrderState{}, paying: map[sale.OrderID]bool{}}
		w.minted++
		m.sale = fmt.Sprintf("s%d", w.minted)
		storetest.OpenSale(t, w.store, m.sale, 6, time.Hour)
		t.Repeat(map[string]func(*rapid.T){
			"order": m.order, "begin": m.begin, "begin late": m.beginLate, "press": m.press, "deliver": m.deliver, "forge": m.forge, "cancel": m.cancel,
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

	sale     string
	orders   []store.Accepted
	begun    []begun
	requests []payment.Request       // to begin payments, that may still reach the provider
	network  []store.SandboxCallback // callbacks that may come, now or again
	final    map[sale.OrderID]sale.OrderState
	state    map[sale.OrderID]sale.OrderState // at the last check
	paying   map[sale.OrderID]bool            // orders that have payments
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

// change sets a column of this sale's rows behind everybody's back: time passes by it. All checks
// share one database. which narrows it to some of the orders' rows.
func (m *interleaving) change(t *rapid.T, table, set, which string) {
	if len(m.orders) == 0 {
		return
	}
	m.changeOf(t, table, set, which, m.ids()...)
}

func (m *interleaving) changeOf(t *rapid.T, table, set, which string, ids ...sale.OrderID) {
	column := map[string]string{"orders": "id"}[table]
	list := strings.ReplaceAll(strings.Trim(fmt.Sprint(ids), "[]"), " ", ",")
	rows := cmp.Or(column, "order_id") + " IN (" + list + ")"
	if table == "sandbox_callbacks" {
		rows = "reference IN (SELECT reference FROM sandbox_payments WHERE " + rows + ")"
	}
	statement := "UPDATE " + table + " SET " + set + " WHERE " + rows + which
	if _, err := m.db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// longAgo is before every doubt_after.
const longAgo = "2020-01-01 00:00:00.000"

func past(column string) string { return column + " = '" + longAgo + "'" }

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
	if err != nil {
		return
	}
	m.paying[a.Order] = true
	request := payment.Request{Reference: p.Reference, Order: a.Order, AmountMinor: p.AmountMinor, Currency: p.Currency, ExpiresAt: p.ExpiresAt}
	if rapid.IntRange(0, 5).Draw(t, "the request is late or gets lost") == 0 {
		m.requests = append(m.requests, request)
		return
	}
	m.announce(t, request)
}

// beginLate lets a request to begin a payment reach the provider at last.
func (m *interleaving) beginLate(t *rapid.T) {
	if len(m.requests) == 0 {
		t.Skip("no request is on its way")
	}
	i := rapid.IntRange(0, len(m.requests)-1).Draw(t, "request")
	request := m.requests[i]
	m.requests = slices.Delete(m.requests, i, i+1)
	m.announce(t, request)
}

func (m *interleaving) announce(t *rapid.T, request payment.Request) {
	page, err := m.bank.Begin(context.Background(), request)
	need(t, err, payment.ErrRefused)
	if err != nil {
		return // it had expired
	}
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
	behaviour, err := m.bank.Behaviour(context.Background())
	need(t, err)
	if behaviour.Drop && m.saidClosed(t, page.reference) {
		t.Skip("a provider that breaks its promise has to tell")
	}
	_, err = m.bank.Pay(context.Background(), page.reference, page.proof)
	need(t, err, sandbox.ErrClosed)
	m.collect(t)
}

// saidClosed reports whether the provider has promised that a payment will not be paid.
func (m *interleaving) saidClosed(t *rapid.T, reference string) bool {
	var state string
	need(t, m.db.QueryRow("SELECT state FROM sandbox_payments WHERE reference = '"+reference+"'").Scan(&state))
	return state == store.SandboxClosed
}

func (m *interleaving) cancel(t *rapid.T) {
	a := m.any(t)
	_, err := m.w.store.CancelOrder(context.Background(), a.Order, a.User)
	need(t, err, store.ErrNotCancellable)
}

// expire makes an order's payments expire, here and perhaps at the provider; requests that are still on
// their way have expired in any case.
func (m *interleaving) expire(t *rapid.T) {
	a := m.any(t)
	m.changeOf(t, "payments", past("expires_at"), "", a.Order)
	m.changeOf(t, "payments", past("check_at"), " AND check_at IS NOT NULL", a.Order)
	if rapid.Bool().Draw(t, "at the provider") {
		m.changeOf(t, "sandbox_payments", past("expires_at"), "", a.Order)
	}
	for i := range m.requests {
		if m.requests[i].Order == a.Order {
			m.requests[i].ExpiresAt = time.Unix(0, 0)
		}
	}
}

func (m *interleaving) due(t *rapid.T) { m.changeOf(t, "orders", past("deadline"), "", m.any(t).Order) }

func (m *interleaving) message(t *rapid.T) {
	need(t, m.consumer.EndOrders(context.Background(), fmt.Sprintf(`{"version":1,"orders":["%s"]}`, m.any(t).Order)))
}

func (m *interleaving) sweep(t *rapid.T) { need(t, m.consumer.Sweep(context.Background())) }

func (m *interleaving) ask(t *rapid.T) {
	m.change(t, "payments", past("check_at"), " AND check_at IS NOT NULL")
	need(t, m.consumer.AskPayments(context.Background()))
}

func (m *interleaving) giveBack(t *rapid.T) {
	m.change(t, "refunds", past("due_at"), "")
	m.bank.lost.Store(rapid.Int64Range(0, 1).Draw(t, "answers that get lost"))
	need(t, m.consumer.GiveBack(context.Background()))
}

func (m *interleaving) behave(t *rapid.T) {
	need(t, m.bank.SetBehaviour(context.Background(), sandbox.Behaviour{
		Repeat: rapid.IntRange(0, 2).Draw(t, "repeat"), Reorder: rapid.Bool().Draw(t, "reorder"), Forge: rapid.Bool().Draw(t, "forge"),
		Drop: rapid.Bool().Draw(t, "drop"), Late: rapid.Bool().Draw(t, "late"), Silent: rapid.Bool().Draw(t, "silent"),
	}))
}

// check is what holds after every step; of single orders it looks at those that the step can have
// changed, end looks at all.
func (m *interleaving) check(t *rapid.T) {
	rows, err := m.w.store.OrdersByIDs(context.Background(), m.ids())
	need(t, err)
	var changed, payable []sale.OrderID
	for _, row := range rows {
		if m.state[row.ID] != row.State {
			changed = append(changed, row.ID)
		}
		m.state[row.ID] = row.State
		if m.paying[row.ID] {
			payable = append(payable, row.ID)
		}
	}
	storetest.CheckSale(t, m.w.store, m.sale, changed...)
	storetest.CheckMoney(t, m.w.store, payable...)
	m.checkFinal(t, rows)
}

// checkFinal fails when an order has left a state that is its last.
func (m *interleaving) checkFinal(t *rapid.T, rows []store.Order) {
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
		m.change(t, table, past("expires_at"), "")
	}
	m.change(t, "orders", past("deadline"), "")
	m.ask(t)
	m.sweep(t)
	m.change(t, "refunds", past("due_at"), "")
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
	for _, a := range m.orders {
		payments, err := m.w.store.PaymentsOfOrder(ctx, a.Order)
		need(t, err)
		for _, p := range payments {
			if p.CheckAt != nil {
				t.Fatalf("the provider is asked for ever about %+v", p)
			}
		}
	}
	storetest.CheckSale(t, m.w.store, m.sale, m.ids()...)
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
