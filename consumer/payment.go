package consumer

import (
	"context"
	"errors"
	"time"

	"headgate.example/lib/payment"
	"headgate.example/lib/store"
)

// How the payment provider is asked.
const (
	paymentBatch    = 50
	askTimeout      = 5 * time.Second
	maxAskPause     = 5 * time.Minute
	afterExpiry     = 200 * time.Millisecond // the provider's clock may be behind ours by so much
	firstRefundWait = time.Second
	maxRefundWait   = 10 * time.Minute
	// paymentRound is how long a round goes on asking. What it does not come to is due again when its lease
	// ends.
	paymentRound = 5 * time.Second
	// paymentLease is how long claimed payments and refunds stay with this consumer. Should it die meanwhile,
	// their orders keep their units for so long beyond their deadlines: a whole batch without an answer would be
	// minutes. Who is asked twice, because a lease ended under a slow ledger, says the same twice.
	paymentLease = paymentRound + askTimeout + 10*time.Second
)

// PaymentLedger keeps what is to be asked of the payment provider.
type PaymentLedger interface {
	ClaimPayments(ctx context.Context, limit int, lease time.Duration) ([]store.Payment, error)
	ReceivePayment(ctx context.Context, provider, reference string, money store.Money) (store.Receipt, error)
	ClosePayment(ctx context.Context, id int64, why string) error
	RetryPayment(ctx context.Context, id int64, after time.Duration, why string, doubtful bool) error
	ClaimRefunds(ctx context.Context, limit int, lease time.Duration) ([]store.Refund, error)
	SettleRefund(ctx context.Context, id int64, state, answer string, after time.Duration) error
}

// askPayments asks the provider about payments that no callback has settled: a lost callback is made
// up for, and an expired payment is closed, which lets its order's deadline count.
func (s *Server) askPayments(ctx context.Context) (more bool, err error) {
	return claimed(ctx, s, s.ledger.ClaimPayments, s.askPayment)
}

// claimed works off what is claimed for one round. What fails, or is not come to, is due again when its lease ends.
func claimed[T any](ctx context.Context, s *Server, claim func(context.Context, int, time.Duration) ([]T, error), each func(context.Context, *T) error) (more bool, err error) {
	rows, err := claim(ctx, paymentBatch, paymentLease)
	if err != nil {
		return false, err
	}
	begun := s.clock.Now()
	for i := range rows {
		if s.clock.Now().Sub(begun) >= paymentRound {
			return true, nil
		}
		if err := each(ctx, &rows[i]); err != nil {
			return false, err
		}
	}
	return len(rows) == paymentBatch, nil
}

func (s *Server) askPayment(ctx context.Context, p *store.Payment) error {
	notice, err := s.query(ctx, p)
	if err == nil && notice.State == payment.Paid {
		receipt, receiveErr := s.ledger.ReceivePayment(ctx, p.Provider, p.Reference, store.Money{AmountMinor: notice.AmountMinor, Currency: notice.Currency, At: notice.At})
		if receiveErr == nil && receipt.New && receipt.Refund != "" {
			s.log.Warn("money is refunded", "order", p.OrderID, "reference", p.Reference, "why", receipt.Refund)
		}
		if !errors.Is(receiveErr, store.ErrNotFound) {
			s.meter.asked("paid")
			return receiveErr
		}
		// The ledger lost the order: a repair brings it back, and the money is still there to be asked for.
		s.alarm("payment_without_order", "money came for an order that the ledger does not have", "order", p.OrderID, "reference", p.Reference, "amount_minor", notice.AmountMinor)
		err = receiveErr
	}
	switch {
	case err == nil && notice.State == payment.Closed:
		s.meter.asked("closed")
		return s.ledger.ClosePayment(ctx, p.ID, "not paid before it expired")
	case s.neverBegun(p, err):
		s.meter.asked("unknown")
		return s.ledger.ClosePayment(ctx, p.ID, "the provider never heard of it")
	}
	now, clockErr := s.ledger.Now(ctx)
	if clockErr != nil {
		return clockErr
	}
	why := "open"
	switch {
	case errors.Is(err, payment.ErrUnknownReference):
		why = "unknown" // its Begin got lost, or is on its way
	case err != nil:
		why = "no answer"
		s.log.Warn("the payment provider does not tell how a payment stands; it is asked again", "order", p.OrderID, "reference", p.Reference, "error", err)
	}
	s.meter.asked(why)
	doubtful := now.Sub(p.ExpiresAt) > s.cfg.Payment.DoubtAfter
	if doubtful && p.State == store.PaymentOpen {
		s.alarm("payment_doubtful", "the payment provider has not told a payment's end; its order's deadline no longer waits for it", "order", p.OrderID, "reference", p.Reference)
	}
	return s.ledger.RetryPayment(ctx, p.ID, s.askAgain(p, now), why, doubtful)
}

// neverBegun reports whether a payment's Begin got lost for good: the provider does not know it, and
// was asked so long after its expiry that it would refuse the Begin now.
func (s *Server) neverBegun(p *store.Payment, err error) bool {
	claimed := p.UpdatedAt // before the question, by the database's clock
	return errors.Is(err, payment.ErrUnknownReference) && claimed.Sub(p.ExpiresAt) > s.cfg.Payment.DoubtAfter
}

// askAgain is the pause before the next question: it doubles, but the moment after the payment's
// expiry is not missed, nor the time between that and its order's deadline.
func (s *Server) askAgain(p *store.Payment, now time.Time) time.Duration {
	left := p.ExpiresAt.Add(afterExpiry).Sub(now)
	if left > 0 {
		return min(doubled(s.cfg.Payment.AskAfter, p.Attempts, maxAskPause), left)
	}
	return min(max(-left, 2*afterExpiry), maxAskPause)
}

func (s *Server) query(ctx context.Context, p *store.Payment) (payment.Notice, error) {
	if s.provider == nil || s.provider.Name() != p.Provider {
		return payment.Notice{}, errors.New("this consumer's config has no such payment provider: " + p.Provider)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	notice, err := s.provider.Query(ctx, p.Reference)
	if err != nil {
		return notice, err
	}
	return notice, notice.Check()
}

// refund gives money back that came for an order which did not wait for it. Without an answer it is
// repeated; the provider knows the refund by its id.
func (s *Server) refund(ctx context.Context) (more bool, err error) {
	return claimed(ctx, s, s.ledger.ClaimRefunds, s.refundOne)
}

func (s *Server) refundOne(ctx context.Context, r *store.Refund) error {
	err := errors.New("this consumer's config has no such payment provider: " + r.Provider)
	if s.provider != nil && s.provider.Name() == r.Provider {
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		err = s.provider.Refund(asking, payment.Refund{
			ID: "refund-" + r.Reference, Reference: r.Reference, AmountMinor: r.AmountMinor, Currency: r.Currency, Reason: r.Reason,
		})
		cancel()
	}
	switch {
	case err == nil:
		s.meter.refunded("done")
		s.log.Info("money was refunded", "order", r.OrderID, "reference", r.Reference, "amount_minor", r.AmountMinor)
		return s.ledger.SettleRefund(ctx, r.ID, store.RefundDone, "given back", 0)
	case errors.Is(err, payment.ErrRefused):
		s.meter.refunded("refused")
		s.alarm("refund_refused", "the payment provider refuses a refund; it is parked", "order", r.OrderID, "reference", r.Reference, "error", err)
		return s.ledger.SettleRefund(ctx, r.ID, store.RefundParked, err.Error(), 0)
	}
	s.meter.refunded("no answer")
	s.log.Warn("the payment provider did not take a refund; it is repeated", "order", r.OrderID, "reference", r.Reference, "error", err)
	return s.ledger.SettleRefund(ctx, r.ID, store.RefundDue, "no answer", doubled(firstRefundWait, r.Attempts, maxRefundWait))
}
