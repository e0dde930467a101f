package sale

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// OrderID is the identity of one purchase in every layer. The counter mints it inside its replicated
// state: 41 bits of state time (milliseconds since Epoch), 10 bits of shard number, 12 bits of
// sequence (the Snowflake layout). It is written as a decimal string in JSON, since JavaScript
// numbers lose precision beyond 2^53. Zero is no order.
type OrderID int64

// Limits of the layout of an OrderID.
const (
	ShardBits    = 10
	SequenceBits = 12

	MaxShard    = 1<<ShardBits - 1    // the highest shard number
	MaxSequence = 1<<SequenceBits - 1 // the highest sequence within one millisecond
	MaxIDTime   = 1<<41 - 1           // the highest id time, in milliseconds since Epoch (year 2093)
)

// Epoch is the start of id time.
var Epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// EpochMillis is Epoch in milliseconds since 1970.
const EpochMillis = 1704067200000

// ErrOrderID is returned for text that is not an order id.
var ErrOrderID = errors.New("not an order id: want a decimal number between 1 and 9223372036854775807")

// MakeOrderID packs an id. idMillis counts from Epoch. It panics when a part is out of range, since a
// wrapped id would repeat another order's.
func MakeOrderID(idMillis int64, shard, sequence int) OrderID {
	if idMillis < 0 || idMillis > MaxIDTime || shard < 0 || shard > MaxShard || sequence < 0 || sequence > MaxSequence {
		panic(fmt.Sprintf("sale: order id out of range: millis %d, shard %d, sequence %d", idMillis, shard, sequence))
	}
	return OrderID(idMillis<<(ShardBits+SequenceBits) | int64(shard)<<SequenceBits | int64(sequence))
}

// ParseOrderID reads the decimal form: digits only, no sign, no leading zero, greater than zero.
func ParseOrderID(text string) (OrderID, error) {
	if text == "" || len(text) > 19 || text[0] < '1' || text[0] > '9' {
		return 0, ErrOrderID
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, ErrOrderID
	}
	return OrderID(n), nil
}

// IDMillis is the id's time in milliseconds since Epoch. It is never behind an earlier id of the same
// shard, and may be ahead of the wall clock.
func (id OrderID) IDMillis() int64 { return int64(id) >> (ShardBits + SequenceBits) }

// Time is the id's time as a wall-clock time.
func (id OrderID) Time() time.Time { return time.UnixMilli(EpochMillis + id.IDMillis()).UTC() }

// Shard is the number of the counter shard that minted the id and holds its state.
func (id OrderID) Shard() int { return int(id>>SequenceBits) & MaxShard }

// Sequence tells ids of one shard and one millisecond apart.
func (id OrderID) Sequence() int { return int(id) & MaxSequence }

// String is the decimal form.
func (id OrderID) String() string { return strconv.FormatInt(int64(id), 10) }

// MarshalText gives the decimal form; JSON therefore shows ids as strings.
func (id OrderID) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(id), 10), nil }

// UnmarshalText reads the decimal form.
func (id *OrderID) UnmarshalText(text []byte) error {
	n, err := ParseOrderID(string(text))
	if err != nil {
		return err
	}
	*id = n
	return nil
}
