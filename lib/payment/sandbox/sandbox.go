package sandbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"headgate.example/lib/auth"
	"headgate.example/lib/payment"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// PagePath is where the backend serves the pay page, below the edge.
const PagePath = "/sandbox/pay"

// SignatureHeader carries a callback's signature.
const SignatureHeader = "Headgate-Sandbox-Signature"

// Labels keep the signatures of callbacks and of pages apart.
const (
	callbackLabel = "sandbox callback"
	pageLabel     = "sandbox page"
)

// Errors of the pay page.
var (
	ErrPage   = errors.New("the address of this pay page is not valid")
	ErrClosed = errors.New("the payment can no longer be paid")
	errSilent = errors.New("the sandbox was told not to answer")
)

// Books are the sandbox's own; store.Store keeps them.
type Books interface {
	AddSandboxPayment(ctx context.Context, p store.SandboxPayment) (store.SandboxPayment, error)
	SandboxPayment(ctx context.Context, reference string) (store.SandboxPayment, error)
	PaySandbox(ctx context.Context, reference string, late bool, callbacks func(store.SandboxPayment, time.Time) []store.SandboxCallback) (store.SandboxPayment, bool, error)
	RefundSandbox(ctx context.Context, reference string, amountMinor int64) (bool, error)
	SandboxBehaviour(ctx context.Context) (string, error)
	SetSandboxBehaviour(ctx context.Context, settings string) error
}

// Sandbox is the provider.
type Sandbox struct {
	books Books
	keys  *auth.Keyring
}

var _ payment.Provider = (*Sandbox)(nil)

// New makes the provider with books that are there.
func New(cfg payment.SandboxConfig, books Books) (*Sandbox, error) {
	keys, err := auth.NewKeyring(cfg.Keys)
	if err != nil {
		return nil, fmt.Errorf("payment.sandbox: %w", err)
	}
	return &Sandbox{books: books, keys: keys}, nil
}

// Name is sandbox.
func (s *Sandbox) Name() string { return payment.Sandbox }

// Begin writes the payment into the books, unless it is new and has expired. The page's address is its
// own proof: it is signed.
func (s *Sandbox) Begin(ctx context.Context, r payment.Request) (string, error) {
	row, err := s.books.AddSandboxPayment(ctx, store.SandboxPayment{
		Reference: r.Reference, OrderID: r.Order, AmountMinor: r.AmountMinor, Currency: r.Currency, ExpiresAt: r.ExpiresAt,
	})
	if errors.Is(err, store.ErrExpired) {
		return "", fmt.Errorf("payment %s has expired before it was begun: %w", r.Reference, payment.ErrRefused)
	}
	if err != nil {
		return "", err
	}
	if row.OrderID != r.Order || row.AmountMinor != r.AmountMinor || row.Currency != r.Currency {
		return "", fmt.Errorf("payment %s stands for something else in the sandbox: %w", r.Reference, payment.ErrRefused)
	}
	query := url.Values{"reference": {r.Reference}, "proof": {s.sign(pageLabel, r.Reference)}}
	return PagePath + "?" + query.Encode(), nil
}

// callback is a callback's body.
type callback struct {
	Version     int          `json:"version"`
	Event       string       `json:"event"` // waiting: the buyer is on the pay page; paid
	Reference   string       `json:"reference"`
	Order       sale.OrderID `json:"order"`
	AmountMinor int64        `json:"amount_minor"`
	Currency    string       `json:"currency"`
	At          int64        `json:"at"` // milliseconds since 1970
}

const (
	eventWaiting = "waiting"
	eventPaid    = "paid"
)

// Verify believes a callback by its signature alone.
func (s *Sandbox) Verify(header http.Header, body []byte) (payment.Notice, error) {
	if !s.signed(callbackLabel, string(body), header.Get(SignatureHeader)) {
		return payment.Notice{}, payment.ErrForged
	}
	var c callback
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&c); err != nil {
		return payment.Notice{}, fmt.Errorf("a signed callback that is no JSON: %w", payment.ErrForged)
	}
	n := payment.Notice{Reference: c.Reference, State: payment.Open, AmountMinor: c.AmountMinor, Currency: c.Currency, At: time.UnixMilli(c.At)}
	if c.Event == eventPaid {
		n.State = payment.Paid
	}
	return n, nil
}

// Query reads the books.
func (s *Sandbox) Query(ctx context.Context, reference string) (payment.Notice, error) {
	b, err := s.Behaviour(ctx)
	if err != nil {
		return payment.Notice{}, err
	}
	if b.Silent {
		return payment.Notice{}, errSilent
	}
	row, err := s.books.SandboxPayment(ctx, reference)
	if errors.Is(err, store.ErrNotFound) {
		return payment.Notice{}, fmt.Errorf("payment %s: %w", reference, payment.ErrUnknownReference)
	}
	if err != nil {
		return payment.Notice{}, err
	}
	return noticeOf(&row), nil
}

func noticeOf(row *store.SandboxPayment) payment.Notice {
	n := payment.Notice{Reference: row.Reference, State: payment.State(row.State), AmountMinor: row.AmountMinor, Currency: row.Currency, At: row.CreatedAt}
	if row.PaidAt != nil {
		n.At = *row.PaidAt
	}
	return n
}

// Refund gives the money back in the books.
func (s *Sandbox) Refund(ctx context.Context, r payment.Refund) error {
	b, err := s.Behaviour(ctx)
	if err != nil {
		return err
	}
	if b.Silent {
		return errSilent
	}
	given, err := s.books.RefundSandbox(ctx, r.Reference, r.AmountMinor)
	if err == nil && !given || errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("payment %s was not paid, or refunded otherwise: %w", r.Reference, payment.ErrRefused)
	}
	return err
}

// Page is what the pay page shows. ErrPage: the proof is not the one that Begin gave.
func (s *Sandbox) Page(ctx context.Context, reference, proof string) (store.SandboxPayment, error) {
	if !s.signed(pageLabel, reference, proof) {
		return store.SandboxPayment{}, ErrPage
	}
	return s.books.SandboxPayment(ctx, reference)
}

// Pay is the buyer's press on the pay page. Pressing again changes nothing. ErrClosed: too late.
func (s *Sandbox) Pay(ctx context.Context, reference, proof string) (store.SandboxPayment, error) {
	if !s.signed(pageLabel, reference, proof) {
		return store.SandboxPayment{}, ErrPage
	}
	b, err := s.Behaviour(ctx)
	if err != nil {
		return store.SandboxPayment{}, err
	}
	row, _, err := s.books.PaySandbox(ctx, reference, b.Late, func(row store.SandboxPayment, now time.Time) []store.SandboxCallback {
		return s.callbacks(&row, &b, now)
	})
	if err == nil && row.State != store.SandboxPaid {
		err = ErrClosed
	}
	return row, err
}

// sign gives "<key id>.<base64url(HMAC-SHA256)>".
func (s *Sandbox) sign(label, text string) string {
	id := s.keys.SigningKey()
	return id + "." + base64.RawURLEncoding.EncodeToString(s.keys.Derive(id, label, text))
}

func (s *Sandbox) signed(label, text, signature string) bool {
	id, encoded, ok := strings.Cut(signature, ".")
	if !ok {
		return false
	}
	mac := s.keys.Derive(id, label, text)
	return mac != nil && hmac.Equal([]byte(base64.RawURLEncoding.EncodeToString(mac)), []byte(encoded))
}
