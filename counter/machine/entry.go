package machine

import (
	"encoding/binary"
	"errors"
	"fmt"

	"headgate.example/lib/sale"
)

// Versions of the entry format. Version 2 adds Ask and Accept, sales with several shards, and the transfers of a
// restore; it is written only for those. So voters can be upgraded one by one, as long as no sale with
// several shards is opened before all have been. Version 3 has reservations that leave their sale out; it is written only where all
// voters are known to read it (Encoded.Add). Versions EntryVersionMin to EntryVersion are read; a later one stops a
// voter with an error that says so.
const (
	EntryVersion    = 3
	EntryVersionMin = 1
)

// ErrVersion is in the error for an entry of a version that this program does not read. Nothing is damaged.
var ErrVersion = errors.New("use the program that wrote it or a later one")

// Entry is one log entry: the leader's clocks and the commands of one batch. Without commands it only
// brings time forward.
type Entry struct {
	Wall     int64 // the leader's wall clock, ms since 1970
	Served   int64 // served time, ms since the shard first served
	Commands []Command
	// Version is the format an entry was read from, which decides over what its commands mean. 0, for
	// one that is yet to be written, stands for the lowest that suffices.
	Version int
}

// version is the format to write.
func (e *Entry) version() int {
	if e.Version != 0 {
		return e.Version
	}
	version := EntryVersionMin
	for i := range e.Commands {
		version = max(version, e.Commands[i].version())
	}
	return version
}

// version is the lowest format that has the command. Every later one has it in the same form.
func (c *Command) version() int {
	switch {
	case c.Kind >= Ask, c.Kind == OpenSale && len(c.Terms.Shards) > 1, c.Kind == RestoreSale && len(c.Restore.Terms.Shards) > 1:
		return 2
	}
	return 1
}

// Append appends the encoded entry: version, stamps, commands, CRC-32C of all that. Each command must
// have passed Validate: an entry with longer text than that allows could not be read again. It panics,
// rather than spoil the log, with more than MaxCommands commands, with an unknown kind, and beyond
// MaxEntryBytes. No command but RestoreSale takes more than 10 KiB, a RestoreSale up to 4 MiB.
func (e *Entry) Append(dst []byte) []byte {
	start := len(dst)
	version := e.version()
	dst = appendEntryHead(dst, version, e.Wall, e.Served, len(e.Commands))
	var before *Command // the last reservation
	for i := range e.Commands {
		c := &e.Commands[i]
		if c.Kind == Reserve && before != nil && c.Sale == before.Sale && version >= 3 {
			dst = c.appendAgain(dst)
			continue
		}
		if dst = c.append(dst, version); c.Kind == Reserve {
			before = c
		}
	}
	return appendEntrySum(dst, start)
}

// DecodeEntry reads an encoded entry. Nothing of the result refers to b. An error names the offset: a
// log entry that cannot be read means a damaged log or a later version's, and the voter must stop.
func DecodeEntry(b []byte) (Entry, error) {
	d := &decoder{b: b}
	e, n, err := decodeHead(d)
	if err == nil && n > 0 {
		e.Commands = make([]Command, n)
		err = d.commands(e.Commands, 0)
	}
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return Entry{}, entryError(b, err)
	}
	return e, nil
}

// VersionOf is the format of an encoded entry that can be read.
func VersionOf(b []byte) int { return int(b[0]) }

func entryError(b []byte, err error) error {
	return fmt.Errorf("log entry of %d bytes: %w", len(b), err)
}

// decodeHead checks the sum and reads all but the commands, of which it gives the number.
func decodeHead(d *decoder) (Entry, int, error) {
	b := d.b
	if len(b) > MaxEntryBytes {
		d.fail("longer than %d bytes", MaxEntryBytes)
		return Entry{}, 0, d.err
	}
	if len(b) > 0 && (b[0] < EntryVersionMin || b[0] > EntryVersion) {
		return Entry{}, 0, fmt.Errorf("offset 0: format version %d: this program reads %d to %d, %w", b[0], EntryVersionMin, EntryVersion, ErrVersion)
	}
	if len(b) < 8 {
		d.fail("is cut off")
		return Entry{}, 0, d.err
	}
	d.b = b[:len(b)-4]
	if sum := binary.LittleEndian.Uint32(b[len(b)-4:]); sum != checksum(d.b) {
		d.off = len(d.b)
		d.fail("checksum %08x does not match the content's %08x", sum, checksum(d.b))
		return Entry{}, 0, d.err
	}
	d.off, d.version = 1, int(b[0])
	e := Entry{Version: d.version, Wall: d.int("wall"), Served: d.int("served")}
	return e, d.count("number of commands", MaxCommands, 2), d.err
}

// commands fills zeroed commands, the first of which is the entry's command of that number.
func (d *decoder) commands(into []Command, number int) error {
	for i := range into {
		if d.command(&into[i]); d.err != nil {
			return fmt.Errorf("command %d: %w", number+i, d.err)
		}
	}
	return nil
}

// end makes sure that nothing follows the last command.
func (d *decoder) end() error {
	if d.left() > 0 {
		d.fail("%d bytes too many", d.left())
	}
	return d.err
}

func (c *Command) append(dst []byte, version int) []byte {
	dst = append(dst, byte(c.Kind))
	switch c.Kind {
	case Reserve:
		return c.appendBuyer(appendString(dst, c.Sale))
	case Confirm:
		return appendInts(dst, int64(c.Order))
	case Abort, Release:
		return appendString(appendInts(dst, int64(c.Order)), c.Reason)
	case OpenSale:
		return appendTerms(dst, c.Terms)
	case PauseSale, ResumeSale, CloseSale, ForgetSale:
		return appendInts(appendString(dst, c.Sale), c.Revision)
	case SetStock:
		return appendInts(appendString(dst, c.Sale), c.Revision, c.Total)
	case RestoreSale:
		return c.Restore.append(dst, version)
	case Ban:
		dst = appendString(append(dst, byte(c.Rule)), c.Value)
		return appendString(appendInts(dst, c.Until), c.Reason)
	case Unban:
		return appendString(append(dst, byte(c.Rule)), c.Value)
	case Revoke:
		return appendInts(appendString(dst, c.User), c.Before)
	case Ask, Accept:
		if version < 2 {
			break
		}
		dst = appendInts(appendString(appendString(dst, c.Sale), c.Value), c.Total)
		if c.Kind == Ask {
			dst = appendBool(appendInts(dst, c.Quantity), c.ForDebt)
		}
		return dst
	}
	panic(fmt.Sprintf("machine: encoding a command of kind %d, unknown to format version %d", c.Kind, version))
}

// appendAgain is append for a reservation at the sale of the one before it.
func (c *Command) appendAgain(dst []byte) []byte {
	return c.appendBuyer(append(dst, byte(reserveAgain)))
}

func (c *Command) appendBuyer(dst []byte) []byte {
	return appendString(appendInts(appendString(dst, c.User), c.Quantity), c.Key)
}

func (d *decoder) command(c *Command) {
	c.Kind = Kind(d.byte("kind"))
	if c.Kind >= Ask && d.version < 2 || c.Kind == reserveAgain && d.version < 3 {
		d.unknown(c.Kind)
		return
	}
	switch c.Kind {
	case Reserve:
		d.sale, d.reserved = d.text("sale", sale.MaxSaleIDBytes), true
		d.reservation(c)
	case reserveAgain:
		if !d.reserved {
			d.off--
			d.fail("a reservation without a sale has none before it")
			return
		}
		d.reservation(c)
	case Confirm:
		c.Order = sale.OrderID(d.int("order"))
	case Abort, Release:
		c.Order, c.Reason = sale.OrderID(d.int("order")), d.text("reason", sale.MaxReasonBytes)
	case OpenSale:
		c.Terms = d.terms()
	case PauseSale, ResumeSale, CloseSale, ForgetSale:
		c.Sale, c.Revision = d.string("sale", sale.MaxSaleIDBytes), d.int("revision")
	case SetStock:
		c.Sale = d.string("sale", sale.MaxSaleIDBytes)
		d.ints("stock", &c.Revision, &c.Total)
	case RestoreSale:
		c.Restore = d.restore()
	case Ban:
		c.Rule, c.Value = RuleKind(d.byte("rule")), d.string("value", sale.MaxAddressBytes)
		c.Until, c.Reason = d.int("until"), d.string("reason", sale.MaxReasonBytes)
	case Unban:
		c.Rule, c.Value = RuleKind(d.byte("rule")), d.string("value", sale.MaxAddressBytes)
	case Revoke:
		c.User, c.Before = d.string("user", sale.MaxUserBytes), d.int("before")
	case Ask, Accept:
		c.Sale, c.Value = d.string("sale", sale.MaxSaleIDBytes), d.string("shard", sale.MaxSaleIDBytes)
		c.Total = d.int("units moved")
		if c.Kind == Ask {
			c.Quantity, c.ForDebt = d.int("want"), d.bool("for debt")
		}
	default:
		d.unknown(c.Kind)
	}
}

// unknown fails at the kind that was read.
func (d *decoder) unknown(kind Kind) {
	d.off--
	d.fail("kind %d is not known to format version %d", kind, d.version)
}

// reservation reads what a reservation has besides its sale.
func (d *decoder) reservation(c *Command) {
	c.Kind, c.Sale, c.User = Reserve, d.sale, d.text("user", sale.MaxUserBytes)
	c.Quantity, c.Key = d.int("quantity"), d.text("key", sale.MaxKeyBytes)
}

// append leaves Paused out: it changes nothing.
func (r *Restore) append(dst []byte, version int) []byte {
	dst = appendTerms(dst, &r.Terms)
	dst = appendInts(dst, r.Revision, int64(r.IDFloor), int64(r.Part), int64(r.Parts))
	dst = appendBool(dst, r.Closed)
	dst = binary.AppendUvarint(dst, uint64(len(r.Sold)))
	for i := range r.Sold {
		o := &r.Sold[i]
		dst = appendInts(dst, int64(o.Order), o.Quantity, o.Slot)
		dst = appendString(appendString(dst, o.User), o.Key)
	}
	if version < 2 || len(r.Terms.Shards) < 2 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Transfers)))
	for _, t := range r.Transfers {
		dst = appendInts(appendString(dst, t.Peer), t.Given, t.Taken)
	}
	return dst
}

func (d *decoder) restore() *Restore {
	r := &Restore{Terms: *d.terms(), Paused: true}
	r.Revision, r.IDFloor = d.int("revision"), sale.OrderID(d.int("id floor"))
	r.Part, r.Parts = int(d.int("part")), int(d.int("parts"))
	r.Closed = d.bool("closed")
	if n := d.count("number of orders", MaxRestoreOrders, 5); n > 0 {
		r.Sold = make([]SoldOrder, n)
		for i := range r.Sold {
			o := &r.Sold[i]
			o.Order = sale.OrderID(d.int("order"))
			d.ints("order", &o.Quantity, &o.Slot)
			o.User, o.Key = d.string("user", sale.MaxUserBytes), d.string("key", sale.MaxKeyBytes)
		}
	}
	if d.version < 2 || len(r.Terms.Shards) < 2 {
		return r
	}
	if n := d.count("number of transfers", sale.MaxShards, 3); n > 0 {
		r.Transfers = make([]RestoredTransfer, n)
		for i := range r.Transfers {
			t := &r.Transfers[i]
			t.Peer = d.string("peer", sale.MaxSaleIDBytes)
			d.ints("transfer", &t.Given, &t.Taken)
		}
	}
	return r
}
