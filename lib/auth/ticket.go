package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"headgate.example/lib/sale"
)

// MaxTicketBytes bounds a ticket's text. The longest that can be signed has 667.
const MaxTicketBytes = 1024

const signatureVersion = "v1"

// Why a ticket is refused.
var (
	ErrTicketMalformed = errors.New("the ticket is malformed")
	ErrTicketKey       = errors.New("the ticket is signed with an unknown key")
	ErrTicketSignature = errors.New("the ticket's signature is wrong")
)

// Ticket proves that the counter holds units for an order: the binding of its id, the request key it
// was asked with, and when the hold is expected to expire.
//
// Its text is `v1.<key id>.<base64url(JSON)>.<base64url(HMAC-SHA256)>`, unpadded, the HMAC over all
// that stands before its dot. Without this package:
//
//	printf %s "${ticket%.*}" | openssl dgst -sha256 -hmac "$secret" -binary | basenc --base64url | tr -d =
type Ticket struct {
	Order    sale.OrderID `json:"order"`
	Sale     string       `json:"sale"`
	User     string       `json:"user"`
	Quantity int64        `json:"quantity"`
	Slot     int64        `json:"slot"`
	Key      string       `json:"key"` // the buyer's Idempotency-Key; "" when there is none
	// ExpiresAt is advisory, in milliseconds since 1970: holds count served time, and only the
	// counter knows whether one still stands.
	ExpiresAt int64 `json:"exp"`
}

// Binding is what the ticket's order id stands for.
func (t Ticket) Binding() sale.Binding {
	return sale.Binding{Order: t.Order, Sale: t.Sale, User: t.User, Quantity: t.Quantity, Slot: t.Slot}
}

func (t *Ticket) check() error {
	b := t.Binding()
	if err := b.Validate(); err != nil {
		return err
	}
	if err := sale.CheckKey(t.Key); err != nil {
		return err
	}
	if t.ExpiresAt < 0 {
		return errors.New("exp: must not be negative")
	}
	return nil
}

// appendJSON writes the payload. All text in it is printable ASCII, which check has seen to, so only
// quotes and backslashes need escaping, and the length has a bound that escapes of `<` would break.
func (t *Ticket) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"order":"`...)
	dst = strconv.AppendInt(dst, int64(t.Order), 10)
	dst = appendQuoted(append(dst, `","sale":`...), t.Sale)
	dst = appendQuoted(append(dst, `,"user":`...), t.User)
	dst = strconv.AppendInt(append(dst, `,"quantity":`...), t.Quantity, 10)
	dst = strconv.AppendInt(append(dst, `,"slot":`...), t.Slot, 10)
	dst = appendQuoted(append(dst, `,"key":`...), t.Key)
	dst = strconv.AppendInt(append(dst, `,"exp":`...), t.ExpiresAt, 10)
	return append(dst, '}')
}

func appendQuoted(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for i := range len(text) {
		if text[i] == '"' || text[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"')
}

// SignTicket gives the ticket's text, signed with the first key. An error names the field that is wrong.
func (r *Keyring) SignTicket(t Ticket) (string, error) {
	if err := t.check(); err != nil {
		return "", fmt.Errorf("signing a ticket: %w", err)
	}
	payload := t.appendJSON(make([]byte, 0, 256))
	text := make([]byte, 0, 512)
	text = append(text, signatureVersion+"."...)
	text = append(text, r.sign.id...)
	text = append(text, '.')
	text = base64.RawURLEncoding.AppendEncode(text, payload)
	signed := text
	text = append(text, '.')
	return string(r.sign.appendMAC(text, signed)), nil
}

// VerifyTicket checks a ticket's form, signature and binding. The expiry is not enforced. Errors are
// ErrTicketMalformed, ErrTicketKey and ErrTicketSignature.
func (r *Keyring) VerifyTicket(text string) (Ticket, error) {
	if len(text) > MaxTicketBytes {
		return Ticket{}, fmt.Errorf("%w: it has more than %d bytes", ErrTicketMalformed, MaxTicketBytes)
	}
	parts := strings.SplitN(text, ".", 5)
	if len(parts) != 4 || parts[0] != signatureVersion || parts[2] == "" || parts[3] == "" {
		return Ticket{}, fmt.Errorf("%w: want v1.<key>.<payload>.<signature>", ErrTicketMalformed)
	}
	key := r.keys[parts[1]]
	if key == nil {
		return Ticket{}, ErrTicketKey
	}
	signed := []byte(text[:len(text)-len(parts[3])-1])
	if !key.macMatches(signed, parts[3]) {
		return Ticket{}, ErrTicketSignature
	}
	return parseTicket(parts[2])
}

// VerifyOrder reads an order message and verifies its ticket. One that is refused never becomes right by
// trying again, unless a key is missing here.
func (r *Keyring) VerifyOrder(body []byte) (sale.OrderMessage, Ticket, error) {
	read, err := sale.ParseOrderMessage(body)
	if err != nil {
		return sale.OrderMessage{}, Ticket{}, fmt.Errorf("not an order message: %w", err)
	}
	ticket, err := r.VerifyTicket(read.Ticket)
	if err != nil {
		return sale.OrderMessage{}, Ticket{}, fmt.Errorf("its ticket does not verify: %w", err)
	}
	return read, ticket, nil
}

// parseTicket reads a payload whose signature is right.
func parseTicket(encoded string) (Ticket, error) {
	payload, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") { // the decoder skips line breaks
		return Ticket{}, fmt.Errorf("%w: the payload is not unpadded base64url", ErrTicketMalformed)
	}
	var t Ticket
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return Ticket{}, fmt.Errorf("%w: the payload is not a ticket's JSON", ErrTicketMalformed)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Ticket{}, fmt.Errorf("%w: text follows the payload's JSON", ErrTicketMalformed)
	}
	if err := t.check(); err != nil {
		return Ticket{}, fmt.Errorf("%w: %w", ErrTicketMalformed, err)
	}
	return t, nil
}
