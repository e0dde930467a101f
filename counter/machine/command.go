package machine

import (
	"fmt"
	"unicode/utf8"

	"headgate.example/lib/sale"
)

// Kind says what a Command does. The numbers are written to logs: never renumber them.
type Kind uint8

// The kinds of commands, with the fields that each one uses.
const (
	Reserve     Kind = 1  // Sale, User, Quantity, Key
	Confirm     Kind = 2  // Order
	Abort       Kind = 3  // Order, Reason
	Release     Kind = 4  // Order, Reason
	OpenSale    Kind = 5  // Terms
	PauseSale   Kind = 6  // Sale, Revision
	ResumeSale  Kind = 7  // Sale, Revision
	CloseSale   Kind = 8  // Sale, Revision
	ForgetSale  Kind = 9  // Sale, Revision
	SetStock    Kind = 10 // Sale, Revision, Total
	RestoreSale Kind = 11 // Restore
	Ban         Kind = 12 // Rule (RuleUser or RuleAddress), Value, Until, Reason
	Unban       Kind = 13 // Rule (any), Value
	Revoke      Kind = 14 // User, Before
	// Between the shards of a sale. Value is the other shard's name, Total counts units ever moved.
	Ask    Kind = 15 // at the giver: Sale, Value (taker), Total (what it took of this shard), Quantity (wanted; 0 only acknowledges), ForDebt
	Accept Kind = 16 // at the taker: Sale, Value (giver), Total (what it gave to this shard)
)

// reserveAgain is how an entry writes a Reserve at the sale of the one before it: without the sale, which in a rush is
// most of its bytes. No Command has this kind.
const reserveAgain Kind = 17

var kindNames = [...]string{
	Reserve: "RESERVE", Confirm: "CONFIRM", Abort: "ABORT", Release: "RELEASE", OpenSale: "SALE.OPEN",
	PauseSale: "SALE.PAUSE", ResumeSale: "SALE.RESUME", CloseSale: "SALE.CLOSE", ForgetSale: "SALE.FORGET",
	SetStock: "SALE.STOCK", RestoreSale: "SALE.RESTORE", Ban: "BAN", Unban: "UNBAN", Revoke: "REVOKE",
	Ask: "SHARD.ASK", Accept: "SHARD.GIVE",
}

// String is the command's name on the wire.
func (k Kind) String() string {
	if int(k) < len(kindNames) && k != 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Command is one change that somebody asks for. Kind tells which fields count; the others are ignored
// and are not encoded. Times are wall-clock milliseconds since 1970.
type Command struct {
	Kind     Kind
	Rule     RuleKind
	ForDebt  bool // the taker owes the units; otherwise it sells them
	Order    sale.OrderID
	Quantity int64
	Revision int64
	Total    int64 // the new stock over all shards; units ever moved from giver to taker
	Until    int64 // when a ban ends by itself; 0: for good
	Before   int64 // tokens issued before this are void
	Sale     string
	User     string
	Key      string
	Value    string // the user, address or network that a ban names; the other shard of a transfer
	Reason   string
	Terms    *sale.Terms
	Restore  *Restore
}

// Validate checks the fields that the kind uses, without looking at any state. Errors are
// *sale.FieldError. Apply does the same checks and answers CodeErr, so calling it first only saves a
// log entry. Its rules are part of the entry format: changing them takes a new entry version.
func (c *Command) Validate() error {
	switch c.Kind {
	case Reserve:
		return c.checkReserve()
	case Confirm:
		return c.checkOrder()
	case Abort, Release:
		if err := c.checkOrder(); err != nil {
			return err
		}
		return checkReason(c.Reason)
	case OpenSale:
		if c.Terms == nil {
			return refuse("terms", "are missing")
		}
		return c.Terms.Validate()
	case PauseSale, ResumeSale, CloseSale, ForgetSale:
		return c.checkChange()
	case SetStock:
		if c.Total < 0 || c.Total > sale.MaxUnits {
			return refuse("total", "must be 0 to %d units, is %d", sale.MaxUnits, c.Total)
		}
		return c.checkChange()
	case RestoreSale:
		if c.Restore == nil {
			return refuse("restore", "is missing")
		}
		return c.Restore.Validate()
	case Ban, Unban, Revoke:
		return c.checkRule()
	case Ask:
		return c.checkTransfer("taker", "taken")
	case Accept:
		return c.checkTransfer("giver", "given")
	}
	return refuse("command", "kind %d is not known to this version", c.Kind)
}

func (c *Command) checkReserve() error {
	if err := sale.CheckName("sale", c.Sale); err != nil {
		return err
	}
	return c.checkBuyer()
}

// checkBuyer checks a reservation but for its sale.
func (c *Command) checkBuyer() error {
	if err := sale.CheckUser(c.User); err != nil {
		return err
	}
	if c.Quantity < 1 || c.Quantity > sale.MaxQuantity {
		return refuse("quantity", "must be 1 to %d, is %d", sale.MaxQuantity, c.Quantity)
	}
	return sale.CheckKey(c.Key)
}

func (c *Command) checkOrder() error {
	if c.Order <= 0 {
		return refuse("order", "must be an order id")
	}
	return nil
}

func (c *Command) checkChange() error {
	if err := sale.CheckName("sale", c.Sale); err != nil {
		return err
	}
	if c.Revision < 1 {
		return refuse("revision", "must be at least 1, is %d", c.Revision)
	}
	return nil
}

func (c *Command) checkTransfer(peer, count string) error {
	if err := sale.CheckName("sale", c.Sale); err != nil {
		return err
	}
	if err := sale.CheckName(peer, c.Value); err != nil {
		return err
	}
	if c.Total < 0 || c.Total > MaxMoved {
		return refuse(count, "must be 0 to %d units, is %d", int64(MaxMoved), c.Total)
	}
	if c.Kind == Ask && (c.Quantity < 0 || c.Quantity > sale.MaxUnits) {
		return refuse("want", "must be 0 to %d units, is %d", sale.MaxUnits, c.Quantity)
	}
	return nil
}

func (c *Command) checkRule() error {
	if c.Kind == Revoke {
		if c.Before < 1 || c.Before > maxMillis {
			return refuse("before", "must be milliseconds since 1970, is %d", c.Before)
		}
		return sale.CheckUser(c.User)
	}
	if c.Until < 0 || c.Until > maxMillis {
		return refuse("until", "must be milliseconds since 1970, or 0 for good, is %d", c.Until)
	}
	switch c.Rule {
	case RuleUser:
		if err := sale.CheckUser(c.Value); err != nil {
			return refuse("value", "%s", err.(*sale.FieldError).Reason)
		}
	case RuleAddress:
		if _, err := canonicalAddress(c.Value); err != nil {
			return err
		}
	case RuleToken:
		if c.Kind == Ban {
			return refuse("kind", "must be user or address; tokens are revoked with REVOKE")
		}
		if err := sale.CheckUser(c.Value); err != nil {
			return refuse("value", "%s", err.(*sale.FieldError).Reason)
		}
	default:
		return refuse("kind", "must be user, address or token")
	}
	return checkReason(c.Reason)
}

// canonicalAddress gives the one form under which an address or network is banned.
func canonicalAddress(text string) (string, error) {
	network, err := sale.ParseNetwork(text)
	if err != nil {
		return "", refuse("value", "%s", err.(*sale.FieldError).Reason)
	}
	return sale.NetworkText(network), nil
}

func checkReason(reason string) error {
	if len(reason) > sale.MaxReasonBytes {
		return refuse("reason", "must be at most %d bytes, is %d", sale.MaxReasonBytes, len(reason))
	}
	if !utf8.ValidString(reason) {
		return refuse("reason", "must be UTF-8")
	}
	for i := range len(reason) {
		if reason[i] < ' ' || reason[i] == 0x7f {
			return refuse("reason", "must not hold control characters")
		}
	}
	return nil
}

func refuse(field, format string, args ...any) error {
	return &sale.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}
