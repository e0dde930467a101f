package sale

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Binding is what an order id stands for. Every layer keeps it with the id; another binding under the
// same id is an error, never a redelivery.
type Binding struct {
	Order    OrderID `json:"order"`
	Sale     string  `json:"sale"`
	User     string  `json:"user"`
	Quantity int64   `json:"quantity"`
	// Slot numbers the live orders of one user in one sale, from 1. The counter gives the lowest
	// free one, and the ledger keeps it unique.
	Slot int64 `json:"slot"`
}

// Validate checks each field. Errors are *FieldError.
func (b *Binding) Validate() error {
	if b.Order <= 0 {
		return fieldError("order", "must be an order id")
	}
	if err := CheckName("sale", b.Sale); err != nil {
		return err
	}
	if err := CheckUser(b.User); err != nil {
		return err
	}
	if b.Quantity < 1 || b.Quantity > MaxQuantity {
		return fieldError("quantity", "must be 1 to %d, is %d", MaxQuantity, b.Quantity)
	}
	if b.Slot < 1 || b.Slot > MaxUnits {
		return fieldError("slot", "must be 1 to %d, is %d", MaxUnits, b.Slot)
	}
	return nil
}

// MessageVersion is the version of OrderMessage that is written.
const MessageVersion = 1

// MaxMessageBytes bounds an order message; a longer one is not read.
const MaxMessageBytes = 4096

// OrderMessage carries an accepted order through the queue. The ticket is signed and holds the
// binding; nothing else in the message is trusted.
type OrderMessage struct {
	Version    int    `json:"version"`
	Ticket     string `json:"ticket"`
	AcceptedAt int64  `json:"accepted_at"` // milliseconds since 1970, by the backend's clock
}

// Encode gives the message's JSON.
func (m OrderMessage) Encode() []byte {
	text, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("sale: encoding an order message: %v", err)) // plain fields always encode
	}
	return text
}

// ParseOrderMessage reads a message of this or an earlier version. A message that cannot be read is
// a *FieldError: it never becomes readable by trying again.
func ParseOrderMessage(text []byte) (OrderMessage, error) {
	var m OrderMessage
	if len(text) > MaxMessageBytes {
		return m, fieldError("message", "must be at most %d bytes, is %d", MaxMessageBytes, len(text))
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&m); err != nil {
		return OrderMessage{}, jsonError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return OrderMessage{}, fieldError("json", "unexpected text after the object")
	}
	switch {
	case m.Version < 1 || m.Version > MessageVersion:
		return OrderMessage{}, fieldError("version", "this program reads order messages up to version %d, got %d", MessageVersion, m.Version)
	case m.Ticket == "":
		return OrderMessage{}, fieldError("ticket", "is missing")
	}
	return m, nil
}
