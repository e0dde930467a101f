package machine

import (
	"encoding/binary"
	"hash/maphash"
	"strings"

	"headgate.example/lib/sale"
)

// hold is one order, live or finished. It is one cache line, 64 bytes, and without pointers, so that the
// garbage collector has nothing to do with it.
type hold struct {
	id       sale.OrderID
	reserved int64 // wall ms
	changed  int64 // wall ms of the last change of state
	due      int64 // served ms: held: expires; released or expired: is purged
	note     ref   // 0 without key and reason
	account  ref
	slot     uint32
	// queue links: held holds of a sale by due, finished ones by due; confirmed ones are in neither.
	qPrev, qNext ref
	// account links: live ones by slot, finished ones latest first.
	uPrev, uNext ref
	quantity     uint16
	state        sale.HoldState
	by           Kind // Abort or Release, when released
}

// note is what was said about a hold: the request's key, and why it was aborted or released.
type note struct{ key, reason string }

// noteOf gives the note of a hold, empty when it has none. notes are of the same state as the hold.
func noteOf(h *hold, notes *frozen[note]) note {
	if h.note == 0 {
		return note{}
	}
	return *notes.get(h.note)
}

// setNote replaces the note of a hold that is being edited.
func (s *State) setNote(h *hold, key, reason string) {
	key, reason = strings.Clone(key), strings.Clone(reason)
	s.dropNote(h)
	if key == "" && reason == "" {
		return
	}
	r, n := s.notes.add()
	n.key, n.reason = key, reason
	h.note = r
}

func (s *State) dropNote(h *hold) {
	if h.note != 0 {
		s.notes.remove(h.note)
		h.note = 0
	}
}

func (s *State) keyOf(h *hold) string { return noteOf(h, &s.notes.frozen).key }

// account is what one user has in one sale: 48 bytes without pointers.
type account struct {
	units  int64 // in live holds
	sale   uint32
	live   ref // first of the live holds, by slot
	done   ref // first of the finished holds
	orders int32
	user   name
}

// name is a user's name of at most sale.MaxUserBytes. A short one lies in text; of a long one, text
// begins with the ref of an arena of long names.
type name struct {
	length uint8
	text   [23]byte
}

func (n *name) long() ref { return ref(binary.LittleEndian.Uint32(n.text[:])) }

// in gives the text, for which long names are needed of the same state as the name.
func (n *name) in(long *frozen[string]) string {
	if int(n.length) > len(n.text) {
		return *long.get(n.long())
	}
	return string(n.text[:n.length])
}

// is compares without allocating.
func (n *name) is(text string, long *frozen[string]) bool {
	if int(n.length) != len(text) {
		return false
	}
	if int(n.length) > len(n.text) {
		return *long.get(n.long()) == text
	}
	return string(n.text[:n.length]) == text
}

// setName names an account that has no name yet.
func (s *State) setName(n *name, text string) {
	n.length = uint8(len(text))
	if len(text) <= len(n.text) {
		copy(n.text[:], text)
		return
	}
	r, long := s.longNames.add()
	*long = strings.Clone(text)
	binary.LittleEndian.PutUint32(n.text[:], uint32(r))
}

func (s *State) dropName(n *name) {
	if int(n.length) > len(n.text) {
		s.longNames.remove(n.long())
	}
}

func (s *State) userOf(a *account) string { return a.user.in(&s.longNames.frozen) }

// queue is a doubly linked list of holds.
type queue struct{ head, tail ref }

func (s *State) enqueue(q *queue, r ref, h *hold) {
	h.qPrev, h.qNext = q.tail, 0
	if q.tail != 0 {
		s.holds.edit(q.tail).qNext = r
	} else {
		q.head = r
	}
	q.tail = r
}

func (s *State) dequeue(q *queue, h *hold) {
	if h.qPrev != 0 {
		s.holds.edit(h.qPrev).qNext = h.qNext
	} else {
		q.head = h.qNext
	}
	if h.qNext != 0 {
		s.holds.edit(h.qNext).qPrev = h.qPrev
	} else {
		q.tail = h.qPrev
	}
	h.qPrev, h.qNext = 0, 0
}

// linkAfter puts h into an account's list behind prev, or first when prev is 0.
func (s *State) linkAfter(first *ref, prev, r ref, h *hold) {
	h.uPrev = prev
	if prev != 0 {
		before := s.holds.edit(prev)
		h.uNext, before.uNext = before.uNext, r
	} else {
		h.uNext, *first = *first, r
	}
	if h.uNext != 0 {
		s.holds.edit(h.uNext).uPrev = r
	}
}

func (s *State) unlink(first *ref, h *hold) {
	if h.uPrev != 0 {
		s.holds.edit(h.uPrev).uNext = h.uNext
	} else {
		*first = h.uNext
	}
	if h.uNext != 0 {
		s.holds.edit(h.uNext).uPrev = h.uPrev
	}
	h.uPrev, h.uNext = 0, 0
}

// hashName is the part of hashUser that is the same for all sales.
func (s *State) hashName(user string) uint32 { return uint32(maphash.String(s.seed, user) >> 32) }

func hashIn(saleIndex, name uint32) uint32 { return name ^ saleIndex*0x9e3779b1 }

func (s *State) hashUser(saleIndex uint32, user string) uint32 {
	return hashIn(saleIndex, s.hashName(user))
}

// findAccount gives the user's account in a sale, or 0.
func (s *State) findAccount(saleIndex uint32, user string) ref {
	return s.findHashed(s.hashUser(saleIndex, user), saleIndex, user)
}

// findHashed is findAccount for whoever knows the hash.
func (s *State) findHashed(hash, saleIndex uint32, user string) ref {
	return s.byUser.find(hash, func(r ref) bool {
		a := s.accounts.get(r)
		return a.sale == saleIndex && a.user.is(user, &s.longNames.frozen)
	})
}

func (s *State) ensureAccount(saleIndex uint32, user string) ref {
	if r := s.findAccount(saleIndex, user); r != 0 {
		return r
	}
	return s.addAccount(s.hashUser(saleIndex, user), saleIndex, user)
}

// addAccount makes the account of a user who has none in this sale.
func (s *State) addAccount(hash, saleIndex uint32, user string) ref {
	r, a := s.accounts.add()
	a.sale = saleIndex
	s.setName(&a.user, user)
	s.byUser.add(hash, r)
	return r
}

// liveOrder gives the account's live hold with this request key, or 0.
func (s *State) liveOrder(acct ref, key string) ref {
	for r := s.accounts.get(acct).live; r != 0; {
		h := s.holds.get(r)
		if s.keyOf(h) == key {
			return r
		}
		r = h.uNext
	}
	return 0
}

// freeSlot gives the account's lowest free slot and the live hold before it, or 0.
func (s *State) freeSlot(acct ref) (slot uint32, prev ref) {
	slot = 1
	for r := s.accounts.get(acct).live; r != 0; {
		h := s.holds.get(r)
		if h.slot > slot {
			break
		}
		slot, prev, r = h.slot+1, r, h.uNext
	}
	return slot, prev
}

// addHold makes the record of a live hold. prev is the live hold of the account with the next lower slot.
func (s *State) addHold(sl *saleState, acct, prev ref, id sale.OrderID, quantity int64, slot uint32, state sale.HoldState, key string) (ref, *hold) {
	r, h := s.holds.add()
	h.id, h.account, h.slot, h.quantity, h.state = id, acct, slot, uint16(quantity), state
	h.reserved, h.changed = s.wall, s.wall
	s.setNote(h, key, "")
	a := s.accounts.edit(acct)
	a.units += quantity
	a.orders++
	s.linkAfter(&a.live, prev, r, h)
	s.byID.add(id, r)
	sl.ids.add(id)
	*sl.count(state)++
	return r, h
}

// dropHold removes a record and, with its last one, the user's account. Units are the caller's matter.
func (s *State) dropHold(sl *saleState, r ref) {
	h := s.holds.edit(r)
	a := s.accounts.edit(h.account)
	switch h.state {
	case sale.Held, sale.Confirmed:
		if h.state == sale.Held {
			s.dequeue(&sl.waiting, h)
		}
		s.unlink(&a.live, h)
		a.units -= int64(h.quantity)
		a.orders--
	default:
		s.dequeue(&sl.finished, h)
		s.unlink(&a.done, h)
	}
	if !sl.forgotten { // the counts of a tombstone are final
		*sl.count(h.state)--
	}
	s.byID.remove(h.id)
	s.dropNote(h)
	sl.ids.remove(h.id)
	if a.live == 0 && a.done == 0 {
		s.byUser.remove(s.hashUser(a.sale, s.userOf(a)), h.account)
		s.dropName(&a.user)
		s.accounts.remove(h.account)
	}
	s.holds.remove(r)
}
