package rehearse

import (
	"cmp"
	"math/bits"
	"slices"
	"time"
)

// timeline is how many units were held or confirmed at each moment, as the counter tells afterwards.
type timeline struct {
	at    []time.Duration // moments of change, ascending
	units []int64         // from that moment on
	top   [][]int64       // top[k][i]: the most of units[i : i+1<<k]
}

// newTimeline takes the holds. Those that ended count for lag less than they lasted.
func newTimeline(holds []Hold, lag time.Duration) *timeline {
	type change struct {
		at    time.Duration
		units int64
	}
	var changes []change
	for i := range holds {
		h := &holds[i]
		changes = append(changes, change{h.From, h.Quantity})
		if !h.live() {
			changes = append(changes, change{max(h.From, h.To-lag), -h.Quantity})
		}
	}
	// What comes back in a moment can be taken in the same one.
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.units, b.units))
	})
	t := &timeline{}
	var units int64
	for _, c := range changes {
		units += c.units
		if n := len(t.at); n > 0 && t.at[n-1] == c.at {
			t.units[n-1] = units
			continue
		}
		t.at, t.units = append(t.at, c.at), append(t.units, units)
	}
	t.top = [][]int64{t.units}
	for k := 1; 1<<k <= len(t.units); k++ {
		below := t.top[k-1]
		row := make([]int64, len(t.units)-1<<k+1)
		for i := range row {
			row[i] = max(below[i], below[i+1<<(k-1)])
		}
		t.top = append(t.top, row)
	}
	return t
}

// most is the most units that were taken at any moment from from to to, both included.
func (t *timeline) most(from, to time.Duration) int64 {
	// The state at from is that of the last change not after it.
	first, found := slices.BinarySearch(t.at, from)
	if !found {
		first--
	}
	last, found := slices.BinarySearch(t.at, to)
	if !found {
		last--
	}
	var most int64
	if first < 0 {
		if last < 0 {
			return 0
		}
		first = 0
	}
	k := bits.Len(uint(last-first+1)) - 1
	most = max(t.top[k][first], t.top[k][last-1<<k+1])
	return most
}

// peak is the most at any moment.
func (t *timeline) peak() int64 {
	if len(t.units) == 0 {
		return 0
	}
	return slices.Max(t.units)
}
