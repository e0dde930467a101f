package counter

import "sync/atomic"

// enoughLooks without a refusal end the looking.
const enoughLooks = 4096

// looking knows whether a look at applied state before the log is likely to spare the log a reservation.
// While a sale has units to sell hardly any is refused, and each look costs what the log will spend again;
// once the log refuses one, there are most likely more to come.
type looking struct{ fruitless atomic.Int64 }

// worthwhile says whether to look.
func (l *looking) worthwhile() bool { return l.fruitless.Load() < enoughLooks }

// looked tells how many looks found a refusal, and how many did not.
func (l *looking) looked(found, fruitless int) {
	switch {
	case found > 0 && l.fruitless.Load() != 0:
		l.fruitless.Store(0)
	case found == 0 && fruitless > 0:
		l.fruitless.Add(int64(fruitless))
	}
}

// decided tells how many reservations the log has refused.
func (l *looking) decided(refused int) {
	if refused > 0 && l.fruitless.Load() != 0 {
		l.fruitless.Store(0)
	}
}
