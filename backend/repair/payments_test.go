package repair_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/payment"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// bank is a sandbox whose books no disaster of ours touches.
type bank struct {
	*sandbox.Sandbox
	silent bool
}

func newBank(t *testing.T) *bank {
	t.Helper()
	box, err := sandbox.New(payment.SandboxConfig{Keys: []auth.SymmetricKey{{ID: "a", Secret: "0123456789abcdef"}}}, storetest.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	return &bank{Sandbox: box}
}

func (b *bank) Query(ctx context.Context, reference string) (payment.Notice, error) {
	if b.silent {
		return payment.Notice{}, errors.New("away")
	}
	return b.Sandbox.Query(ctx, reference)
}

// begin begins a payment that the ledger does not know, and pays it if asked to.
func (b *bank) begin(t *testing.T, order sale.OrderID, number int, pay bool) {
	t.Helper()
	page, err := b.Begin(t.Context(), payment.Request{
		Reference: fmt.Sprintf("%s-%d", order, number), Order: order, AmountMinor: 100, Currency: "CNY", ExpiresAt: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(page, "?")
	values, err := url.ParseQuery(query)
	if err == nil && pay {
		_, err = b.Pay(t.Context(), values.Get("reference"), values.Get("proof"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// askBank is what the consumer does with payments that are due.
func (s *system) askBank() {
	s.t.Helper()
	due, err := s.ledger.ClaimPayments(s.t.Context(), 100, time.Hour)
	s.must(err)
	for _, p := range due {
		n, err := s.bank.Query(s.t.Context(), p.Reference)
		if errors.Is(err, payment.ErrUnknownReference) {
			continue
		}
		s.must(err)
		if n.State == payment.Paid {
			_, err = s.ledger.ReceivePayment(s.t.Context(), p.Provider, p.Reference, store.Money{AmountMinor: n.AmountMinor, Currency: n.Currency, At: n.At})
			s.must(err)
		}
	}
}

// TestLostPayments: the ledger is an old backup. What was paid since is an order's once the provider was
// asked, though the ledger lost the payment, the order, or both; deadlines wait for that.
func TestLostPayments(t *testing.T) {
	s := newSystem(t, 100, 2)
	b := newBank(t)
	s.bank = b
	var orders []store.Accepted
	for i := range 6 {
		orders = append(orders, s.buy(fmt.Sprintf("u%d", i), ""))
	}
	there, paidTwice, gone, goneUnpaid := orders[0], orders[1], orders[3], orders[4]
	s.write(orders[:3]...)
	b.begin(t, there.Order, 1, true)
	b.begin(t, paidTwice.Order, 2, false) // the announcement of the first one got lost
	b.begin(t, paidTwice.Order, 3, true)
	b.begin(t, gone.Order, 1, true)

	const steps = "adopt_payment:3 adopt_payment:1 write_order:3"
	want(t, s.repair(false), steps)
	if payments, err := s.ledger.PaymentsOfOrder(t.Context(), there.Order); err != nil || len(payments) != 0 {
		t.Fatalf("a dry run changed something: %+v, %v", payments, err)
	}
	b.silent = true
	if r := s.repair(true); len(r.Steps) != 0 || len(r.Waiting) != 2 {
		t.Fatalf("without the provider's word: %+v", r)
	}
	b.silent = false
	want(t, s.repair(true), steps)
	if r := s.repair(true); len(r.Steps) != 0 {
		t.Fatalf("the second repair: %+v", r)
	}
	for number, a := range map[string]store.Accepted{"-1": goneUnpaid, "-4": paidTwice} { // a number is not used again
		_, next, err := s.ledger.BeginPayment(t.Context(), a.Order, a.User, store.PaymentTerms{Provider: b.Name()})
		s.must(err)
		if next.Reference != a.Order.String()+number {
			t.Fatalf("%+v, want number %s", next, number)
		}
	}
	s.askBank()
	for _, a := range orders {
		paid := a.Order == there.Order || a.Order == paidTwice.Order || a.Order == gone.Order
		row, err := s.ledger.OrderByID(t.Context(), a.Order)
		s.must(err)
		if (row.State == sale.Paid) != paid {
			t.Errorf("order of %s is %s; paid: %v", a.User, row.State, paid)
		}
		storetest.CheckMoney(t, s.ledger, a.Order)
	}
	s.holds(6)
}
