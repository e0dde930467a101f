package machine

import "headgate.example/lib/sale"

// Bounds of the machine. They are the same on every voter, since reaching one is part of an outcome.
// The comment says what happens at each.
const (
	MaxSales         = 1000       // sales that are not forgotten: OpenSale and RestoreSale answer CodeBusy
	MaxTombstones    = 10_000     // forgotten sales: the one forgotten first is dropped, its id is then unknown
	MaxHolds         = 16_000_000 // holds kept in all sales, finished ones included: Reserve answers CodeBusy
	MaxHoldsPerSale  = 4_000_000  // the same for one sale
	MaxLiveOrders    = 1000       // live orders of one user in one sale: Reserve answers CodeLimit
	MaxRules         = 50_000     // bans and revocations in force: Ban and Revoke answer CodeBusy
	MaxRuleGraves    = 10_000     // removed rules remembered for deltas: older readers then get the full list
	MaxCommands      = 10_000     // commands in one entry: DecodeEntry refuses, Append panics, so the caller splits
	MaxEntryBytes    = 8 << 20    // one encoded entry: the same
	MaxRestoreBytes  = 4 << 20    // the JSON of one SALE.RESTORE: ParseRestore refuses
	MaxRestoreOrders = 20_000     // orders in one SALE.RESTORE: send more in further parts
	MaxRestoreParts  = 1000       // parts of one restored sale
	// MaxRestoreRevision bounds the revision of a restored sale, far above any that changes reach and
	// far below where counting on would overflow: ParseRestore refuses.
	MaxRestoreRevision = 1 << 53
	MaxExcessListed    = 1000    // orders that lost a clash of slots and are listed; more are only counted
	MaxUserFinished    = 100     // finished orders that UserOrders gives, the latest ones
	MaxPage            = 10_000  // holds in one page of Holds; a higher limit is lowered to it
	MaxMoved           = 1 << 53 // units that one shard ever gives another in a sale: Validate refuses

	// MaxIDAheadMillis is how far id time may run ahead of the highest wall stamp and id floor seen,
	// which takes 4096 ids a millisecond. Beyond it Reserve answers CodeBusy.
	MaxIDAheadMillis = 3_600_000
	// MaxIDFloorMillis is how far an id floor may lie ahead of the entry's wall stamp; a higher one
	// is refused, since it is more likely a mistyped number.
	MaxIDFloorMillis = 24 * 3_600_000
	// sweepHolds is how many holds of forgotten sales one entry frees after their time.
	sweepHolds = 4096
	// maxMillis is the highest stamp in milliseconds; later ones are cut to it.
	maxMillis = sale.EpochMillis + sale.MaxIDTime
)

// limits are the bounds that tests lower.
type limits struct {
	sales, tombstones, holds, holdsPerSale, liveOrders, rules, graves int
	ready                                                             int // no part of an outcome
}

func defaultLimits() limits {
	return limits{
		sales: MaxSales, tombstones: MaxTombstones, holds: MaxHolds, holdsPerSale: MaxHoldsPerSale,
		liveOrders: MaxLiveOrders, rules: MaxRules, graves: MaxRuleGraves, ready: MaxReady,
	}
}
