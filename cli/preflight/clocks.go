package preflight

import (
	"time"
)

// maxClockOffset between any two machines; beyond it sales open at another moment here than there.
const maxClockOffset = 250 * time.Millisecond

// clock is by how much somebody's wall clock is ahead of this machine's.
type clock struct {
	who    string
	offset time.Duration
	unsure time.Duration // either way: half of what the exchange spent on the network
}

// exchanged is the clock of somebody who answered with its time, in milliseconds, after it had worked for took.
func exchanged(who string, millis int64, began, ended time.Time, took time.Duration) clock {
	trip := max(ended.Sub(began)-took, 0)
	told := time.UnixMilli(millis)
	return clock{who: who, offset: told.Sub(ended) + trip/2, unsure: trip/2 + time.Millisecond}
}

// compareClocks holds all clocks against each other, and then against this machine's. A difference counts as far
// as it is certain.
func compareClocks(clocks []clock) []Line {
	const check = "clocks"
	if len(clocks) == 0 {
		return []Line{fail(check, "see above", "nobody told the time")}
	}
	first, last := clocks[0], clocks[0]
	for _, c := range clocks {
		if c.offset < first.offset {
			first = c
		}
		if c.offset > last.offset {
			last = c
		}
	}
	const do = "let every machine follow the same time servers (chrony, systemd-timesyncd)"
	apart := last.offset - first.offset
	if apart-first.unsure-last.unsure > maxClockOffset {
		return []Line{fail(check, do, "%s is %s ahead of %s, more than %s", last.who, apart.Round(time.Millisecond), first.who, maxClockOffset)}
	}
	off := first
	if last.offset.Abs() > first.offset.Abs() {
		off = last
	}
	if off.offset.Abs()-off.unsure > maxClockOffset {
		return []Line{warn(check, "correct this machine's clock: what it tells of opening times is off", "the deployment agrees, but is %s off this machine's clock (%s)",
			off.offset.Round(time.Millisecond), off.who)}
	}
	return []Line{ok(check, "%d agree within %s, and with this machine's", len(clocks), max(apart, off.offset.Abs()).Round(time.Millisecond))}
}
