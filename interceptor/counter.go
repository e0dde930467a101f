package interceptor

import "sync/atomic"

// counterCells is how many requests can count at once without disturbing each other. A power of two.
const counterCells = 8

// counter is a metric in which every refusal counts, on all processors at once: in cells, each on a cache line of
// its own, which are summed where it is shown. See figures.counter.
type counter struct {
	cells [counterCells]struct {
		n atomic.Uint64
		_ [56]byte
	}
}

// inc counts one in a cell, any number. A pooled exchange keeps to one cell, and mostly to one processor.
func (c *counter) inc(cell uint32) { c.cells[cell%counterCells].n.Add(1) }

func (c *counter) sum() (n uint64) {
	for i := range c.cells {
		n += c.cells[i].n.Load()
	}
	return n
}
