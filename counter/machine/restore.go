package machine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"headgate.example/lib/sale"
)

// Restore is the JSON of SALE.RESTORE: a sale rebuilt from ledger and queue after its counter lost
// everything. It is allowed only while the sale is unknown here, and always opens paused.
//
// A sale with more than MaxRestoreOrders orders is sent in parts, 1 to Parts, each with the same
// terms, revision and closed flag; until the last one has come it cannot be resumed.
type Restore struct {
	Terms sale.Terms `json:"terms"`
	// Revision is the sale's current one, at most MaxRestoreRevision; terms.stock is the current stock.
	Revision int64 `json:"revision"`
	// Paused is accepted for completeness: a restored sale opens paused whatever it says.
	Paused bool `json:"paused"`
	Closed bool `json:"closed"`
	// IDFloor lies at or above every order id that was ever seen of this shard: later ids are
	// higher. The ids in Sold raise it further.
	IDFloor sale.OrderID `json:"id_floor"`
	// Transfers are what moved between this shard and each other one of the sale, rebuilt from the
	// others: Given is what the peer took of this shard, Taken what the peer gave to it. Of one that is
	// not named, nothing moved.
	Transfers []RestoredTransfer `json:"transfers,omitempty"`
	// Sold are the confirmed orders. Of two claims to one slot of a user the higher id wins.
	Sold  []SoldOrder `json:"sold"`
	Part  int         `json:"part,omitempty"`  // 0 means 1
	Parts int         `json:"parts,omitempty"` // 0 means 1
}

// RestoredTransfer is what moved between a shard that is restored and another, ever.
type RestoredTransfer struct {
	Peer  string `json:"peer"`
	Given int64  `json:"given"`
	Taken int64  `json:"taken"`
}

// SoldOrder is one confirmed order of a restored sale.
type SoldOrder struct {
	Order    sale.OrderID `json:"order"`
	User     string       `json:"user"`
	Quantity int64        `json:"quantity"`
	Slot     int64        `json:"slot"`
	Key      string       `json:"key,omitempty"`
}

// ParseRestore reads the JSON of SALE.RESTORE, at most MaxRestoreBytes. Unknown fields are refused.
// Errors are *sale.FieldError.
func ParseRestore(text []byte) (*Restore, error) {
	if len(text) > MaxRestoreBytes {
		return nil, refuse("json", "must be at most %d bytes, is %d: send the orders in parts", MaxRestoreBytes, len(text))
	}
	r := &Restore{Paused: true}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) && wrongType.Field != "" {
			return nil, refuse(wrongType.Field, "want %s, got a JSON %s", wrongType.Type, wrongType.Value)
		}
		return nil, refuse("json", "%s", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse("json", "unexpected text after the object")
	}
	return r, r.Validate()
}

// Validate checks each field and the relations between them. Errors are *sale.FieldError.
func (r *Restore) Validate() error {
	if err := r.Terms.Validate(); err != nil {
		field := err.(*sale.FieldError)
		return refuse("terms."+field.Field, "%s", field.Reason)
	}
	part, parts := r.part()
	switch {
	case r.Revision < r.Terms.Revision:
		return refuse("revision", "must not be below terms.revision (%d), is %d", r.Terms.Revision, r.Revision)
	case r.Revision > MaxRestoreRevision:
		return refuse("revision", "must be at most %d, is %d: give the sale's current revision in the ledger", int64(MaxRestoreRevision), r.Revision)
	case r.IDFloor < 0:
		return refuse("id_floor", "must be an order id")
	case len(r.Sold) > MaxRestoreOrders:
		return refuse("sold", "must be at most %d orders, are %d: send the others in further parts", MaxRestoreOrders, len(r.Sold))
	case parts < 1 || parts > MaxRestoreParts:
		return refuse("parts", "must be 1 to %d, is %d", MaxRestoreParts, parts)
	case part < 1 || part > parts:
		return refuse("part", "must be 1 to parts (%d), is %d", parts, part)
	}
	if err := r.checkTransfers(); err != nil {
		return err
	}
	for i := range r.Sold {
		o := &r.Sold[i]
		b := sale.Binding{Order: o.Order, Sale: r.Terms.ID, User: o.User, Quantity: o.Quantity, Slot: o.Slot}
		err := b.Validate()
		if err == nil {
			err = sale.CheckKey(o.Key)
		}
		if err != nil {
			field := err.(*sale.FieldError)
			return refuse(fmt.Sprintf("sold[%d].%s", i, field.Field), "%s", field.Reason)
		}
	}
	return nil
}

func (r *Restore) checkTransfers() error {
	for i, t := range r.Transfers {
		field := fmt.Sprintf("transfers[%d]", i)
		switch {
		case len(r.Terms.Shards) == 1 || !slices.Contains(r.Terms.Shards, t.Peer):
			return refuse(field+".peer", "must be another shard of the sale")
		case slices.IndexFunc(r.Transfers, func(o RestoredTransfer) bool { return o.Peer == t.Peer }) != i:
			return refuse(field+".peer", "is named twice")
		case t.Given < 0 || t.Given > MaxMoved:
			return refuse(field+".given", "must be 0 to %d units, is %d", int64(MaxMoved), t.Given)
		case t.Taken < 0 || t.Taken > MaxMoved:
			return refuse(field+".taken", "must be 0 to %d units, is %d", int64(MaxMoved), t.Taken)
		}
	}
	return nil
}

func (r *Restore) part() (part, parts int) {
	return max(r.Part, 0) + b2i(r.Part == 0), max(r.Parts, 0) + b2i(r.Parts == 0)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
