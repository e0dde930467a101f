package machine

import (
	"fmt"
	"hash/maphash"
	"math"

	"headgate.example/lib/sale"
)

// Options name the shard. They must be the same on all its voters and never change.
type Options struct {
	Shard  string // the name that Terms.Shards uses
	Number int    // 0 to sale.MaxShard; part of each order id
}

// State is the replicated state of one shard. New and Read make one. It is not safe for concurrent
// use: methods that only read may run together, but not beside Apply or Snapshot.
type State struct {
	opts   Options
	limits limits
	seed   maphash.Seed // of the users' table; it changes where a record lies, never an outcome

	wall    int64 // the last entry's stamp
	served  int64 // never goes back
	topWall int64 // the highest stamp and id floor seen
	idTime  int64 // of the last id, ms since sale.Epoch; never goes back
	idSeq   int   // of the last id
	forgets int64 // how many sales were ever forgotten

	byName map[string]*saleState
	recent *saleState   // the sale of the last reservation; nil or one of byName
	sales  []*saleState // by saleState.index; nil where one was dropped
	spare  []uint32     // free indexes of sales
	active []*saleState // not forgotten, in the order of their opening
	graves []*saleState // forgotten, oldest first

	holds     arena[hold]
	accounts  arena[account]
	notes     arena[note]
	longNames arena[string]
	byID      idIndex
	byUser    table
	rules     ruleSet

	fetched uint64             // what fetch saw last, which means nothing
	next    [lookahead]Command // of ApplyEncoded, as results are
	results []Result

	// Bounds from below for the next time at which advance has something to do.
	nextServed, nextWall, nextSweep int64
}

const (
	never     = math.MaxInt64
	maxServed = 1 << 53 // served ms are cut to it, so that sums cannot overflow
)

// New gives the empty state of a shard. It panics when the number is out of range.
func New(opts Options) *State {
	if opts.Number < 0 || opts.Number > sale.MaxShard {
		panic(fmt.Sprintf("machine: shard number %d is not 0 to %d", opts.Number, sale.MaxShard))
	}
	return &State{
		opts: opts, limits: defaultLimits(), seed: maphash.MakeSeed(), byName: make(map[string]*saleState),
		rules: newRuleSet(), nextServed: never, nextWall: never, nextSweep: never,
	}
}

// Apply carries out one entry and appends one Result for each of its commands. First it brings time
// forward: holds that are due by served time expire, staged releases that are due by wall time go on
// sale, finished holds that were kept long enough are purged. Served time earlier than before counts as
// unchanged; an earlier wall stamp is taken as it is, for windows only.
func (s *State) Apply(e *Entry, results []Result) []Result {
	s.advance(e.Wall, e.Served)
	for commands := e.Commands; len(commands) > 0; {
		next := commands[:min(len(commands), lookahead)]
		results = s.applyNext(next, e.Version, results)
		commands = commands[len(next):]
	}
	return results
}

// ApplyEncoded is DecodeEntry and Apply, a few commands at a time, which stay in the nearest cache meanwhile.
// So do their results, which told gets in the order of the commands and must not keep; it may be nil. Nothing of
// b is kept. An entry that cannot be read for its version, length or sum changes nothing; after an error in
// a command, which such an entry has only if a program wrote it wrongly, the State must not be used any more.
func (s *State) ApplyEncoded(b []byte, told func([]Result)) error {
	d := &decoder{b: b, share: true}
	e, n, err := decodeHead(d)
	if err != nil {
		return entryError(b, err)
	}
	s.advance(e.Wall, e.Served)
	for done := 0; done < n; {
		next := s.next[:min(n-done, lookahead)]
		clear(next)
		if err := d.commands(next, done); err != nil {
			return entryError(b, err)
		}
		done += len(next)
		if s.results = s.applyNext(next, e.Version, s.results[:0]); told != nil {
			told(s.results)
		}
	}
	if err := d.end(); err != nil {
		return entryError(b, err)
	}
	return nil
}

// applyNext carries out at most lookahead commands.
func (s *State) applyNext(next []Command, version int, results []Result) []Result {
	names := s.fetch(next)
	for i := range next {
		results = append(results, Result{})
		s.apply(&next[i], names[i], version, &results[len(results)-1])
	}
	return results
}

// lookahead is how many commands have their places in the users' table fetched together. With a million
// users each place is a miss of all caches, and misses that do not wait for each other overlap.
const lookahead = 32

// fetch gives the hashes of the users' names in reservations, after a look at the places where they will be
// searched for. It changes nothing. The looks come at the end, with little between them, so that many are under
// way at a time.
func (s *State) fetch(commands []Command) (names [lookahead]uint32) {
	var places [lookahead]uint32
	n := 0
	for i := range commands {
		c := &commands[i]
		if c.Kind != Reserve {
			continue
		}
		names[i] = s.hashName(c.User)
		if sl := s.saleNamed(c.Sale); sl != nil {
			places[n] = hashIn(sl.index, names[i])
			n++
		}
	}
	var seen uint64
	for _, place := range places[:n] {
		seen |= s.byUser.peek(place)
	}
	s.fetched = seen // so that the looks are not optimized away
	return names
}

// saleNamed gives the sale with this id, or nil.
func (s *State) saleNamed(id string) *saleState {
	if sl := s.recent; sl != nil && sl.terms.ID == id {
		return sl
	}
	return s.byName[id]
}

// apply carries out one command, and fills its result, which is zero before. name is the hash of the user's
// name, for a reservation.
func (s *State) apply(c *Command, name uint32, version int, out *Result) {
	if err := s.check(c); err != nil {
		*out = failed(err)
		return
	}
	if c.Kind == Reserve { // most of what comes; nothing of it is copied
		s.reserve(c, name, out)
		return
	}
	*out = s.applyOther(c, version)
}

// check is Validate. The name of a sale that is there was found valid when it was opened.
func (s *State) check(c *Command) error {
	if c.Kind == Reserve && s.saleNamed(c.Sale) != nil {
		return c.checkBuyer()
	}
	return c.Validate()
}

func (s *State) applyOther(c *Command, version int) Result {
	switch c.Kind {
	case Confirm:
		return s.confirm(c.Order)
	case Abort:
		return s.abort(c.Order, c.Reason)
	case Release:
		return s.release(c.Order, c.Reason)
	case OpenSale:
		return s.open(c, version)
	case RestoreSale:
		return s.restore(c, version)
	case Ask:
		return s.ask(c)
	case Accept:
		return s.accept(c)
	case Ban, Unban, Revoke:
		return s.rules.change(c, s.wall, &s.limits)
	}
	return s.change(c)
}

func (s *State) advance(wall, served int64) {
	s.wall = clampWall(wall)
	s.served = max(s.served, min(holdTime(wall, served), maxServed))
	s.topWall = max(s.topWall, s.wall)
	s.rules.purge(s.wall)
	if s.served >= s.nextSweep {
		s.sweep()
	}
	if s.served < s.nextServed && s.wall < s.nextWall {
		return
	}
	s.nextServed, s.nextWall = never, never
	for _, sl := range s.active {
		sl.release(s.wall)
		s.expire(sl)
		s.purge(sl)
		s.schedule(sl)
	}
}

func clampWall(wall int64) int64 { return min(max(wall, 0), maxMillis) }

// schedule lowers the bounds of the next advance to what a sale needs.
func (s *State) schedule(sl *saleState) {
	if r := sl.waiting.head; r != 0 && !sl.recovered() {
		s.nextServed = min(s.nextServed, s.holds.get(r).due)
	}
	if r := sl.finished.head; r != 0 {
		s.nextServed = min(s.nextServed, s.holds.get(r).due)
	}
	if len(sl.releases) > 0 {
		s.nextWall = min(s.nextWall, sl.releases[0].At)
	}
}

func (s *State) expire(sl *saleState) {
	if sl.recovered() {
		return // a hold may have been confirmed since
	}
	for r := sl.waiting.head; r != 0; r = sl.waiting.head {
		if s.holds.get(r).due > s.served {
			return
		}
		s.finish(sl, r, sale.Expired, 0, "")
	}
}

func (s *State) purge(sl *saleState) {
	for r := sl.finished.head; r != 0; r = sl.finished.head {
		if s.holds.get(r).due > s.served {
			return
		}
		s.dropHold(sl, r)
	}
}

// sweep frees the orders of forgotten sales whose time has come, oldest tombstone first and lowest id
// first, a bounded number in one entry.
func (s *State) sweep() {
	budget := sweepHolds
	s.nextSweep = never
	for _, sl := range s.graves {
		if sl.forgetDue <= s.served && sl.ids.live > 0 && budget > 0 {
			ids := make([]sale.OrderID, 0, min(budget, sl.ids.live))
			sl.ids.each(0, func(id sale.OrderID) bool {
				ids = append(ids, id)
				return len(ids) < budget
			})
			budget -= len(ids)
			for _, id := range ids {
				s.dropHold(sl, s.byID.find(id))
			}
		}
		if sl.ids.live > 0 {
			s.nextSweep = min(s.nextSweep, sl.forgetDue)
		}
	}
}

// Due reports whether time alone makes an entry necessary: something expires, goes on sale or is to be
// purged. An entry without commands is enough. It may rarely answer true with nothing to do.
func (s *State) Due(wall, served int64) bool {
	wall = clampWall(wall)
	return served >= s.nextServed || served >= s.nextSweep || wall >= s.nextWall || wall >= s.rules.purgeAt
}

// Wall is the stamp of the last entry, in milliseconds since 1970.
func (s *State) Wall() int64 { return s.wall }

// Served is the served time reached, in milliseconds. A new leader counts on from here.
func (s *State) Served() int64 { return s.served }

// LastOrder is the highest id ever minted here or below an id floor; 0 at the start.
func (s *State) LastOrder() sale.OrderID {
	if s.idTime == 0 && s.idSeq == 0 {
		return 0
	}
	return sale.MakeOrderID(s.idTime, s.opts.Number, s.idSeq)
}

// mint gives the next order id: its time is the highest of the last id's and the entry's wall stamp.
// False means that ids have run as far ahead of the clock as they may.
func (s *State) mint() (sale.OrderID, bool) {
	millis, seq := s.wall-sale.EpochMillis, 0
	if millis <= s.idTime {
		millis, seq = s.idTime, s.idSeq+1
		if seq > sale.MaxSequence {
			millis, seq = millis+1, 0
		}
	}
	if millis > sale.MaxIDTime || millis > max(s.topWall-sale.EpochMillis, 0)+MaxIDAheadMillis {
		return 0, false
	}
	s.idTime, s.idSeq = millis, seq
	return sale.MakeOrderID(millis, s.opts.Number, seq), true
}

// raiseIDs makes all later ids higher than this one.
func (s *State) raiseIDs(floor sale.OrderID) {
	millis, seq := floor.IDMillis(), floor.Sequence()
	if floor.Shard() != s.opts.Number {
		seq = sale.MaxSequence
	}
	if millis > s.idTime || millis == s.idTime && seq > s.idSeq {
		s.idTime, s.idSeq = millis, seq
		s.topWall = max(s.topWall, millis+sale.EpochMillis)
	}
}

// addSale enters a sale into the indexes.
func (s *State) addSale(sl *saleState) {
	if n := len(s.spare); n > 0 {
		sl.index = s.spare[n-1]
		s.spare = s.spare[:n-1]
		s.sales[sl.index] = sl
	} else {
		sl.index = uint32(len(s.sales))
		s.sales = append(s.sales, sl)
	}
	s.byName[sl.terms.ID] = sl
}

func (s *State) saleOf(h *hold) *saleState { return s.sales[s.accounts.get(h.account).sale] }
