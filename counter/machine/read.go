package machine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"headgate.example/lib/sale"
)

// Read rebuilds a State from what Snapshot.WriteTo wrote, up to the end of r. An error names the
// offset. The snapshot of another shard is refused.
func Read(r io.Reader, opts Options) (*State, error) {
	sr := &snapshotReader{r: r, s: New(opts), finished: make(map[*saleState][]ref)}
	if err := sr.read(); err != nil {
		return nil, fmt.Errorf("snapshot of shard %s: %w", opts.Shard, err)
	}
	return sr.s, nil
}

type snapshotReader struct {
	r       io.Reader
	s       *State
	off     int64
	number  uint32
	version int
	buf     []byte

	wantSales, wantHolds, wantRules int64 // how many the state section promises

	sales    []*saleState // by position
	lastID   sale.OrderID
	holds    int64
	finished map[*saleState][]ref
}

func (sr *snapshotReader) read() error {
	head := make([]byte, len(snapshotMagic)+2)
	if err := sr.fill(head); err != nil {
		return err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return errors.New("offset 0: is not a snapshot of a counter shard")
	}
	if v := binary.LittleEndian.Uint16(head[len(snapshotMagic):]); v < SnapshotVersionMin || v > SnapshotVersion {
		return fmt.Errorf("offset %d: format version %d: this program reads %d to %d, use the program that wrote it or a later one",
			len(snapshotMagic), v, SnapshotVersionMin, SnapshotVersion)
	}
	sr.version = int(binary.LittleEndian.Uint16(head[len(snapshotMagic):]))
	for previous := byte(0); ; {
		kind, d, err := sr.section()
		if err != nil {
			return err
		}
		if kind < previous || kind > previous+1 || kind == previous && (kind == sectionState || kind == sectionEnd) {
			return fmt.Errorf("offset %d: section of type %d after type %d", d.base-sectionHeader, kind, previous)
		}
		previous = kind
		switch kind {
		case sectionState:
			sr.state(d)
		case sectionSales:
			sr.each(d, sr.sale)
		case sectionHolds:
			sr.lastID = 0
			sr.each(d, sr.hold)
		case sectionRules:
			sr.each(d, sr.rule)
		}
		if d.left() > 0 {
			d.fail("%d bytes too many in the section", d.left())
		}
		if d.err != nil {
			return d.err
		}
		if kind == sectionEnd {
			return sr.end()
		}
	}
}

func (sr *snapshotReader) fill(b []byte) error {
	n, err := io.ReadFull(sr.r, b)
	sr.off += int64(n)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("offset %d: is cut off", sr.off)
		}
		return fmt.Errorf("offset %d: %w", sr.off, err)
	}
	return nil
}

// section reads and checks one section.
func (sr *snapshotReader) section() (kind byte, d *decoder, err error) {
	start := sr.off
	var head [sectionHeader]byte
	if err := sr.fill(head[:]); err != nil {
		return 0, nil, err
	}
	number, length := binary.LittleEndian.Uint32(head[1:]), binary.LittleEndian.Uint32(head[5:])
	if length > maxSectionBytes {
		return 0, nil, fmt.Errorf("offset %d: a section of %d bytes, at most %d are allowed", start, length, maxSectionBytes)
	}
	sr.buf = append(slices.Grow(sr.buf[:0], sectionHeader+int(length)+4), head[:]...)
	sr.buf = sr.buf[:sectionHeader+int(length)+4]
	if err := sr.fill(sr.buf[sectionHeader:]); err != nil {
		return 0, nil, err
	}
	content := sr.buf[:sectionHeader+int(length)]
	if sum := binary.LittleEndian.Uint32(sr.buf[len(content):]); sum != checksum(content) {
		return 0, nil, fmt.Errorf("offset %d: checksum %08x of the section does not match its content's %08x", start, sum, checksum(content))
	}
	if number != sr.number {
		return 0, nil, fmt.Errorf("offset %d: section number %d where %d was expected", start, number, sr.number)
	}
	sr.number++
	return head[0], &decoder{b: content[sectionHeader:], base: start + sectionHeader, version: sr.version}, nil
}

func (sr *snapshotReader) each(d *decoder, read func(*decoder)) {
	for d.err == nil && d.left() > 0 {
		read(d)
	}
}

func (sr *snapshotReader) state(d *decoder) {
	s := sr.s
	name, number := d.string("shard", 1<<10), d.int("shard number")
	if d.err == nil && (name != s.opts.Shard || number != int64(s.opts.Number)) {
		d.fail("belongs to shard %q number %d, this is %q number %d", name, number, s.opts.Shard, s.opts.Number)
	}
	var seq int64
	d.ints("clocks", &s.wall, &s.served, &s.topWall, &s.idTime, &seq, &s.forgets)
	d.ints("counts", &s.rules.index, &s.rules.floor, &sr.wantSales, &sr.wantHolds, &sr.wantRules)
	s.idSeq = int(seq)
	switch {
	case s.wall != clampWall(s.wall) || s.topWall != clampWall(s.topWall) || s.served < 0 || s.served > maxServed:
		d.fail("clocks are out of range")
	case s.idTime < 0 || s.idTime > sale.MaxIDTime || seq < 0 || seq > sale.MaxSequence:
		d.fail("last order id is out of range")
	}
}

func (sr *snapshotReader) sale(d *decoder) {
	sl := &saleState{terms: d.terms()}
	for _, sum := range []*digest{&sl.content, &sl.head} {
		if d.left() < len(sum) {
			d.fail("digest is cut off")
			return
		}
		d.off += copy(sum[:], d.b[d.off:])
	}
	sl.paused, sl.closed, sl.forgotten = d.bool("paused"), d.bool("closed"), d.bool("forgotten")
	d.ints("totals", sl.numbers()...)
	sl.part, sl.parts = int(d.int("part")), int(d.int("parts"))
	sl.releases = d.releases()
	if n := d.count("number of excess orders", MaxExcessListed, 1); n > 0 {
		sl.excess = make([]sale.OrderID, n)
		for i := range sl.excess {
			sl.excess[i] = sale.OrderID(d.int("excess order"))
		}
	}
	if d.err != nil {
		return
	}
	if err := sl.terms.Validate(); err != nil {
		d.fail("sale %q: %s", sl.terms.ID, err)
		return
	}
	if sr.place(d, sl); d.err != nil {
		return
	}
	if n := len(sr.sales); n > 0 && sr.sales[n-1].terms.ID >= sl.terms.ID {
		d.fail("sale %q is out of order", sl.terms.ID)
		return
	}
	s := sr.s
	if !sl.forgotten { // they are counted again
		sl.heldOrders, sl.confirmedOrders, sl.releasedOrders, sl.expiredOrders = 0, 0, 0, 0
		s.active = append(s.active, sl)
	} else {
		s.graves = append(s.graves, sl)
	}
	s.addSale(sl)
	sr.sales = append(sr.sales, sl)
	if len(s.active) > s.limits.sales || len(s.graves) > s.limits.tombstones {
		d.fail("more sales than a shard keeps")
	}
}

// place reads what moved between the shards of a sale, and finds its ring.
func (sr *snapshotReader) place(d *decoder, sl *saleState) {
	n := len(sl.terms.Shards)
	if n > 1 {
		if d.version < 2 {
			d.fail("sale %q has %d shards, which format version %d does not know", sl.terms.ID, n, d.version)
			return
		}
		sl.pairs = make([]pair, n)
		for i := range sl.pairs {
			p := &sl.pairs[i]
			d.ints("units moved", &p.given, &p.acknowledged, &p.taken)
		}
	}
	if !slices.Contains(sl.terms.Shards, sr.s.opts.Shard) {
		d.fail("sale %q does not name shard %s", sl.terms.ID, sr.s.opts.Shard)
		return
	}
	if err := sr.s.place(sl); err != nil && d.err == nil {
		d.fail("sale %q: %s", sl.terms.ID, err)
	}
}

func (sr *snapshotReader) hold(d *decoder) {
	var h hold
	position := d.uint("sale")
	step := d.uint("order")
	h.state, h.by = sale.HoldState(d.byte("state")), Kind(d.byte("release"))
	var quantity, slot int64
	d.ints("hold", &quantity, &slot, &h.reserved, &h.changed, &h.due)
	user := d.string("user", sale.MaxUserBytes)
	key, reason := d.string("key", sale.MaxKeyBytes), d.string("reason", sale.MaxReasonBytes)
	if d.err != nil {
		return
	}
	if h.id = sr.lastID + sale.OrderID(step); h.id <= sr.lastID || position >= uint64(len(sr.sales)) {
		d.fail("order or sale is out of range")
		return
	}
	sr.lastID = h.id
	h.reserved += sale.EpochMillis + h.id.IDMillis()
	h.changed += h.reserved
	sl := sr.sales[position]
	binding := sale.Binding{Order: h.id, Sale: sl.terms.ID, User: user, Quantity: quantity, Slot: slot}
	err := cmp.Or(binding.Validate(), sale.CheckKey(key), checkReason(reason))
	switch {
	case err != nil:
		d.fail("order %d: %s", h.id, err)
	case h.id.Shard() != sr.s.opts.Number || h.id > sr.s.LastOrder():
		d.fail("order %d was not minted here", h.id)
	case h.state < sale.Held || h.state > sale.Expired || h.due < 0 || h.due > 2*maxServed:
		d.fail("order %d: state or time is out of range", h.id)
	case sr.s.byID.find(h.id) != 0:
		d.fail("order %d is there twice", h.id)
	case sr.holds >= MaxHolds:
		d.fail("more holds than a shard keeps")
	}
	if d.err == nil {
		h.quantity, h.slot = uint16(quantity), uint32(slot)
		sr.s.setNote(&h, key, reason)
		sr.enter(d, sl, user, &h)
	}
}

// enter puts a hold into the state and its indexes. Finished ones get their queue when all are known.
func (sr *snapshotReader) enter(d *decoder, sl *saleState, user string, h *hold) {
	s := sr.s
	sr.holds++
	acct := s.ensureAccount(sl.index, user)
	h.account = acct
	r, kept := s.holds.add()
	*kept = *h
	s.byID.add(h.id, r)
	sl.ids.add(h.id)
	if !sl.forgotten {
		*sl.count(h.state)++
	}
	a := s.accounts.edit(acct)
	if !h.state.Live() {
		sr.finished[sl] = append(sr.finished[sl], r)
		return
	}
	prev, clash := s.slotPlace(acct, h.slot)
	if clash != 0 {
		d.fail("order %d: slot %d is taken", h.id, h.slot)
		return
	}
	s.linkAfter(&a.live, prev, r, kept)
	a.units += int64(h.quantity)
	a.orders++
	if h.state == sale.Held {
		if tail := sl.waiting.tail; tail != 0 && s.holds.get(tail).due > h.due || sl.forgotten {
			d.fail("order %d: is held out of turn", h.id)
			return
		}
		s.enqueue(&sl.waiting, r, kept)
	}
}

func (sr *snapshotReader) rule(d *decoder) {
	r := Rule{Kind: RuleKind(d.byte("rule")), Removed: d.bool("removed")}
	d.ints("rule", &r.Index, &r.Until, &r.Before)
	r.Value, r.Reason = d.string("value", sale.MaxAddressBytes), d.string("reason", sale.MaxReasonBytes)
	if d.err != nil {
		return
	}
	rs := &sr.s.rules
	err := r.check()
	switch {
	case err != nil:
		d.fail("rule %d: %s", r.Index, err)
	case len(rs.log) > 0 && rs.log[len(rs.log)-1].Index >= r.Index || r.Index > rs.index || r.Index < 1:
		d.fail("rule %d is out of order", r.Index)
	case rs.find(ruleKey{r.Kind, r.Value}) != nil:
		d.fail("rule %d is there twice", r.Index)
	case rs.inUse > MaxRules || rs.graves > MaxRuleGraves:
		d.fail("more rules than a shard keeps")
	default:
		rs.append(r)
	}
}

// end links what needed everything to be known, and checks the whole.
func (sr *snapshotReader) end() error {
	s := sr.s
	if n, err := sr.r.Read(make([]byte, 1)); n != 0 || err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("offset %d: more bytes after the end", sr.off)
	}
	if sr.wantSales != int64(len(sr.sales)) || sr.wantHolds != sr.holds || sr.wantRules != int64(len(s.rules.log)) {
		return fmt.Errorf("offset %d: has %d sales, %d holds, %d rules where %d, %d, %d were promised", sr.off,
			len(sr.sales), sr.holds, len(s.rules.log), sr.wantSales, sr.wantHolds, sr.wantRules)
	}
	slices.SortFunc(s.graves, func(a, b *saleState) int { return cmp.Compare(a.forgets, b.forgets) })
	for _, sl := range sr.sales {
		refs := sr.finished[sl]
		slices.SortFunc(refs, func(a, b ref) int {
			x, y := s.holds.get(a), s.holds.get(b)
			return cmp.Or(cmp.Compare(x.due, y.due), cmp.Compare(x.id, y.id))
		})
		for _, r := range refs {
			h := s.holds.edit(r)
			s.enqueue(&sl.finished, r, h)
			s.linkAfter(&s.accounts.edit(h.account).done, 0, r, h)
		}
		if sl.forgotten && sl.ids.live > 0 {
			s.nextSweep = min(s.nextSweep, sl.forgetDue)
		}
		if !sl.forgotten {
			s.schedule(sl)
		}
	}
	if err := s.CheckInvariants(); err != nil {
		return fmt.Errorf("offset %d: the state does not hold: %w", sr.off, err)
	}
	return nil
}
