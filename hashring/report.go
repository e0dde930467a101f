package hashring

import (
	"cmp"
	"fmt"
	"slices"
)

// Share is what one member owns.
type Share struct {
	Member     string
	Partitions int
	Share      float64 // of all keys, 0 to 1
}

// Shares reports what each member owns, in ascending order of names. A member may own nothing when
// there are nearly as many members as partitions.
func (r *Ring) Shares() []Share {
	shares := make([]Share, len(r.members))
	for i, name := range r.members {
		shares[i].Member = name
	}
	for _, owner := range r.owners {
		shares[owner].Partitions++
	}
	for i := range shares {
		shares[i].Share = float64(shares[i].Partitions) / float64(len(r.owners))
	}
	return shares
}

// Spread is the largest share as a multiple of the even one: 1 is perfect.
func (r *Ring) Spread() float64 {
	most := 0.0
	for _, s := range r.Shares() {
		most = max(most, s.Share)
	}
	return most * float64(len(r.members))
}

// Move is what changes hands from one member to another.
type Move struct {
	From, To   string
	Partitions int
	Share      float64 // of all keys, 0 to 1
}

// MoveReport tells what changes hands between two rings.
type MoveReport struct {
	Moves    []Move  // by From, then To; empty when nothing moves
	Share    float64 // of all keys that move at all
	Sideways float64 // of all keys, what moves between members of both rings: the price of bounded loads
}

// Moves compares two rings over the same number of partitions. With different numbers every key falls
// anew, and a report would say nothing: that is an error.
func Moves(from, to *Ring) (MoveReport, error) {
	if len(from.owners) != len(to.owners) {
		return MoveReport{}, fmt.Errorf("ring: partitions differ (%d and %d): nearly every key moves", len(from.owners), len(to.owners))
	}
	type route struct{ from, to string }
	counts := make(map[route]int)
	for partition := range from.owners {
		r := route{from.members[from.owners[partition]], to.members[to.owners[partition]]}
		if r.from != r.to {
			counts[r]++
		}
	}
	var report MoveReport
	total := float64(len(from.owners))
	moved, sideways := 0, 0
	for r, n := range counts {
		report.Moves = append(report.Moves, Move{From: r.from, To: r.to, Partitions: n, Share: float64(n) / total})
		moved += n
		if to.Has(r.from) && from.Has(r.to) {
			sideways += n
		}
	}
	report.Share, report.Sideways = float64(moved)/total, float64(sideways)/total
	slices.SortFunc(report.Moves, func(a, b Move) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return report, nil
}
