package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"headgate.example/lib/sale"
)

// The states of a payment.
const (
	PaymentOpen     = "open"     // may be paid; its order is not cancelled by its deadline before the provider was asked
	PaymentDoubtful = "doubtful" // the provider has not told its end for too long: nothing waits for it, it is still asked
	PaymentPaid     = "paid"     // the money came: it paid the order, or there is a refund row
	PaymentClosed   = "closed"   // the provider says that it was not paid and cannot be any more
)

// MaxPayments bounds the attempts to pay one order.
const MaxPayments = 20

// minPayTime is the least time that a payment gets until it expires.
const minPayTime = 500 * time.Millisecond

// ErrNotPayable is an order that takes no payment: not unpaid, too close to its deadline, or tried too
// often.
var ErrNotPayable = errors.New("the order is not in a state that can be paid")

// Payment is one attempt to pay an order.
type Payment struct {
	ID          int64 `gorm:"primaryKey"`
	OrderID     sale.OrderID
	Provider    string
	Reference   string // ours, unique with the provider; what the provider is asked by
	State       string
	AmountMinor int64 // to be paid
	Currency    string
	Page        string    // where the buyer pays; empty until the provider gave it
	ExpiresAt   time.Time // when the provider stops taking it: before the order's deadline
	PaidMinor   int64     // that came
	PaidAt      *time.Time
	Attempts    int64      // times that the provider was asked
	Answer      string     // its last answer, in words
	CheckAt     *time.Time // when it is asked next; nil once its word is final
	CreatedAt   time.Time
	UpdatedAt   time.Time `gorm:"autoUpdateTime:false"`
}

// TableName is the table's name.
func (Payment) TableName() string { return "payments" }

// PaymentTerms are how payments are begun.
type PaymentTerms struct {
	Provider string
	Margin   time.Duration // a payment expires so long before its order's deadline, or a quarter of the time left if that is less
	AskAfter time.Duration // the provider is asked after so long, should no callback come
}

// BeginPayment gives the order's open payment at a provider, or writes a new one. An order that costs
// nothing is paid by it, without the provider. ErrNotFound: no such
// order, or another user's. ErrNotPayable comes with the order. The caller asks the provider for the
// page and gives it to SetPaymentPage.
func (s *Store) BeginPayment(ctx context.Context, id sale.OrderID, user string, terms PaymentTerms) (Order, Payment, error) {
	var order Order
	var payment Payment
	err := s.transact(ctx, func(tx *gorm.DB) error {
		var err error
		if order, err = lockOrder(tx.Where("id = ? AND user_id = ?", id, user)); err != nil {
			return err
		}
		if order.State != sale.Unpaid {
			return fmt.Errorf("order %s is %s: %w", id, order.State, ErrNotPayable)
		}
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		if payment, err = beginPayment(tx, &order, terms, now); err != nil || order.AmountMinor > 0 {
			return err
		}
		return payNothing(tx, &order, &payment, now)
	})
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNotPayable) {
		err = fmt.Errorf("store: beginning a payment of order %s: %w", id, err)
	}
	return order, payment, err
}

func beginPayment(tx *gorm.DB, order *Order, terms PaymentTerms, now time.Time) (Payment, error) {
	var all []Payment
	if err := tx.Where("order_id = ?", order.ID).Limit(MaxPayments).Find(&all).Error; err != nil {
		return Payment{}, fmt.Errorf("reading payments: %w", err)
	}
	for _, p := range all {
		if p.Provider == terms.Provider && p.State == PaymentOpen && p.ExpiresAt.After(now) {
			return p, nil
		}
	}
	left := order.Deadline.Sub(now)
	expires := order.Deadline.Add(-min(terms.Margin, left/4))
	if expires.Sub(now) < minPayTime {
		return Payment{}, fmt.Errorf("order %s: its deadline is too close: %w", order.ID, ErrNotPayable)
	}
	if len(all) == MaxPayments {
		return Payment{}, fmt.Errorf("order %s: %d payments were begun: %w", order.ID, len(all), ErrNotPayable)
	}
	check := now.Add(terms.AskAfter)
	p := Payment{
		OrderID: order.ID, Provider: terms.Provider, Reference: nextReference(order.ID, all), State: PaymentOpen,
		AmountMinor: order.AmountMinor, Currency: order.Currency, ExpiresAt: millis(expires), CheckAt: &check, CreatedAt: now, UpdatedAt: now,
	}
	if err := tx.Create(&p).Error; err != nil {
		return Payment{}, fmt.Errorf("inserting a payment: %w", err)
	}
	return p, nil
}

// PaymentReference names the n-th attempt to pay an order, n from 1. It is what is left to ask a provider by
// when the ledger has lost a payment.
func PaymentReference(id sale.OrderID, n int) string { return fmt.Sprintf("%s-%d", id, n) }

// ReferencedOrder is the order of a PaymentReference; ok is false for another text.
func ReferencedOrder(reference string) (id sale.OrderID, ok bool) {
	order, number, found := strings.Cut(reference, "-")
	id, err := sale.ParseOrderID(order)
	n, numberErr := strconv.Atoi(number)
	return id, found && err == nil && numberErr == nil && n >= 1 && n <= MaxPayments && PaymentReference(id, n) == reference
}

// nextReference is the first that no earlier payment of the order may have had: some may have been lost.
func nextReference(id sale.OrderID, all []Payment) string {
	next := len(all) + 1
	for _, p := range all {
		_, number, _ := strings.Cut(p.Reference, "-")
		if n, err := strconv.Atoi(number); err == nil {
			next = max(next, n+1)
		}
	}
	return PaymentReference(id, next)
}

// payNothing pays an order that costs nothing.
func payNothing(tx *gorm.DB, order *Order, p *Payment, now time.Time) error {
	p.State, p.PaidAt, p.CheckAt = PaymentPaid, &now, nil
	if err := tx.Save(p).Error; err != nil {
		return fmt.Errorf("updating the payment: %w", err)
	}
	return setPaid(tx, order, now)
}

// setPaid makes an unpaid order, whose row the caller has locked, paid. It is the only place that does.
func setPaid(tx *gorm.DB, order *Order, now time.Time) error {
	result := tx.Model(&Order{}).Where("id = ? AND state = ?", order.ID, sale.Unpaid).
		UpdateColumns(map[string]any{"state": sale.Paid, "updated_at": now})
	if result.Error != nil {
		return fmt.Errorf("updating the order: %w", result.Error)
	}
	if result.RowsAffected != 1 {
		return fmt.Errorf("updating the order: its locked row is no longer %s", sale.Unpaid)
	}
	order.State, order.UpdatedAt = sale.Paid, now
	return nil
}

// lockOrder reads an order and locks its row.
func lockOrder(query *gorm.DB) (Order, error) {
	return first[Order](query.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}), "order")
}

// SetPaymentPage notes where the buyer pays. Repeating it is harmless.
func (s *Store) SetPaymentPage(ctx context.Context, id int64, page string) error {
	return wrapf(s.updatePayment(ctx, id, "state = ?", []any{PaymentOpen}, map[string]any{"page": page}), "noting a payment's page")
}

// Money is what a provider says came.
type Money struct {
	AmountMinor int64
	Currency    string
	At          time.Time // by the provider's clock
}

// Receipt is what became of money.
type Receipt struct {
	Order   Order
	Payment Payment
	New     bool   // false: it was known already, and nothing changed
	Refund  string // why the money goes back; empty when it paid the order
}

// ReceivePayment notes money that a provider vouches for. In one transaction either the order becomes
// paid, or, when it no longer waits for this money, a refund row is written. Repeating it is harmless.
// ErrNotFound: the ledger began no such payment.
func (s *Store) ReceivePayment(ctx context.Context, provider, reference string, money Money) (Receipt, error) {
	var r Receipt
	if money.AmountMinor <= 0 {
		return r, fmt.Errorf("store: money of %d: want more than 0", money.AmountMinor)
	}
	err := s.transact(ctx, func(tx *gorm.DB) error {
		r = Receipt{}
		found, err := first[Payment](tx.Where("provider = ? AND reference = ?", provider, reference), "payment")
		if err != nil {
			return err
		}
		if r.Order, err = lockOrder(tx.Where("id = ?", found.OrderID)); err != nil {
			return err
		}
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		return r.receive(tx, found.ID, money, now)
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("store: receiving payment %s of %s: %w", reference, provider, err)
	}
	return r, err
}

// receive is ReceivePayment with the order's row locked: of all deliveries of one payment's money the
// conditional update lets one through.
func (r *Receipt) receive(tx *gorm.DB, id int64, money Money, now time.Time) error {
	at := millis(money.At)
	result := tx.Model(&Payment{}).Where("id = ? AND state <> ?", id, PaymentPaid).UpdateColumns(map[string]any{
		"state": PaymentPaid, "paid_minor": money.AmountMinor, "paid_at": at, "check_at": nil, "answer": "paid", "updated_at": now,
	})
	if result.Error != nil {
		return fmt.Errorf("updating the payment: %w", result.Error)
	}
	var err error
	if r.Payment, err = first[Payment](tx.Where("id = ?", id), "payment"); err != nil {
		return err
	}
	if r.New = result.RowsAffected == 1; !r.New {
		return nil
	}
	if r.Refund = whyRefund(&r.Order, &r.Payment, money); r.Refund != "" {
		return addRefund(tx, &r.Payment, money, r.Refund, now)
	}
	return setPaid(tx, &r.Order, now)
}

func whyRefund(o *Order, p *Payment, money Money) string {
	switch {
	case money.AmountMinor != p.AmountMinor || money.Currency != p.Currency:
		return fmt.Sprintf("%d %s came, %d %s were asked for", money.AmountMinor, money.Currency, p.AmountMinor, p.Currency)
	case o.State == sale.Unpaid:
		return ""
	case o.State == sale.Paid:
		return "the order was paid by another payment"
	default:
		return "the order was " + string(o.State) + " when the money came"
	}
}

// ClaimPayments takes up to limit payments that the provider is to be asked about, those due longest
// first, and makes them due again after lease, as ClaimOutbox does. UpdatedAt tells when they were
// claimed, by the database's clock.
func (s *Store) ClaimPayments(ctx context.Context, limit int, lease time.Duration) ([]Payment, error) {
	rows, err := claim[Payment](ctx, s, dueRows{key: "id", due: "check_at"}, limit, lease)
	return rows, wrapf(err, "claiming payments")
}

func (p *Payment) claimed(now time.Time) int64 {
	p.Attempts++
	p.UpdatedAt = now
	return p.ID
}

// ClosePayment notes that a payment was not paid and cannot be any more. Should money come all the
// same, ReceivePayment takes or refunds it.
func (s *Store) ClosePayment(ctx context.Context, id int64, why string) error {
	return wrapf(s.updatePayment(ctx, id, "state IN ?", []any{[]string{PaymentOpen, PaymentDoubtful}}, map[string]any{
		"state": PaymentClosed, "answer": clip(why, maxReason), "check_at": nil,
	}), "closing a payment")
}

// RetryPayment lets the provider be asked again after a pause. Doubtful: the order's deadline no
// longer waits for its answer.
func (s *Store) RetryPayment(ctx context.Context, id int64, after time.Duration, why string, doubtful bool) error {
	err := s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		changes := map[string]any{"check_at": now.Add(after), "answer": clip(why, maxReason), "updated_at": now}
		if doubtful {
			changes["state"] = PaymentDoubtful
		}
		return tx.Model(&Payment{}).Where("id = ? AND state IN ?", id, []string{PaymentOpen, PaymentDoubtful}).UpdateColumns(changes).Error
	})
	return wrapf(err, "asking for a payment again")
}

func (s *Store) updatePayment(ctx context.Context, id int64, condition string, args []any, changes map[string]any) error {
	return s.transact(ctx, func(tx *gorm.DB) error {
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		changes["updated_at"] = now
		return tx.Model(&Payment{}).Where("id = ?", id).Where(condition, args...).UpdateColumns(changes).Error
	})
}

// PaymentsOfOrder lists the attempts to pay an order, oldest first.
func (s *Store) PaymentsOfOrder(ctx context.Context, id sale.OrderID) ([]Payment, error) {
	var rows []Payment
	err := s.read.WithContext(ctx).Where("order_id = ?", id).Limit(MaxPayments).Find(&rows).Error
	slices.SortFunc(rows, func(a, b Payment) int { return cmp.Compare(a.ID, b.ID) })
	return rows, wrapf(err, "listing payments")
}
