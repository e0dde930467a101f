package sale

// Info is the state of a sale at one counter shard, as SALE.INFO and SALE.LIST give it. Times are
// milliseconds since 1970. At one applied index,
//
//	Alloc + Taken - Given = Scheduled + Available + Held + Confirmed
//	sum(Alloc) over shards = Stock + sum(Debt)
type Info struct {
	ID              string
	Revision        int64
	Paused          bool
	Closed          bool
	Forgotten       bool // only the final totals are left
	Stock           int64
	Limit           int64
	OpensAt         int64
	EndsAt          int64 // 0: does not end by itself
	NextReleaseAt   int64 // 0: no staged release is left
	HoldForMillis   int64
	Alloc           int64 // this shard's share of the stock, with what still is owed
	Taken           int64 // units received from other shards
	Given           int64 // units given to other shards
	Scheduled       int64 // units of staged releases still to come
	Available       int64
	Held            int64
	Confirmed       int64
	Debt            int64 // units cut from the stock that are still in buyers' hands
	ReleasedTotal   int64 // units that came back by RELEASE or ABORT, ever
	ExpiredTotal    int64 // units that came back by expiry, ever
	SupplyVersion   int64 // changes whenever units are added
	Now             int64 // the counter's wall clock when it answered
	Shards          []string
	Ring            Ring
	RetainForMillis int64
}

// Phase is what a shopper sees at a wall-clock time in milliseconds since 1970. With units available
// later by a staged release, the sale counts as open until the last of them is gone.
func (i *Info) Phase(now int64) Phase {
	switch {
	case i.Closed || i.Forgotten || i.EndsAt != 0 && now >= i.EndsAt:
		return Ended
	case i.Paused:
		return Paused
	case now < i.OpensAt:
		return Upcoming
	case i.Available == 0 && i.Scheduled == 0:
		return SoldOut
	default:
		return Open
	}
}
