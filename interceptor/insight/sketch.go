package insight

import (
	"cmp"
	"slices"
)

// Talker is one of those who ask most.
type Talker[K comparable] struct {
	Key K
	// Requests is what was counted, never too low. Of it, Above is what may be somebody else's, who was
	// dropped for this one.
	Requests, Above int64
	Refused         int64 // of Requests, those that were refused, never too high
}

// sketch counts the most frequent keys of a stream in bounded memory (space-saving, Metwally 2005):
// with m counters, a key that is more than 1/m of the stream is among them, and no count is too low.
type sketch[K comparable] struct {
	counters []Talker[K]
	index    map[K]int32 // into counters
	heap     []int32     // of counters, the least Requests first
	place    []int32     // in the heap, of each counter
}

func newSketch[K comparable](counters int) *sketch[K] {
	return &sketch[K]{counters: make([]Talker[K], 0, counters), index: make(map[K]int32, counters), heap: make([]int32, 0, counters), place: make([]int32, 0, counters)}
}

func (s *sketch[K]) add(key K, weight, refused int64) {
	if i, there := s.index[key]; there {
		s.counters[i].Requests += weight
		s.counters[i].Refused += refused
		s.down(s.place[i])
		return
	}
	if n := int32(len(s.counters)); int(n) < cap(s.counters) {
		s.counters = append(s.counters, Talker[K]{Key: key, Requests: weight, Refused: refused})
		s.index[key] = n
		s.heap, s.place = append(s.heap, n), append(s.place, n)
		s.up(n)
		return
	}
	i := s.heap[0]
	c := &s.counters[i]
	delete(s.index, c.Key)
	s.index[key] = i
	*c = Talker[K]{Key: key, Requests: c.Requests + weight, Above: c.Requests, Refused: refused}
	s.down(0)
}

func (s *sketch[K]) less(a, b int32) bool {
	return s.counters[s.heap[a]].Requests < s.counters[s.heap[b]].Requests
}

func (s *sketch[K]) swap(a, b int32) {
	s.heap[a], s.heap[b] = s.heap[b], s.heap[a]
	s.place[s.heap[a]], s.place[s.heap[b]] = a, b
}

func (s *sketch[K]) up(at int32) {
	for at > 0 && s.less(at, (at-1)/2) {
		s.swap(at, (at-1)/2)
		at = (at - 1) / 2
	}
}

func (s *sketch[K]) down(at int32) {
	n := int32(len(s.heap))
	for {
		least := at
		for _, child := range [2]int32{2*at + 1, 2*at + 2} {
			if child < n && s.less(child, least) {
				least = child
			}
		}
		if least == at {
			return
		}
		s.swap(at, least)
		at = least
	}
}

func (s *sketch[K]) clear() {
	clear(s.counters)
	clear(s.index)
	s.counters, s.heap, s.place = s.counters[:0], s.heap[:0], s.place[:0]
}

// least is the count below which a key may have been dropped.
func (s *sketch[K]) least() int64 {
	if len(s.counters) < cap(s.counters) {
		return 0
	}
	return s.counters[s.heap[0]].Requests
}

// merged gives the sum of two sketches of a stream's two parts, the highest counts first.
func merged[K comparable](a, b *sketch[K]) []Talker[K] {
	sums := make(map[K]Talker[K], len(a.counters)+len(b.counters))
	for _, part := range []*sketch[K]{a, b} {
		other := b
		if part == b {
			other = a
		}
		for _, c := range part.counters {
			sum, there := sums[c.Key]
			if _, inOther := other.index[c.Key]; !there && !inOther {
				sum.Requests, sum.Above = other.least(), other.least()
			}
			sums[c.Key] = Talker[K]{Key: c.Key, Requests: sum.Requests + c.Requests, Above: sum.Above + c.Above, Refused: sum.Refused + c.Refused}
		}
	}
	list := make([]Talker[K], 0, len(sums))
	for _, sum := range sums {
		list = append(list, sum)
	}
	slices.SortFunc(list, func(x, y Talker[K]) int {
		return cmp.Or(cmp.Compare(y.Requests-y.Above, x.Requests-x.Above), cmp.Compare(y.Requests, x.Requests))
	})
	return list
}
