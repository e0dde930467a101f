//go:build !race

package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"pgregory.net/rapid"

	"headgate.example/lib/payment"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/store"
)

// The callbacks of TestInterleavings: the network between the provider and us.

// collect takes the callbacks over from the sandbox's courier.
func (m *interleaving) collect(t *rapid.T) {
	m.change(t, "sandbox_callbacks", past("due_at"), "")
	for {
		rows, err := m.w.store.ClaimSandboxCallbacks(context.Background(), 100, time.Hour)
		need(t, err)
		for _, row := range rows {
			m.network = append(m.network, row)
			need(t, m.w.store.FinishSandboxCallback(context.Background(), row.ID))
		}
		if len(rows) < 100 {
			return
		}
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
