package hashring

import (
	"fmt"
	"math"
	"testing"
)

// What the package comment promises, over many sets of addresses. The bounds are what was measured,
// with a little room: "none between members that stay" would be a fine promise, but it is not true.
func TestMovesWhenOneJoins(t *testing.T) {
	const sets = 40
	for n := 1; n <= 12; n++ {
		var share, sideways, worst float64
		for set := range sets {
			var members []string
			for i := range n {
				members = append(members, fmt.Sprintf("10.%d.0.%d:8080", set, i+1))
			}
			joining := fmt.Sprintf("10.%d.0.200:8080", set)
			from := mustNew(t, members, Params{})
			to, err := from.With(joining)
			if err != nil {
				t.Fatal(err)
			}
			report, err := Moves(from, to)
			if err != nil {
				t.Fatal(err)
			}
			checkReport(t, from, to, report)
			for _, m := range report.Moves {
				if m.From == joining {
					t.Fatalf("%s joined and lost keys: %+v", joining, m)
				}
			}
			share += report.Share / sets
			sideways += report.Sideways / sets
			worst = max(worst, report.Sideways)
		}
		if ideal := 1 / float64(n+1); share > ideal+0.045 {
			t.Errorf("%d -> %d: %.3f of the keys move, ideal is %.3f", n, n+1, share, ideal)
		}
		if sideways > 0.04 || worst > 0.10 || n == 1 && worst > 0 {
			t.Errorf("%d -> %d: %.3f of the keys move between old members, %.3f at worst", n, n+1, sideways, worst)
		}
	}
}

// checkReport counts the moves again, key by key.
func checkReport(t *testing.T, from, to *Ring, report MoveReport) {
	t.Helper()
	partitions, sum := 0, 0.0
	for _, m := range report.Moves {
		if m.From == m.To || m.Partitions < 1 {
			t.Fatalf("no move: %+v", m)
		}
		partitions += m.Partitions
		sum += m.Share
	}
	differ := 0
	for p := range from.owners {
		if from.members[from.owners[p]] != to.members[to.owners[p]] {
			differ++
		}
	}
	if differ != partitions || math.Abs(sum-report.Share) > 1e-9 || report.Sideways > report.Share {
		t.Fatalf("%d partitions differ, the report says %d (%v, sum %v)", differ, partitions, report.Share, sum)
	}
}

func TestMovesOfSampledKeys(t *testing.T) {
	from := mustNew(t, addresses(3), Params{})
	to, err := from.With("10.0.0.4:8080")
	if err != nil {
		t.Fatal(err)
	}
	report, err := Moves(from, to)
	if err != nil {
		t.Fatal(err)
	}
	const keys = 100_000
	moved := 0
	for i := range keys {
		key := fmt.Sprintf("u%06d", i)
		if from.Owner(key) != to.Owner(key) {
			moved++
		}
	}
	if got := float64(moved) / keys; math.Abs(got-report.Share) > 0.01 {
		t.Errorf("%.3f of the keys moved, the report says %.3f", got, report.Share)
	}
}

func TestMovesWhenOneLeavesIsTheReverse(t *testing.T) {
	big := mustNew(t, addresses(5), Params{})
	small, err := big.Without("10.0.0.3:8080")
	if err != nil {
		t.Fatal(err)
	}
	leave, err := Moves(big, small)
	if err != nil {
		t.Fatal(err)
	}
	join, err := Moves(small, big)
	if err != nil {
		t.Fatal(err)
	}
	if leave.Share != join.Share || leave.Sideways != join.Sideways || len(leave.Moves) != len(join.Moves) {
		t.Errorf("leaving moves %+v, joining %+v", leave, join)
	}
	if same, err := Moves(big, big); err != nil || len(same.Moves) != 0 || same.Share != 0 {
		t.Errorf("between a ring and itself: %+v, %v", same, err)
	}
}

func TestMovesNeedsTheSamePartitions(t *testing.T) {
	a, b := mustNew(t, addresses(3), Params{}), mustNew(t, addresses(3), Params{Partitions: 541})
	if _, err := Moves(a, b); err == nil {
		t.Error("rings over different partitions were compared")
	}
}

func TestSharesOfOne(t *testing.T) {
	r := mustNew(t, []string{"only"}, Params{})
	shares := r.Shares()
	if len(shares) != 1 || shares[0] != (Share{"only", DefaultPartitions, 1}) || r.Spread() != 1 {
		t.Errorf("shares %+v, spread %v", shares, r.Spread())
	}
}
