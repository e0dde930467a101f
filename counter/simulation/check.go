package simulation

import (
	"slices"
	"time"

	"headgate.example/counter/machine"
	"headgate.example/lib/sale"
)

// verdictKept is how old a verdict over all shards may be when a buyer is told.
const verdictKept = 250 * time.Millisecond

// truth is what was there over all shards, from each time on until the next.
type truth struct {
	points   []moment
	maxStock int64
}

type moment struct {
	at                                       time.Duration
	available, scheduled, held, moving, next int64
}

// somewhen tells whether something was true at a moment since a time.
func (t *truth) somewhen(since time.Duration, is func(m *moment) bool) bool {
	for _, m := range slices.Backward(t.points) {
		if is(&m) {
			return true
		}
		if m.at <= since {
			return false
		}
	}
	return false
}

// apply applies one committed entry, and checks everything that it could have broken. It goes command by
// command, since each answer speaks of the moment between two of them; a replay applies entries whole.
func (sh *shard) apply(entry []byte) (results []machine.Result) {
	w := sh.w
	w.report.Entries++
	sh.applied++
	if sh.applied%8 == 0 {
		if want, missing := sh.state.Wants(); missing {
			sh.state.Keep(want.Make())
		}
	}
	sh.decode(entry, func(e *machine.Entry) {
		sh.served = max(sh.served, e.Served)
		if len(e.Commands) == 0 {
			sh.state.Apply(e, nil)
		}
		for i := range e.Commands {
			one := machine.Entry{Wall: e.Wall, Served: e.Served, Version: e.Version, Commands: e.Commands[i : i+1]}
			results = sh.state.Apply(&one, results)
			c, r := &e.Commands[i], &results[i]
			w.note("%s: %s %s%d %s%d -> %s %d %d %s", sh.name, c.Kind, c.User, c.Order, c.Value, c.Total, r.Code, r.Order, r.Detail, r.Reason)
			if r.Code == machine.CodeReserved {
				sh.holds = append(sh.holds, tracked{r.Order, sh.served + w.terms.HoldForMillis})
			}
			if c.Kind == machine.SetStock {
				w.truth.maxStock = max(w.truth.maxStock, c.Total)
			}
			w.checkShards()
		}
	})
	sh.checkHolds()
	if err := sh.state.CheckInvariants(); err != nil {
		w.fail("%s: %v", sh.name, err)
	}
	w.checkShards()
	return results
}

// checkHolds: a hold expires when its time of service is over, and not before.
func (sh *shard) checkHolds() {
	sh.holds = slices.DeleteFunc(sh.holds, func(t tracked) bool {
		h, known := sh.state.Order(t.order)
		switch {
		case !known:
			return true
		case h.State == sale.Held && sh.served >= t.due:
			sh.w.fail("%s: order %d is held at %d served ms, it was due at %d", sh.name, t.order, sh.served, t.due)
		case h.State == sale.Expired && sh.served < t.due:
			sh.w.fail("%s: order %d is expired at %d served ms, it is due at %d", sh.name, t.order, sh.served, t.due)
		}
		return h.State != sale.Held
	})
}

// rows are those of all shards at this moment.
func (w *world) rows() []machine.Collected {
	var rows []machine.Collected
	for _, sh := range w.shards {
		if sh.state == nil {
			continue
		}
		if row, known := sh.state.Collect(saleID); known {
			rows = append(rows, row)
		}
	}
	return rows
}

// checkShards checks what must hold across shards, and writes down the truth of this moment.
func (w *world) checkShards() {
	rows := w.rows()
	if err := machine.CheckShards(rows, rows); err != nil {
		w.fail("%v", err)
	}
	m := moment{at: w.now}
	var sold, debt int64
	for i := range rows {
		row := &rows[i]
		m.available += row.Available
		m.scheduled += row.Scheduled
		m.held += row.Held
		sold += row.Held + row.Confirmed
		debt += row.Debt
		for _, t := range row.Transfers {
			m.moving += t.Given - t.Taken
		}
		if row.Scheduled > 0 && (m.next == 0 || row.NextReleaseAt < m.next) {
			m.next = row.NextReleaseAt
		}
	}
	if sold > w.truth.maxStock {
		w.fail("%d units are sold or held, there never were more than %d", sold, w.truth.maxStock)
	}
	w.truth.points = append(w.truth.points, m)
}

// checkVerdict holds a refusal after a collect against the truth since that began, which may be a little
// before it was asked for.
func (w *world) checkVerdict(r *request, began time.Duration, result machine.Result, how string) {
	if end := began + 2*collectTimeout + verdictKept; w.now > end {
		w.fail("%s is told of a collect that began at %v", r.command.User, began)
	}
	w.checkSince(began, r, result, how)
}

// checkRefusal holds any other refusal against the truth since it was asked for.
func (w *world) checkRefusal(r *request, result machine.Result, how string) {
	w.checkSince(r.sent, r, result, how)
}

func (w *world) checkSince(since time.Duration, r *request, result machine.Result, how string) {
	was := true
	switch result.Code {
	case machine.CodeSoldOut:
		w.report.SoldOut++
		was = w.truth.somewhen(since, func(m *moment) bool { return m.available+m.scheduled+m.moving == 0 })
	case machine.CodeInsufficient:
		w.report.Insufficient++
		was = result.Detail < r.command.Quantity &&
			w.truth.somewhen(since, func(m *moment) bool { return m.available == result.Detail && m.moving == 0 })
	case machine.CodeNotOpen:
		if w.report.NotOpen++; result.Detail != w.terms.OpensAt {
			was = w.truth.somewhen(since, func(m *moment) bool {
				return m.available+m.moving == 0 && m.scheduled > 0 && m.next == result.Detail
			})
		}
	case machine.CodeWrongShard:
		was = result.Reason == w.ring.Owner(r.command.User)
	}
	w.note("%s wants %d, is answered %s %d %s", r.command.User, r.command.Quantity, result.Code, result.Detail, how)
	if !was {
		w.fail("%s wants %d and is answered %s %d %s, which was never true since %v", r.command.User, r.command.Quantity,
			result.Code, result.Detail, how, since)
	}
}

// checkBroke: a sale is resumed with a debt only when nothing was left to pay it with.
func (w *world) checkBroke(name string) {
	if !w.truth.somewhen(w.now-verdictKept, func(m *moment) bool { return m.available+m.scheduled+m.moving == 0 }) {
		w.fail("%s resumes with a debt, while units were there to pay it with", name)
	}
}
