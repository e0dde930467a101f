package rehearse

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"headgate.example/lib/sale"
)

// The timeline tells the same as counting the holds at every moment.
func TestTimelineCountsHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Map(rapid.IntRange(-5, 50), func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond })
		holds := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Hold {
			h := Hold{From: at.Draw(t, "from"), Quantity: rapid.Int64Range(1, 3).Draw(t, "quantity"), State: sale.Confirmed}
			if rapid.Bool().Draw(t, "ended") {
				h.State, h.To = sale.Released, h.From+at.Draw(t, "lasts")+5*time.Millisecond
			}
			return h
		}), 0, 30).Draw(t, "holds")
		line := newTimeline(holds, 0)
		from := at.Draw(t, "from")
		to := from + at.Draw(t, "for") + 5*time.Millisecond
		var want int64
		for moment := from; moment <= to; moment += time.Millisecond {
			var units int64
			for _, h := range holds {
				if h.From <= moment && (h.live() || h.To > moment) {
					units += h.Quantity
				}
			}
			want = max(want, units)
		}
		if got := line.most(from, to); got != want {
			t.Fatalf("from %s to %s: %d units, want %d; %+v", from, to, got, want, holds)
		}
	})
}
