package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"headgate.example/lib/payment"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// askTimeout bounds a question to the payment provider while a buyer waits.
const askTimeout = 3 * time.Second

func (s *Server) registerPayments(b *builder) {
	add(b, buyers, "pay-order", http.MethodPost, "/api/orders/{order}/pay", "Begin to pay an unpaid order", 200, s.payOrder)
	add(b, anyone, "payment-notify", http.MethodPost, "/api/payments/{provider}/notify", "A payment provider's signed callback", 200, s.notifyPayment)
	s.registerRefunds(b)
	add(b, admins, "admin-list-payments", http.MethodGet, "/api/admin/orders/{order}/payments", "Every attempt to pay an order", 200, s.listPayments)
	if box, ok := s.provider.(*sandbox.Sandbox); ok {
		s.registerSandbox(b, box)
	}
}

// paymentView is an attempt to pay. Times are milliseconds since 1970.
type paymentView struct {
	Provider    string `json:"provider"`
	Reference   string `json:"reference"`
	State       string `json:"state" enum:"open,doubtful,paid,closed"`
	AmountMinor int64  `json:"amount_minor"`
	Currency    string `json:"currency"`
	Page        string `json:"page,omitempty" doc:"Where the buyer pays: an address, or a path at this shop."`
	ExpiresAt   int64  `json:"expires_at" doc:"Pay before; it lies before the order's deadline."`
	PaidMinor   int64  `json:"paid_minor,omitempty" doc:"What came."`
	PaidAt      int64  `json:"paid_at,omitempty" doc:"By the provider's clock."`
	Answer      string `json:"answer,omitempty" doc:"The provider's last word."`
	Refund      string `json:"refund,omitempty" enum:"due,done,parked" doc:"The money goes back; see the refunds."`
}

func viewOfPayment(p *store.Payment) paymentView {
	v := paymentView{
		Provider: p.Provider, Reference: p.Reference, State: p.State, AmountMinor: p.AmountMinor, Currency: p.Currency,
		Page: p.Page, ExpiresAt: millisOf(p.ExpiresAt), PaidMinor: p.PaidMinor, Answer: p.Answer,
	}
	if p.PaidAt != nil {
		v.PaidAt = millisOf(*p.PaidAt)
	}
	return v
}

type payOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		orderView
		Payment *paymentView `json:"payment,omitempty" doc:"Where to pay; absent when the order is paid."`
	}
}

// payOrder gives the page on which an unpaid order is paid. Pressing again gives the same page as long
// as it can be paid.
func (s *Server) payOrder(ctx context.Context, in *actionInput) (*payOutput, error) {
	who, id, err := in.parse(ctx)
	if err != nil {
		return nil, err
	}
	if s.provider == nil {
		return nil, problem.New(problem.NotFound, "Nothing can be paid here: the shop has no payment provider.")
	}
	order, p, err := s.store.BeginPayment(ctx, id, who.User, store.PaymentTerms{
		Provider: s.provider.Name(), Margin: s.config.Payment.Margin, AskAfter: s.config.Payment.AskAfter,
	})
	out := &payOutput{CacheControl: "no-store"}
	out.Body.orderView = viewOf(&order)
	switch {
	case order.State == sale.Paid && (err == nil || errors.Is(err, store.ErrNotPayable)): // before, or just now, if it costs nothing
		return out, nil
	case err == nil:
	case errors.Is(err, store.ErrNotPayable):
		return nil, problem.New(problem.NotCancellable, "Only an unpaid order can be paid, and not in the moment before its deadline.").Because(err)
	case errors.Is(err, store.ErrNotFound):
		return nil, s.notInLedger(ctx, who.User, id)
	default:
		return nil, ledgerFailed(err)
	}
	if p.Page == "" {
		if err := s.beginPayment(ctx, &p); err != nil {
			return nil, problem.New(problem.Unavailable, "The payment provider cannot be reached. Try again shortly.").Because(err)
		}
	}
	view := viewOfPayment(&p)
	out.Body.Payment = &view
	return out, nil
}

// beginPayment announces a payment that the ledger has. Should the page get lost, the next press asks
// for it under the same reference.
func (s *Server) beginPayment(ctx context.Context, p *store.Payment) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	page, err := s.provider.Begin(ctx, payment.Request{
		Reference: p.Reference, Order: p.OrderID, AmountMinor: p.AmountMinor, Currency: p.Currency, ExpiresAt: p.ExpiresAt,
	})
	if err != nil {
		return err
	}
	p.Page = page
	return s.store.SetPaymentPage(ctx, p.ID, page)
}

// notifyInput is a callback in whatever form its provider gives it.
type notifyInput struct {
	Provider string `path:"provider" maxLength:"32"`
	RawBody  []byte
	header   http.Header
}

// Resolve keeps the headers: each provider signs in its own.
func (in *notifyInput) Resolve(ctx huma.Context) []error {
	in.header = http.Header{}
	ctx.EachHeader(func(name, value string) { in.header.Add(name, value) })
	return nil
}

type notifyOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Received bool `json:"received"`
	}
}

// notifyPayment believes a callback by its signature, and answers 200 once the ledger has what it
// says; until then the provider repeats it.
func (s *Server) notifyPayment(ctx context.Context, in *notifyInput) (*notifyOutput, error) {
	if s.provider == nil || in.Provider != s.provider.Name() {
		return nil, problem.New(problem.NotFound, "There is no such payment provider.")
	}
	notice, err := s.provider.Verify(in.header, in.RawBody)
	if errors.Is(err, payment.ErrForged) {
		s.metrics.received("forged")
		s.log.Warn("a payment callback without the provider's signature was refused", "provider", in.Provider)
		return nil, problem.New(problem.Forbidden, "The callback is not signed by the provider.").Because(err)
	}
	if err != nil {
		return nil, problem.New(problem.Unavailable, "The callback cannot be verified now.").Because(err)
	}
	if notice.State == payment.Paid {
		if _, err := s.receive(ctx, notice); err != nil {
			return nil, err
		}
	}
	out := &notifyOutput{CacheControl: "no-store"}
	out.Body.Received = true
	return out, nil
}

// receive takes money that the provider vouches for into the ledger.
func (s *Server) receive(ctx context.Context, n payment.Notice) (store.Receipt, error) {
	if err := n.Check(); err != nil {
		s.log.Error("alarm: a payment provider's word cannot be true", "reference", n.Reference, "error", err)
		return store.Receipt{}, problem.New(problem.InvalidRequest, "This cannot be true of a payment.").Because(err)
	}
	money := store.Money{AmountMinor: n.AmountMinor, Currency: n.Currency, At: n.At}
	r, err := s.store.ReceivePayment(ctx, s.provider.Name(), n.Reference, money)
	if errors.Is(err, store.ErrNotFound) && s.adoptPayment(ctx, n.Reference) {
		r, err = s.store.ReceivePayment(ctx, s.provider.Name(), n.Reference, money)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		s.metrics.received("unknown")
		s.log.Error("alarm: money came for a payment that the ledger does not have", "reference", n.Reference, "amount_minor", n.AmountMinor, "currency", n.Currency)
		return r, problem.New(problem.NotFound, "There is no such payment.").Because(err)
	case err != nil:
		return r, ledgerFailed(err)
	case !r.New:
		s.metrics.received("known")
	case r.Refund != "":
		s.metrics.received("refund")
		s.log.Warn("money is refunded", "order", r.Order.ID, "reference", n.Reference, "amount_minor", n.AmountMinor, "why", r.Refund)
	default:
		s.metrics.received("paid")
	}
	return r, nil
}

// adoptPayment lets the ledger have a payment that it lost, as one from an old backup may: its reference,
// which the provider vouches for, names the order. It reports whether the ledger has it now.
func (s *Server) adoptPayment(ctx context.Context, reference string) bool {
	id, ok := store.ReferencedOrder(reference)
	if !ok {
		return false
	}
	order, err := s.store.OrderByID(ctx, id)
	if err == nil {
		_, err = s.store.AdoptPayments(ctx, store.Payment{
			OrderID: id, Provider: s.provider.Name(), Reference: reference, AmountMinor: order.AmountMinor, Currency: order.Currency,
		})
	}
	if err != nil {
		return false
	}
	s.log.Error("alarm: money came for a payment that the ledger had lost; it is taken over by its reference", "order", id, "reference", reference)
	return true
}

// askBeforeCancel asks the provider whether an order's open payments were paid, so that a buyer whose
// callback is late does not cancel what he has paid. Without an answer the cancellation goes on: money
// that has come is refunded.
func (s *Server) askBeforeCancel(ctx context.Context, user string, id sale.OrderID) {
	if s.provider == nil {
		return
	}
	order, err := s.store.OrderByID(ctx, id)
	if err != nil || order.UserID != user || order.State != sale.Unpaid {
		return
	}
	payments, err := s.store.PaymentsOfOrder(ctx, id)
	if err != nil {
		return // cancelling meets the same, and says so
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, p := range payments {
		if p.Provider != s.provider.Name() || p.State != store.PaymentOpen && p.State != store.PaymentDoubtful {
			continue
		}
		notice, err := s.provider.Query(ctx, p.Reference)
		if errors.Is(err, payment.ErrUnknownReference) {
			continue // its Begin got lost
		}
		if err == nil && notice.State == payment.Paid {
			_, err = s.receive(ctx, notice)
		}
		if err != nil {
			s.log.Warn("an order is cancelled without the payment provider's word", "order", id, "reference", p.Reference, "error", err)
		}
	}
}

type paymentsOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Payments []paymentView `json:"payments" doc:"Oldest first."`
	}
}

func (s *Server) listPayments(ctx context.Context, in *actionInput) (*paymentsOutput, error) {
	id, err := sale.ParseOrderID(in.Order)
	if err != nil {
		return nil, problem.New(problem.NotFound, "There is no such order.")
	}
	rows, err := s.store.PaymentsOfOrder(ctx, id)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	refunds, err := s.store.RefundsOf(ctx, ids...)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	out := &paymentsOutput{CacheControl: "no-store"}
	out.Body.Payments = make([]paymentView, len(rows))
	for i := range rows {
		out.Body.Payments[i] = viewOfPayment(&rows[i])
		for _, r := range refunds {
			if r.PaymentID == rows[i].ID {
				out.Body.Payments[i].Refund = r.State
			}
		}
	}
	return out, nil
}

// notifyAddress is where the sandbox of this process sends its callbacks.
func (s *Server) notifyAddress() string {
	if s.config.Payment.Sandbox.Notify != "" {
		return s.config.Payment.Sandbox.Notify
	}
	return fmt.Sprintf("http://%s/api/payments/%s/notify", loopbackOf(s.Addr()), payment.Sandbox)
}
