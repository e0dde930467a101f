package backend_test

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"headgate.example/backend"
	"headgate.example/lib/auth"
	"headgate.example/lib/payment"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
	"headgate.example/lib/store/storetest"
)

// withSandbox is a shop that is paid in the sandbox.
func withSandbox(c *backend.Config) {
	c.Payment.Provider = payment.Sandbox
	c.Payment.Sandbox.Keys = []auth.SymmetricKey{{ID: "p1", Secret: "pay-secret-0123456789abc"}}
	c.Payment.AskAfter = time.Hour // nobody asks: callbacks alone
}

// buy makes an unpaid order of a user in sale 1.
func (s *shop) buy(user string) sale.OrderID {
	s.t.Helper()
	ticket, _ := s.hold("1", user)
	s.consume(ticket)
	return ticket.Order
}

type paying struct {
	Status  string `json:"status"`
	Payment *struct {
		Reference, State, Page string
		AmountMinor            int64 `json:"amount_minor"`
		ExpiresAt              int64 `json:"expires_at"`
	} `json:"payment"`
	Deadline int64 `json:"deadline"`
}

func (s *shop) pay(as who, id sale.OrderID) paying {
	s.t.Helper()
	var p paying
	s.call(as, "POST", "/api/orders/"+id.String()+"/pay", nil).want(200, "").into(&p)
	return p
}

// press is the buyer's press on the pay page.
func (s *shop) press(page string) *answer {
	s.t.Helper()
	_, query, ok := strings.Cut(page, "?")
	if !ok {
		s.t.Fatalf("the pay page is %q", page)
	}
	return s.call(nobody, "POST", "/sandbox/pay?"+query, nil)
}

func (s *shop) metricsText() string {
	var text bytes.Buffer
	s.runtime.Metrics.WritePrometheus(&text)
	return text.String()
}

func (s *shop) settles(id sale.OrderID, want sale.OrderState) {
	s.t.Helper()
	servicetest.Eventually(s.t, 30*time.Second, "the order is "+string(want), func() bool {
		order, err := s.ledger.OrderByID(s.t.Context(), id)
		return err == nil && order.State == want
	})
}

func (s *shop) behave(behaviour map[string]any) {
	s.t.Helper()
	full := map[string]any{"delay_ms": 0, "repeat": 0, "reorder": false, "forge": false, "drop": false, "late": false, "silent": false}
	for k, v := range behaviour {
		full[k] = v
	}
	s.call(root, "PUT", "/api/admin/payments/sandbox", full).want(200, "")
}

func TestPay(t *testing.T) {
	s := newShop(t, withSandbox)
	s.openSale("1", 10)
	ticket, _ := s.hold("1", "a1")
	path := "/api/orders/" + ticket.Order.String()
	s.call(nobody, "POST", path+"/pay", nil).want(401, "unauthenticated")
	s.call(alice, "POST", path+"/pay", nil).want(409, "not_cancellable") // pending
	s.consume(ticket)
	s.call(bob, "POST", path+"/pay", nil).want(404, "not_found")
	first := s.pay(alice, ticket.Order)
	if first.Status != "unpaid" || first.Payment == nil || first.Payment.AmountMinor != 19900 || first.Payment.ExpiresAt >= first.Deadline || first.Deadline == 0 {
		t.Fatalf("begun: %+v", first)
	}
	if again := s.pay(alice, ticket.Order); again.Payment == nil || *again.Payment != *first.Payment {
		t.Fatalf("pressed again: %+v, want %+v", again.Payment, first.Payment)
	}
	_, query, _ := strings.Cut(first.Payment.Page, "?")
	forged, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	forged.Set("reference", first.Payment.Reference+"0")
	s.call(nobody, "POST", "/sandbox/pay?"+forged.Encode(), nil).want(403, "forbidden")
	s.call(nobody, "GET", "/sandbox/payment?"+query, nil).want(200, "")
	s.press(first.Payment.Page).want(200, "")
	s.press(first.Payment.Page).want(200, "")
	s.settles(ticket.Order, sale.Paid)
	if done := s.pay(alice, ticket.Order); done.Status != "paid" || done.Payment != nil {
		t.Fatalf("once paid: %+v", done)
	}
	s.call(alice, "POST", path+"/cancel", nil).want(409, "not_cancellable")
	if came, back := storetest.CheckMoney(t, s.ledger, ticket.Order); came != 19900 || back != 0 {
		t.Fatalf("%d came, %d go back", came, back)
	}
}

func TestNothingToPayWith(t *testing.T) {
	s := newShop(t)
	s.openSale("1", 10)
	id := s.buy("a1")
	s.call(alice, "POST", "/api/orders/"+id.String()+"/pay", nil).want(404, "not_found")
	s.call(nobody, "POST", "/api/payments/sandbox/notify", "{}").want(404, "not_found")
}

// TestNotifyForged: without the provider's signature a callback changes nothing.
func TestNotifyForged(t *testing.T) {
	s := newShop(t, withSandbox)
	s.openSale("1", 10)
	id := s.buy("a1")
	p := s.pay(alice, id)
	body := `{"version":1,"event":"paid","reference":"` + p.Payment.Reference + `","order":"` + id.String() + `","amount_minor":19900,"currency":"CNY","at":1}`
	for _, signature := range []string{"", "p1.", "p1.AAAA", "p2.AAAA", "AAAA", strings.Repeat("x", 4000)} {
		s.call(nobody, "POST", "/api/payments/sandbox/notify", body, "Headgate-Sandbox-Signature", signature).want(403, "forbidden")
	}
	s.call(nobody, "POST", "/api/payments/bank/notify", body).want(404, "not_found")
	s.behave(map[string]any{"forge": true, "drop": true})
	s.press(p.Payment.Page).want(200, "")
	servicetest.Eventually(t, 30*time.Second, "the forged callbacks were delivered", func() bool {
		left, err := s.ledger.CountSandboxCallbacks(t.Context())
		return err == nil && left == 0
	})
	if order, err := s.ledger.OrderByID(t.Context(), id); err != nil || order.State != sale.Unpaid {
		t.Fatalf("after forged callbacks the order is %s, %v", order.State, err)
	}
}

// TestMisbehavingCallbacks: repeated and in the wrong order, each payment still pays once.
func TestMisbehavingCallbacks(t *testing.T) {
	s := newShop(t, withSandbox)
	s.openSale("1", 10)
	s.behave(map[string]any{"repeat": 3, "reorder": true, "forge": true, "delay_ms": 50})
	id := s.buy("a1")
	s.press(s.pay(alice, id).Payment.Page).want(200, "")
	s.settles(id, sale.Paid)
	servicetest.Eventually(t, 30*time.Second, "all callbacks were taken", func() bool {
		return strings.Contains(s.metricsText(), `headgate_backend_payments_total{outcome="known"} 3`)
	})
	if came, back := storetest.CheckMoney(t, s.ledger, id); came != 19900 || back != 0 {
		t.Fatalf("%d came, %d go back", came, back)
	}
}

// TestCancelAsksTheProvider: what was paid, though no callback told, is not cancelled.
func TestCancelAsksTheProvider(t *testing.T) {
	s := newShop(t, withSandbox)
	s.openSale("1", 10)
	s.behave(map[string]any{"drop": true})
	id := s.buy("a1")
	s.press(s.pay(alice, id).Payment.Page).want(200, "")
	s.call(alice, "POST", "/api/orders/"+id.String()+"/cancel", nil).want(409, "not_cancellable")
	s.settles(id, sale.Paid)
}

// TestLateMoney: money for a cancelled order is on its way back, and operators see it.
func TestLateMoney(t *testing.T) {
	s := newShop(t, withSandbox)
	s.openSale("1", 10)
	id := s.buy("a1")
	page := s.pay(alice, id).Payment.Page
	s.call(alice, "POST", "/api/orders/"+id.String()+"/cancel", nil).want(200, "")
	s.press(page).want(200, "")
	var refunds struct {
		Refunds []struct{ Reference, State, Reason string }
	}
	servicetest.Eventually(t, 30*time.Second, "a refund is listed", func() bool {
		s.call(root, "GET", "/api/admin/refunds?state=due", nil).want(200, "").into(&refunds)
		return len(refunds.Refunds) == 1
	})
	s.call(alice, "GET", "/api/admin/refunds", nil).want(403, "forbidden")
	var payments struct{ Payments []struct{ State string } }
	s.call(root, "GET", "/api/admin/orders/"+id.String()+"/payments", nil).want(200, "").into(&payments)
	if len(payments.Payments) != 1 || payments.Payments[0].State != store.PaymentPaid {
		t.Fatalf("payments: %+v", payments)
	}
	if came, back := storetest.CheckMoney(t, s.ledger, id); came != 19900 || back != 19900 {
		t.Fatalf("%d came, %d go back", came, back)
	}
}

// TestLostPayment: money comes for a payment that the ledger, an old backup, lost: it pays the order that
// the reference names. What names none is not taken.
func TestLostPayment(t *testing.T) {
	s := newShop(t, withSandbox)
	s.openSale("1", 10)
	id := s.buy("a1")
	box, err := sandbox.New(payment.SandboxConfig{Keys: []auth.SymmetricKey{{ID: "p1", Secret: "pay-secret-0123456789abc"}}}, s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	pressLost := func(reference string) {
		t.Helper()
		page, err := box.Begin(t.Context(), payment.Request{Reference: reference, Order: id, AmountMinor: 19900, Currency: "CNY", ExpiresAt: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		s.press(page).want(200, "")
	}
	for _, wrong := range []string{id.String(), id.String() + "-0", id.String() + "-21", id.String() + "-01", (id + 1).String() + "-1", "x-1"} {
		pressLost(wrong)
	}
	servicetest.Eventually(t, 30*time.Second, "each was refused", func() bool {
		return strings.Contains(s.metricsText(), `headgate_backend_payments_total{outcome="unknown"} 6`)
	})
	pressLost(id.String() + "-3")
	s.settles(id, sale.Paid)
	if came, back := storetest.CheckMoney(t, s.ledger, id); came != 19900 || back != 0 {
		t.Fatalf("%d came, %d go back", came, back)
	}
}

// TestPayNothing: an order that costs nothing is paid by the press.
func TestPayNothing(t *testing.T) {
	s := newShop(t, withSandbox)
	free := draft("1", 10)
	free["price_minor"] = 0
	s.call(root, "POST", "/api/admin/sales", free).want(201, "")
	s.call(root, "POST", "/api/admin/sales/1/open", nil).want(200, "")
	id := s.buy("a1")
	for range 2 {
		if p := s.pay(alice, id); p.Status != "paid" || p.Payment != nil {
			t.Fatalf("%+v", p)
		}
	}
	if came, _ := storetest.CheckMoney(t, s.ledger, id); came != 0 {
		t.Fatalf("%d came", came)
	}
}

// TestPayTooLate: with its deadline too near an order is not begun to be paid.
func TestPayTooLate(t *testing.T) {
	s := newShop(t, withSandbox)
	sold := draft("1", 10)
	sold["pay_within_ms"] = 1000
	s.call(root, "POST", "/api/admin/sales", sold).want(201, "")
	s.call(root, "POST", "/api/admin/sales/1/open", nil).want(200, "")
	id := s.buy("a1")
	servicetest.Eventually(t, 30*time.Second, "it can no longer be paid", func() bool {
		_, _, err := s.ledger.BeginPayment(t.Context(), id, "a1", store.PaymentTerms{Provider: "other", Margin: time.Second})
		return errors.Is(err, store.ErrNotPayable)
	})
	s.call(alice, "POST", "/api/orders/"+id.String()+"/pay", nil).want(409, "not_cancellable")
}
