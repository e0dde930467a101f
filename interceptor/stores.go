package interceptor

import (
	"time"

	"headgate.example/interceptor/peers"
	"headgate.example/interceptor/ratelimit"
	"headgate.example/interceptor/strikes"
)

// What is handed over when a user's owner changes. Nothing of it names a user, a sale or an address.

// budgetStore hands over users' budgets: how long each takes to be full again, which means the same on every
// node. The kind of budget stands in the upper bits.
type budgetStore struct {
	s *Server
}

const (
	kindShift = 60
	aheadMask = 1<<kindShift - 1 // 36 years
)

// StoreName implements peers.Store.
func (b budgetStore) StoreName() string { return "user_budgets" }

// Take implements peers.Store.
func (b budgetStore) Take(moves func(uint64) bool, yield func(uint64, int64)) {
	b.s.limiters.users.TakeOut(b.s.mono(b.s.now()), moves, func(balance ratelimit.Balance) {
		for kind := range userBudgets {
			if ahead := int64(balance.Ahead[kind]); ahead > 0 {
				yield(balance.Key, int64(kind)<<kindShift|ahead&aheadMask)
			}
		}
	})
}

// Import implements peers.Store. Where there is no room, the budget begins anew.
func (b budgetStore) Import(key uint64, value int64) {
	balance := ratelimit.Balance{Key: key}
	kind := value >> kindShift
	if kind < 0 || kind >= userBudgets {
		return // of a later version
	}
	balance.Ahead[kind] = time.Duration(value & aheadMask)
	if !b.s.limiters.users.Add(balance, b.s.mono(b.s.now())) {
		b.s.figures.hops.noRoom.Inc()
	}
}

// seenStore hands over who was seen ordering: whoever may have a live order must not be told by the next
// owner that a sale is sold out. A press that is under way may become one. What the counter refused
// (Server.asked) is not handed over: it is asked once more.
type seenStore struct {
	s *Server
}

// StoreName implements peers.Store.
func (o seenStore) StoreName() string { return "seen_orders" }

// Take implements peers.Store. Presses under way come first: one that ends meanwhile is among the seen.
func (o seenStore) Take(moves func(uint64) bool, yield func(uint64, int64)) {
	o.s.pressing.Each(func(key uint64) {
		if moves(key) {
			yield(key, 0)
		}
	})
	o.s.seen.TakeOut(moves, func(key uint64) { yield(key, 0) })
}

// Import implements peers.Store.
func (o seenStore) Import(key uint64, _ int64) {
	o.s.seen.Add(key, o.s.sales.Wall(o.s.now().UnixMilli()))
}

// forgotten is until when who ordered may have been forgotten, for want of room.
func (o seenStore) forgotten() int64 {
	until, _ := o.s.seen.LastForgot()
	return until
}

// askedKey is a press's key among those that the counter refused. It changes with the time since when this
// node remembers who ordered: a mark of an earlier time, before the user was another node's, says nothing.
func askedKey(pressKey uint64, since int64) uint64 {
	return pressKey ^ uint64(since)*0x9e3779b97f4a7c15
}

// strikeStore hands over this node's bans of users: when they end, by the counter's clock in milliseconds,
// with the offence in the upper bits. What leads to a ban is counted anew.
type strikeStore struct {
	s *Server
}

const (
	offenceShift = 56
	untilMask    = 1<<offenceShift - 1
)

// StoreName implements peers.Store.
func (b strikeStore) StoreName() string { return "strike_bans" }

// Take implements peers.Store.
func (b strikeStore) Take(moves func(uint64) bool, yield func(uint64, int64)) {
	wall, mono := b.s.moment()
	b.s.conduct.strikes.TakeUsers(moves, func(key uint64, ban strikes.Ban) {
		if left := ban.Left(mono).Milliseconds(); left > 0 {
			yield(key, int64(ban.Offence)<<offenceShift|(wall+left)&untilMask)
		}
	})
}

// Import implements peers.Store. Where there is no room, the user is not banned.
func (b strikeStore) Import(key uint64, value int64) {
	wall, mono := b.s.moment()
	left := value&untilMask - wall
	offence := strikes.Offence(value >> offenceShift)
	if left <= 0 || left > strikes.MaxBan.Milliseconds() || !offence.Known() {
		return // over meanwhile, or of a later version
	}
	ban := strikes.Ban{Offence: offence, Since: mono, Until: mono + left*int64(time.Millisecond)}
	if !b.s.conduct.strikes.Import(key, ban) {
		b.s.figures.hops.noRoom.Inc()
	}
}

var _, _, _ peers.Store = budgetStore{}, seenStore{}, strikeStore{}
