package machine

const tableParts = 256

// table finds records by hash: open addressing over 256 parts that grow apart from each other, so that
// no single insertion moves more than a small part of a million entries. A slot holds the upper half
// of a hash and the ref, 8 bytes; ref 0 marks a free one.
type table struct {
	parts [tableParts]tablePart
}

type tablePart struct {
	slots []uint64
	used  int
}

func (t *table) part(hash uint32) *tablePart { return &t.parts[hash>>24] }

// peek gives the slot where a search for this hash begins.
func (t *table) peek(hash uint32) uint64 {
	p := t.part(hash)
	if p.used == 0 {
		return 0
	}
	return p.slots[hash&uint32(len(p.slots)-1)]
}

// find gives the ref with this hash for which is answers true, or 0.
func (t *table) find(hash uint32, is func(ref) bool) ref {
	p := t.part(hash)
	if p.used == 0 {
		return 0
	}
	mask := uint32(len(p.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		slot := p.slots[i]
		if slot == 0 {
			return 0
		}
		if uint32(slot>>32) == hash && is(ref(slot)) {
			return ref(slot)
		}
	}
}

// slotsTouched fill a page of memory. Fresh pages are written to before the search for a free slot reads them: the
// system would give them for reading first, and at the write again, telling all cores.
const slotsTouched = 512

// add puts a ref in. The caller has made sure that it is not there.
func (t *table) add(hash uint32, r ref) {
	p := t.part(hash)
	if !fits(p.used+1, len(p.slots)) {
		p.move(freshSlots(max(8, 2*len(p.slots))))
	}
	p.put(uint64(hash)<<32 | uint64(r))
	p.used++
}

// fits tells whether a part of so many slots takes so many refs, with a quarter left free.
func fits(refs, slots int) bool { return refs*4 <= slots*3 }

// freshSlots are free ones, whose pages the system has given.
func freshSlots(n int) []uint64 {
	slots := make([]uint64, n)
	for i := 0; i < n; i += slotsTouched {
		slots[i] = 0
	}
	return slots
}

// move puts what a part holds into more slots.
func (p *tablePart) move(slots []uint64) {
	old := p.slots
	p.slots = slots
	for _, slot := range old {
		if slot != 0 {
			p.put(slot)
		}
	}
}

// narrow finds a part that will have to grow before the table holds so many refs, and gives the slots it should
// have; 0: none will. An eighth is added, as hashes do not spread evenly.
func (t *table) narrow(refs int) (part, slots int) {
	each := refs/tableParts + refs/tableParts/8
	for slots = 8; !fits(each, slots); {
		slots *= 2
	}
	for part = range t.parts {
		if len(t.parts[part].slots) < slots {
			return part, slots
		}
	}
	return 0, 0
}

func (p *tablePart) put(slot uint64) {
	mask := uint32(len(p.slots) - 1)
	i := uint32(slot>>32) & mask
	for p.slots[i] != 0 {
		i = (i + 1) & mask
	}
	p.slots[i] = slot
}

// remove takes a ref out and closes the gap, so that a probe never has to step over removed entries.
func (t *table) remove(hash uint32, r ref) {
	p := t.part(hash)
	mask := uint32(len(p.slots) - 1)
	want := uint64(hash)<<32 | uint64(r)
	i := hash & mask
	for p.slots[i] != want {
		if p.slots[i] == 0 {
			panic("machine: a record is missing in its table")
		}
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; p.slots[j] != 0; j = (j + 1) & mask {
		home := uint32(p.slots[j]>>32) & mask
		if (j-home)&mask >= (j-i)&mask { // it may move back to the gap
			p.slots[i] = p.slots[j]
			i = j
		}
	}
	p.slots[i] = 0
	p.used--
}
