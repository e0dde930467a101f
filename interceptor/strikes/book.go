package strikes

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"headgate.example/interceptor/ratelimit"
)

// Bounds of the bans kept. In a full shard no ban is made until one of its bans is over.
const (
	banShards    = 64
	maxShardBans = 256

	// MaxBans is how many bans are kept at once.
	MaxBans = banShards * maxShardBans
)

// Ban keeps a user or a network away until its time is over. Times are nanoseconds of the caller's clock.
type Ban struct {
	User    string       // for lists; "" for a network, and where another node banned him: see Name
	Network netip.Prefix // one IPv4 address, or an IPv6 /64; not valid for a user
	Offence Offence
	Strikes int // that it took
	Since   int64
	Until   int64
}

// Outcome is what came of a strike.
type Outcome uint8

// The outcomes.
const (
	Ignored  Outcome = iota // the rule is off, or there was nobody to charge
	Counted                 // not enough of them yet
	WouldBan                // the rule is in shadow
	Banned                  // the ban holds from now on
	NoRoom                  // MaxBans others are kept: no ban was made
)

// Book counts strikes and keeps the bans that come of them. It is safe for concurrent use.
type Book struct {
	seed   maphash.Seed
	counts [offences]*tally // none for None
	shards [banShards]banShard
	bans   atomic.Int64 // kept, over or not; most nodes have none at most times
	forgot atomic.Int64
}

type banShard struct {
	mu       sync.RWMutex
	users    map[uint64]Ban // by the caller's key
	networks map[netip.Prefix]Ban
	_        [24]byte
}

// NewBook makes an empty book.
func NewBook() *Book {
	b := &Book{seed: maphash.MakeSeed()}
	for _, o := range Offences() {
		b.counts[o] = newTally()
	}
	for i := range b.shards {
		b.shards[i].users, b.shards[i].networks = map[uint64]Ban{}, map[netip.Prefix]Ban{}
	}
	return b
}

// NetworkOf is what is charged for an address: itself, or its /64 for IPv6, of which one person has all.
func NetworkOf(addr netip.Addr) netip.Prefix {
	addr = ratelimit.Client(addr)
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	network, _ := addr.Prefix(bits) // no address gives no network
	return network
}

func (b *Book) networkKey(network netip.Prefix) uint64 {
	bytes := network.Addr().As16()
	return maphash.Bytes(b.seed, bytes[:])
}

// StrikeUser counts one strike against a user and says what came of it; the ban is that of WouldBan,
// Banned and NoRoom. key is a keyed 64-bit hash of the user, of which nobody can find two alike. It keeps
// the text of user when it bans, so that it must not be changed later.
func (b *Book) StrikeUser(rules *Rules, o Offence, key uint64, user string, now int64) (Outcome, Ban) {
	return b.strike(rules, key, Ban{User: user, Offence: o}, now)
}

// StrikeAddress is StrikeUser for an address.
func (b *Book) StrikeAddress(rules *Rules, o Offence, addr netip.Addr, now int64) (Outcome, Ban) {
	network := NetworkOf(addr)
	if !network.IsValid() {
		return Ignored, Ban{}
	}
	return b.strike(rules, b.networkKey(network), Ban{Network: network, Offence: o}, now)
}

func (b *Book) strike(rules *Rules, key uint64, ban Ban, now int64) (Outcome, Ban) {
	rule := rules.of(ban.Offence)
	if ban.Offence == None || rule.Mode == Off {
		return Ignored, Ban{}
	}
	bans, forgot := b.counts[ban.Offence].strike(key, now, rule.Count, rule.Window)
	if forgot {
		b.forgot.Add(1)
	}
	if !bans {
		return Counted, Ban{}
	}
	ban.Strikes, ban.Since, ban.Until = rule.Count, now, now+int64(rule.BanFor)
	if rule.Mode == Shadow {
		return WouldBan, ban
	}
	if !b.keep(key, ban) {
		return NoRoom, ban
	}
	return Banned, ban
}

// keep enters a ban; one of the same subject that lasts longer stands.
func (b *Book) keep(key uint64, ban Ban) bool {
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	old, there := s.networks[ban.Network]
	if !ban.Network.IsValid() {
		old, there = s.users[key]
	}
	if there && old.Until >= ban.Until {
		return true
	}
	if !there {
		if len(s.users)+len(s.networks) >= maxShardBans && b.drop(s, func(old *Ban) bool { return old.Until <= ban.Since }) == 0 {
			return false
		}
		b.bans.Add(1)
	}
	if ban.Network.IsValid() {
		s.networks[ban.Network] = ban
	} else {
		s.users[key] = ban
	}
	return true
}

// drop removes the bans of a shard that fit, with its lock held, and gives their number.
func (b *Book) drop(s *banShard, fits func(*Ban) bool) int {
	before := len(s.users) + len(s.networks)
	for key, ban := range s.users {
		if fits(&ban) {
			delete(s.users, key)
		}
	}
	for network, ban := range s.networks {
		if fits(&ban) {
			delete(s.networks, network)
		}
	}
	dropped := before - len(s.users) - len(s.networks)
	b.bans.Add(int64(-dropped))
	return dropped
}

func (b *Book) dropAll(fits func(*Ban) bool) (dropped int) {
	if b.bans.Load() == 0 {
		return 0
	}
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		dropped += b.drop(s, fits)
		s.mu.Unlock()
	}
	return dropped
}

// shard is where the bans of a key are.
func (b *Book) shard(key uint64) *banShard { return &b.shards[key%banShards] }

// User gives the ban that the user of a key is under at now.
func (b *Book) User(key uint64, now int64) (Ban, bool) {
	if b.bans.Load() == 0 {
		return Ban{}, false
	}
	s := b.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	ban, there := s.users[key]
	return ban, there && ban.Until > now
}

// Name says who the user of a key is whom another node banned.
func (b *Book) Name(key uint64, user string) {
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ban, there := s.users[key]; there {
		ban.User = user
		s.users[key] = ban
	}
}

// TakeUsers gives the bans of the users whose key moves accepts, and forgets them in the same step. Both
// functions must be quick and not call the Book.
func (b *Book) TakeUsers(moves func(key uint64) bool, yield func(key uint64, ban Ban)) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for key, ban := range s.users {
			if moves(key) {
				yield(key, ban)
				delete(s.users, key)
				b.bans.Add(-1)
			}
		}
		s.mu.Unlock()
	}
}

// Import takes over a user's ban that another node made; the longer stands. False: there is no room.
func (b *Book) Import(key uint64, ban Ban) bool {
	ban.User, ban.Network = "", netip.Prefix{}
	return b.keep(key, ban)
}

// Address gives the ban that an address is under at now.
func (b *Book) Address(addr netip.Addr, now int64) (Ban, bool) {
	if b.bans.Load() == 0 {
		return Ban{}, false
	}
	network := NetworkOf(addr)
	s := b.shard(b.networkKey(network))
	s.mu.RLock()
	defer s.mu.RUnlock()
	ban, there := s.networks[network]
	return ban, there && ban.Until > now
}

// LiftUser ends the ban of the user of a key; it gives how many there were, 0 or 1.
func (b *Book) LiftUser(key uint64) int {
	s := b.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.users[key]; !there {
		return 0
	}
	delete(s.users, key)
	b.bans.Add(-1)
	return 1
}

// LiftNetwork ends the bans of all addresses that the network has a part in, and gives their number.
func (b *Book) LiftNetwork(network netip.Prefix) int {
	return b.dropAll(func(ban *Ban) bool { return ban.Network.Overlaps(network) })
}

// LiftAll ends all bans and gives their number.
func (b *Book) LiftAll() int { return b.dropAll(func(*Ban) bool { return true }) }

// Sweep drops the bans that are over. Call it now and then, so that memory follows what stands.
func (b *Book) Sweep(now int64) {
	b.dropAll(func(ban *Ban) bool { return ban.Until <= now })
}

// List gives the bans that stand at now, the longest first, at most limit, and their whole number.
func (b *Book) List(now int64, limit int) (list []Ban, total int) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.RLock()
		for _, ban := range s.users {
			list = append(list, ban)
		}
		for _, ban := range s.networks {
			list = append(list, ban)
		}
		s.mu.RUnlock()
	}
	list = slices.DeleteFunc(list, func(ban Ban) bool { return ban.Until <= now })
	slices.SortFunc(list, func(x, y Ban) int {
		return cmp.Or(cmp.Compare(y.Until, x.Until), cmp.Compare(x.User, y.User), x.Network.Addr().Compare(y.Network.Addr()))
	})
	return list[:min(limit, len(list))], len(list)
}

// Len is the number of bans kept, those that are over since the last Sweep included.
func (b *Book) Len() int { return int(b.bans.Load()) }

// Forgotten counts the subjects that were dropped from a full set while their window was open.
func (b *Book) Forgotten() int64 { return b.forgot.Load() }

// Left is how long a ban lasts from now on.
func (ban *Ban) Left(now int64) time.Duration { return time.Duration(ban.Until - now) }
