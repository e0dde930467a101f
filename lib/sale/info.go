package sale

// Info is the state of a sale at one counter shard, as SALE.INFO and SALE.LIST give it, or the sum over
// its shards, as the counter's client gives it. Times are milliseconds since 1970. At one applied index,
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

	// Parts are the answers that a sum was made of, in the order of Shards; nil in a shard's own answer.
	// They were read one beside the other, not at one moment.
	Parts []Part
	// Silent names the shards of the sale that did not answer: then the figures are a part of the
	// whole, and say nothing about what is left.
	Silent []string
	// Twice: of two readings of all shards, one after the other, both found none available and none in
	// transfer, and nothing was added to any shard between them.
	Twice bool
}

// Part is one shard's share of a sale.
type Part struct {
	Shard string
	Info  Info
}

// Complete reports whether every shard of the sale is in the figures.
func (i *Info) Complete() bool { return len(i.Silent) == 0 }

// InTransfer is the number of units that one shard has given and no other has taken yet. In a sum of
// figures that were read one after the other it may be off, even below 0, while units move.
func (i *Info) InTransfer() int64 {
	if len(i.Parts) < 2 {
		return 0 // what one shard gave and took concerns others
	}
	return i.Given - i.Taken
}

// NoneAvailable reports that no unit can be had now. For a sale of several shards one reading does not
// tell, since units move between shards while they are read: it takes two readings of all of them.
func (i *Info) NoneAvailable() bool {
	if len(i.Shards) > 1 && !i.Twice {
		return false
	}
	return i.Available == 0
}

// NothingLeft reports that every unit is held or sold.
func (i *Info) NothingLeft() bool { return i.NoneAvailable() && i.Scheduled == 0 }

// Phase is what a shopper sees at a wall-clock time in milliseconds since 1970. With units available
// later by a staged release, the sale counts as open until the last of them is gone, and so it does
// while a shard does not answer.
func (i *Info) Phase(now int64) Phase {
	switch {
	case i.Closed || i.Forgotten || i.EndsAt != 0 && now >= i.EndsAt:
		return Ended
	case i.Paused:
		return Paused
	case now < i.OpensAt:
		return Upcoming
	case i.NothingLeft():
		return SoldOut
	default:
		return Open
	}
}
