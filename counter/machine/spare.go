package machine

import "unsafe"

// Memory for the orders of a rush is made ready before it comes: taking fresh pages from the system costs a microsecond
// and more for each, on a virtual machine several times that, and a table that grows moves what it holds.
// None of it is part of an outcome: voters may differ in it.

// MaxReady is for how many orders memory is made ready ahead, at most: some 130 MB. For more of them it is got as they come.
const MaxReady = 1 << 20

// Want is memory that a State will need, or does not need any more. It comes in small pieces, so that nobody has to
// wait for long.
type Want struct {
	holds, accounts bool // a chunk of them
	part, slots     int  // a part of the users' table, to grow to so many slots; 0: none
	less            bool // too much is ready
}

// Wants says which memory to make ready next: for as many orders as the units on sale allow, MaxReady at most. What was
// made ready for sales that are over goes again, but for the users' table. It only reads. False: there is enough.
func (s *State) Wants() (Want, bool) {
	soon := s.outlook()
	w := Want{
		holds: s.holds.room() < soon, accounts: s.accounts.room() < soon,
		less: s.holds.excess(soon) || s.accounts.excess(soon),
	}
	if soon > 0 {
		w.part, w.slots = s.byUser.narrow(s.accounts.len() + soon)
	}
	return w, w.holds || w.accounts || w.slots > 0 || w.less
}

// outlook is how many orders the units on sale allow, as far as memory is made ready for them.
func (s *State) outlook() int {
	var units int64
	for _, sl := range s.active {
		over := sl.closed || sl.terms.EndsAt != 0 && s.wall >= sl.terms.EndsAt
		if !over {
			units += min(sl.available+sl.scheduled, int64(max(0, s.limits.holdsPerSale-sl.ids.live)))
		}
	}
	return int(min(units, int64(s.limits.ready), int64(s.limits.holds-s.holds.len())))
}

// Spare is memory that is ready.
type Spare struct {
	holds    *chunk[hold]
	accounts *chunk[account]
	part     int
	slots    []uint64
	less     bool
}

// Make gets the memory and writes to it, which is what takes time: 20 to 200 microseconds, up to a millisecond for a
// table of millions. It looks at no State.
func (w Want) Make() *Spare {
	m := &Spare{part: w.part, less: w.less}
	if w.holds {
		m.holds = freshChunk[hold]()
	}
	if w.accounts {
		m.accounts = freshChunk[account]()
	}
	if w.slots > 0 {
		m.slots = freshSlots(w.slots)
	}
	return m
}

// Keep takes over memory that was made for this State, or for another one. It takes 10 microseconds, or some 100 when a part of
// a table of millions moves.
func (s *State) Keep(m *Spare) {
	if m.holds != nil {
		s.holds.ready = append(s.holds.ready, m.holds)
	}
	if m.accounts != nil {
		s.accounts.ready = append(s.accounts.ready, m.accounts)
	}
	if p := &s.byUser.parts[m.part]; len(m.slots) > len(p.slots) {
		p.move(m.slots)
	}
	if m.less {
		soon := s.outlook()
		s.holds.trim(soon)
		s.accounts.trim(soon)
	}
}

const pageBytes = 4096

// freshChunk is a chunk whose pages the system has given.
func freshChunk[T any]() *chunk[T] {
	c := new(chunk[T])
	var zero T
	for i := 0; i < chunkLen; i += max(1, pageBytes/int(unsafe.Sizeof(zero))) {
		c.items[i] = zero
	}
	c.items[chunkLen-1] = zero
	return c
}
