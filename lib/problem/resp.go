package problem

// RESPError is the first word of an error reply of the counter.
type RESPError string

// The error replies of the counter.
const (
	RESPMoved      RESPError = "MOVED"      // `-MOVED 0 host:port`: ask the leader there; certainly not done
	RESPTryAgain   RESPError = "TRYAGAIN"   // not accepted, safe to repeat
	RESPUnknown    RESPError = "UNKNOWN"    // may have happened: repeat with the same key
	RESPBusy       RESPError = "BUSY"       // more load than can be served; certainly not done
	RESPConflict   RESPError = "CONFLICT"   // `-CONFLICT revision n`: the sale is at another revision
	RESPWrongShard RESPError = "WRONGSHARD" // `-WRONGSHARD name`: the user belongs to that shard
	RESPNoAuth     RESPError = "NOAUTH"     // AUTH first
	RESPNoPerm     RESPError = "NOPERM"     // the connection's password does not allow this
	RESPErr        RESPError = "ERR"        // `-ERR field: reason`: the request cannot be understood
)

// The counter's refusal words: results of RESERVE, not errors.
const (
	WordNoSale       = "no_sale"
	WordPaused       = "paused"
	WordNotOpen      = "not_open" // detail: opens at, milliseconds since 1970
	WordEnded        = "ended"
	WordLimit        = "limit"
	WordSoldOut      = "sold_out"     // detail: units held that may return
	WordInsufficient = "insufficient" // detail: units left
)

// FromRefusal maps a refusal word of RESERVE to the code that a buyer is told; false for a word that
// is none.
func FromRefusal(word string) (Code, bool) {
	switch word {
	case WordNoSale:
		return NotFound, true
	case WordPaused:
		return Paused, true
	case WordNotOpen:
		return NotOpen, true
	case WordEnded:
		return Ended, true
	case WordLimit:
		return LimitReached, true
	case WordSoldOut:
		return SoldOut, true
	case WordInsufficient:
		return Insufficient, true
	}
	return "", false
}

// FromRESP maps an error reply of the counter to the code that a caller is told. Each says whether it
// certainly did not happen; only UNKNOWN does not know. A word that is not known is taken for a defect.
func FromRESP(e RESPError) Code {
	switch e {
	case RESPMoved, RESPTryAgain, RESPWrongShard:
		return Unavailable
	case RESPUnknown:
		return UnknownOutcome
	case RESPBusy:
		return Overloaded
	case RESPConflict:
		return Conflict
	case RESPErr:
		return InvalidRequest
	case RESPNoAuth, RESPNoPerm: // our own passwords are wrong, which no caller can mend
		return Internal
	}
	return Internal
}
