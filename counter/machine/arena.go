package machine

import "slices"

// ref names a record of an arena. 0 is none.
type ref uint32

const (
	chunkBits = 9
	chunkLen  = 1 << chunkBits
)

type chunk[T any] struct {
	epoch uint64
	items [chunkLen]T
}

// arena keeps records of one type in chunks that never move, reuses freed ones, and can be frozen: a
// frozen view shares the chunks, and whoever edits a record afterwards copies its chunk first. It
// never gives memory back; a shard needs again what its busiest day needed.
type arena[T any] struct {
	frozen[T]
	epoch uint64
	free  []ref
	ready []*chunk[T] // for when there is no room any more
}

// edit gives a record for writing. The pointer stays good until the next freeze.
func (a *arena[T]) edit(r ref) *T {
	c := a.chunks[r>>chunkBits]
	if c.epoch != a.epoch {
		c = &chunk[T]{epoch: a.epoch, items: c.items}
		a.chunks[r>>chunkBits] = c
	}
	return &c.items[r&(chunkLen-1)]
}

// add gives a zeroed record for writing.
func (a *arena[T]) add() (ref, *T) {
	if n := len(a.free); n > 0 {
		r := a.free[n-1]
		a.free = a.free[:n-1]
		return r, a.edit(r)
	}
	a.top++
	if int(a.top>>chunkBits) >= len(a.chunks) {
		a.chunks = append(a.chunks, a.chunk())
	}
	return a.top, a.edit(a.top)
}

// chunk gives one without records.
func (a *arena[T]) chunk() *chunk[T] {
	n := len(a.ready)
	if n == 0 {
		return &chunk[T]{epoch: a.epoch}
	}
	c := a.ready[n-1]
	a.ready[n-1] = nil
	a.ready = a.ready[:n-1]
	c.epoch = a.epoch
	return c
}

// room is how many records can be added in memory that is there. The first place of all is no record's.
func (a *arena[T]) room() int {
	return max(0, (len(a.chunks)+len(a.ready))*chunkLen-1-int(a.top)+len(a.free))
}

// excess tells whether far more is ready than so many records need.
func (a *arena[T]) excess(records int) bool {
	return len(a.ready) > 0 && a.room() > 2*records+chunkLen
}

// trim lets go of what is ready beyond what so many records need.
func (a *arena[T]) trim(records int) {
	for len(a.ready) > 0 && a.room()-chunkLen >= records {
		a.ready[len(a.ready)-1] = nil
		a.ready = a.ready[:len(a.ready)-1]
	}
}

func (a *arena[T]) remove(r ref) {
	var zero T
	*a.edit(r) = zero
	a.free = append(a.free, r)
}

func (a *arena[T]) len() int { return int(a.top) - len(a.free) }

// freeze gives a view that later edits do not change. It costs 8 bytes for each chunk.
func (a *arena[T]) freeze() frozen[T] {
	a.epoch++
	return frozen[T]{chunks: slices.Clone(a.chunks), top: a.top}
}

// frozen is an arena for reading only.
type frozen[T any] struct {
	chunks []*chunk[T]
	top    ref // the highest ref handed out
}

// get gives a record for reading only. It must not be used after the next edit.
func (f *frozen[T]) get(r ref) *T { return &f.chunks[r>>chunkBits].items[r&(chunkLen-1)] }
