package machine

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"headgate.example/lib/sale"
)

// Versions of the snapshot format; the rule of EntryVersion holds here too. Version 2 adds what moved
// between the shards of sales with several.
const (
	SnapshotVersion    = 2
	SnapshotVersionMin = 1
)

// A snapshot is the magic, the version (2 bytes), and sections. A section is its type (1 byte), its
// number counted from 0 (4 bytes), the length of its content (4 bytes), the content, and the CRC-32C
// of all these (4 bytes). Integers of fixed width are little endian. The content is canonical: sales
// by id, orders by id, rules by index, so that equal states give equal bytes.
const (
	snapshotMagic   = "HGSHARD\n"
	sectionHeader   = 9
	maxSectionBytes = 1 << 20
	flushBytes      = 64 << 10

	sectionState = 1
	sectionSales = 2
	sectionHolds = 3
	sectionRules = 4
	sectionEnd   = 5
)

// Snapshot is a frozen view of a State: later entries do not change it, and WriteTo may run beside them.
type Snapshot struct {
	opts     Options
	clocks   [6]int64 // wall, served, topWall, idTime, idSeq, forgets
	sales    []saleState
	position []uint32 // of each saleState.index in sales
	holds    frozen[hold]
	live     int
	accounts frozen[account]
	notes    frozen[note]
	names    frozen[string] // long ones
	rules    []Rule
	index    int64
	floor    int64
	version  uint16 // the lowest that suffices
}

// Snapshot freezes the state. It copies sales, rules and the lists of chunks, but no holds: with a
// million holds that is well under a millisecond. Afterwards the first edit in each chunk of 512
// records copies the chunk, some microseconds each, and the frozen chunks stay in memory until the
// Snapshot is dropped: at most the holds once more.
func (s *State) Snapshot() *Snapshot {
	snap := &Snapshot{
		opts: s.opts, clocks: [6]int64{s.wall, s.served, s.topWall, s.idTime, int64(s.idSeq), s.forgets},
		holds: s.holds.freeze(), accounts: s.accounts.freeze(), live: s.holds.len(),
		notes: s.notes.freeze(), names: s.longNames.freeze(),
		index: s.rules.index, floor: s.rules.floor, position: make([]uint32, len(s.sales)),
		version: SnapshotVersionMin,
	}
	for _, sl := range s.sales {
		if sl != nil {
			copied := *sl
			copied.ids = idPages{}
			copied.pairs = slices.Clone(sl.pairs)
			if sl.shared() {
				snap.version = SnapshotVersion
			}
			snap.sales = append(snap.sales, copied)
		}
	}
	slices.SortFunc(snap.sales, func(a, b saleState) int { return strings.Compare(a.terms.ID, b.terms.ID) })
	for i := range snap.sales {
		snap.position[snap.sales[i].index] = uint32(i)
	}
	for _, r := range s.rules.log {
		if r.Kind != 0 {
			snap.rules = append(snap.rules, r)
		}
	}
	return snap
}

// WriteTo writes the snapshot. It sorts the orders first, which takes 4 bytes for each.
func (sn *Snapshot) WriteTo(w io.Writer) (int64, error) {
	sw := &sectionWriter{w: w}
	sw.write(binary.LittleEndian.AppendUint16([]byte(snapshotMagic), sn.version))
	sw.begin(sectionState)
	b := appendString(sw.b, sn.opts.Shard)
	b = appendInts(b, int64(sn.opts.Number))
	b = appendInts(b, sn.clocks[:]...)
	sw.b = appendInts(b, sn.index, sn.floor, int64(len(sn.sales)), int64(sn.live), int64(len(sn.rules)))
	sw.begin(sectionSales)
	for i := range sn.sales {
		sw.b = sn.sales[i].append(sw.b)
		sw.split(sectionSales)
	}
	sw.begin(sectionHolds)
	last := sale.OrderID(0)
	for _, r := range sn.order() {
		h := sn.holds.get(r)
		a := sn.accounts.get(h.account)
		sw.b = h.append(sw.b, sn.position[a.sale], last, a.user.in(&sn.names), noteOf(h, &sn.notes))
		last = h.id
		if sw.err != nil {
			return sw.written, sw.err
		}
		if sw.split(sectionHolds) {
			last = 0
		}
	}
	sw.begin(sectionRules)
	for i := range sn.rules {
		sw.b = sn.rules[i].append(sw.b)
		sw.split(sectionRules)
	}
	sw.begin(sectionEnd)
	sw.flush()
	return sw.written, sw.err
}

// order gives the records in use, by order id.
func (sn *Snapshot) order() []ref {
	refs := make([]ref, 0, sn.live)
	for r := ref(1); r <= sn.holds.top; r++ {
		if sn.holds.get(r).id != 0 {
			refs = append(refs, r)
		}
	}
	slices.SortFunc(refs, func(a, b ref) int { return cmp.Compare(sn.holds.get(a).id, sn.holds.get(b).id) })
	return refs
}

func (sl *saleState) append(b []byte) []byte {
	b = appendTerms(b, sl.terms)
	b = append(append(b, sl.content[:]...), sl.head[:]...)
	b = appendBool(appendBool(appendBool(b, sl.paused), sl.closed), sl.forgotten)
	for _, v := range sl.numbers() {
		b = binary.AppendVarint(b, *v)
	}
	b = appendInts(b, int64(sl.part), int64(sl.parts))
	b = binary.AppendUvarint(b, uint64(len(sl.releases)))
	for _, r := range sl.releases {
		b = appendInts(b, r.At, r.Units)
	}
	b = binary.AppendUvarint(b, uint64(len(sl.excess)))
	for _, id := range sl.excess {
		b = appendInts(b, int64(id))
	}
	for _, p := range sl.pairs {
		b = appendInts(b, p.given, p.acknowledged, p.taken)
	}
	return b
}

// numbers lists what a snapshot keeps of a sale as plain integers. A tombstone keeps its final counts
// of orders; for others they are counted again at reading.
func (sl *saleState) numbers() []*int64 {
	return []*int64{
		&sl.incarnation, &sl.revision, &sl.forgets, &sl.forgetDue, &sl.excessCount,
		&sl.stock, &sl.alloc, &sl.taken, &sl.given, &sl.scheduled, &sl.available, &sl.held, &sl.confirmed,
		&sl.debt, &sl.releasedTotal, &sl.expiredTotal, &sl.supply, &sl.heldOrders, &sl.confirmedOrders,
		&sl.releasedOrders, &sl.expiredOrders,
	}
}

func (h *hold) append(b []byte, position uint32, last sale.OrderID, user string, said note) []byte {
	b = binary.AppendUvarint(b, uint64(position))
	b = binary.AppendUvarint(b, uint64(h.id-last))
	b = append(b, byte(h.state), byte(h.by))
	b = appendInts(b, int64(h.quantity), int64(h.slot), h.reserved-sale.EpochMillis-h.id.IDMillis(), h.changed-h.reserved, h.due)
	b = appendString(b, user)
	b = appendString(b, said.key)
	return appendString(b, said.reason)
}

func (r *Rule) append(b []byte) []byte {
	b = appendBool(append(b, byte(r.Kind)), r.Removed)
	b = appendInts(b, r.Index, r.Until, r.Before)
	return appendString(appendString(b, r.Value), r.Reason)
}

// sectionWriter collects the content of one section in b behind room for its header.
type sectionWriter struct {
	w       io.Writer
	b       []byte
	number  uint32
	open    bool
	written int64
	err     error
}

func (sw *sectionWriter) write(b []byte) {
	if sw.err == nil {
		n, err := sw.w.Write(b)
		sw.written += int64(n)
		if sw.err = err; err != nil {
			sw.err = fmt.Errorf("writing a snapshot at offset %d: %w", sw.written, err)
		}
	}
}

func (sw *sectionWriter) begin(kind byte) {
	sw.flush()
	sw.b = append(append(sw.b[:0], kind), make([]byte, sectionHeader-1)...)
	sw.open = true
}

// split ends a section that has become long and begins another of its kind.
func (sw *sectionWriter) split(kind byte) bool {
	if len(sw.b) < flushBytes {
		return false
	}
	sw.begin(kind)
	return true
}

func (sw *sectionWriter) flush() {
	if !sw.open {
		return
	}
	if len(sw.b) > math.MaxUint32 {
		panic("machine: a snapshot section is too long")
	}
	binary.LittleEndian.PutUint32(sw.b[1:], sw.number)
	binary.LittleEndian.PutUint32(sw.b[5:], uint32(len(sw.b)-sectionHeader))
	sw.write(binary.LittleEndian.AppendUint32(sw.b, checksum(sw.b)))
	sw.number++
	sw.open = false
}
