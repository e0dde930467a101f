package rules

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
)

// DefaultMaxRules bounds the rules that a Book keeps.
const DefaultMaxRules = 1_000_000

// Ban is what stands against a user or a network.
type Ban struct {
	Until  int64 // milliseconds; 0 is for good
	Reason string
	Index  int64 // of the rule at the control shard
}

// Book is the current set of rules. It is safe for concurrent use.
type Book struct {
	current  atomic.Pointer[page]
	maxRules int

	mu sync.Mutex // held by Apply
}

// page is one immutable state of a Book.
type page struct {
	known     bool // an answer was applied, ever
	index     int64
	users     map[string]Ban
	addresses map[netip.Prefix]Ban // single addresses have all bits
	bits4     []int                // the distinct prefix lengths in addresses, longest first
	bits6     []int
	revoked   map[string]int64 // tokens of the user issued before this millisecond are void
}

func (p *page) size() int { return len(p.users) + len(p.addresses) + len(p.revoked) }

// NewBook makes a Book without rules that will keep at most maxRules.
func NewBook(maxRules int) *Book {
	b := &Book{maxRules: maxRules}
	b.current.Store(&page{})
	return b
}

// Index is what to ask RULES since.
func (b *Book) Index() int64 { return b.current.Load().index }

// Known reports whether there was an answer of RULES yet. Before the first, that somebody is not named
// here means nothing.
func (b *Book) Known() bool { return b.current.Load().known }

// Len is the number of rules kept.
func (b *Book) Len() int { return b.current.Load().size() }

// Apply takes an answer of RULES over. Rules that cannot be understood, or for which there is no
// room, are left out and named in the error; the others hold nevertheless.
func (b *Book) Apply(r client.Rules) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.current.Load()
	if !r.Full && len(r.Changes) == 0 {
		if r.Index != old.index || !old.known {
			next := *old
			next.known, next.index = true, r.Index
			b.current.Store(&next)
		}
		return nil
	}
	next := &page{known: true, index: r.Index, users: map[string]Ban{}, addresses: map[netip.Prefix]Ban{}, revoked: map[string]int64{}}
	if !r.Full {
		maps.Copy(next.users, old.users)
		maps.Copy(next.addresses, old.addresses)
		maps.Copy(next.revoked, old.revoked)
	}
	next.purge(r.Now)
	var failed error
	for _, change := range r.Changes {
		if err := b.apply(next, change); err != nil {
			failed = err
		}
	}
	next.bits4, next.bits6 = lengths(next.addresses)
	b.current.Store(next)
	return failed
}

func (b *Book) apply(p *page, r client.Rule) error {
	room, taken := p.size() < b.maxRules, false
	removed := r.Removed || r.Lifts()
	ban := Ban{Until: r.Until, Reason: r.Reason, Index: r.Index}
	switch r.Kind {
	case client.RuleUser:
		taken = put(p.users, r.Value, ban, removed, room)
	case client.RuleAddress:
		prefix, err := sale.ParseNetwork(r.Value)
		if err != nil {
			return fmt.Errorf("rule %d: %w", r.Index, err)
		}
		taken = put(p.addresses, prefix, ban, removed, room)
	case client.RuleToken:
		taken = put(p.revoked, r.Value, r.Before, r.Removed, room)
	default:
		return fmt.Errorf("rule %d: kind %q is not known to this version", r.Index, r.Kind)
	}
	if !taken {
		return fmt.Errorf("rule %d (%s): left out, %d rules are kept already", r.Index, r.Kind, b.maxRules)
	}
	return nil
}

// put changes a map as a rule says; false: it is a new rule and there is no room.
func put[K comparable, V any](m map[K]V, key K, value V, removed, room bool) bool {
	if removed {
		delete(m, key)
		return true
	}
	if _, there := m[key]; !there && !room {
		return false
	}
	m[key] = value
	return true
}

// purge drops bans that are over. Revocations have no end that an edge could know.
func (p *page) purge(now int64) {
	maps.DeleteFunc(p.users, func(_ string, ban Ban) bool { return ban.over(now) })
	maps.DeleteFunc(p.addresses, func(_ netip.Prefix, ban Ban) bool { return ban.over(now) })
}

func (ban *Ban) over(now int64) bool { return ban.Until != 0 && ban.Until <= now }

func lengths(addresses map[netip.Prefix]Ban) (bits4, bits6 []int) {
	for prefix := range addresses {
		list := &bits6
		if prefix.Addr().Is4() {
			list = &bits4
		}
		if !slices.Contains(*list, prefix.Bits()) {
			*list = append(*list, prefix.Bits())
		}
	}
	slices.Sort(bits4)
	slices.Sort(bits6)
	slices.Reverse(bits4)
	slices.Reverse(bits6)
	return bits4, bits6
}

// User gives the ban that a user is under at a wall-clock millisecond of the counter.
func (b *Book) User(user string, now int64) (Ban, bool) {
	ban, there := b.current.Load().users[user]
	return ban, there && !ban.over(now)
}

// Address gives the ban that an address is under, and the network that was banned: the narrowest, where
// several hold the address.
func (b *Book) Address(addr netip.Addr, now int64) (netip.Prefix, Ban, bool) {
	p := b.current.Load()
	if len(p.addresses) == 0 {
		return netip.Prefix{}, Ban{}, false
	}
	addr = addr.Unmap().WithZone("")
	list := p.bits6
	if addr.Is4() {
		list = p.bits4
	}
	for _, bits := range list {
		prefix, err := addr.Prefix(bits)
		if err != nil {
			continue
		}
		if ban, there := p.addresses[prefix]; there && !ban.over(now) {
			return prefix, ban, true
		}
	}
	return netip.Prefix{}, Ban{}, false
}

// Bans lists the bans that stand at now, by kind and value, at most limit, and gives their whole number.
func (b *Book) Bans(now int64, limit int) (list []client.Rule, total int) {
	p := b.current.Load()
	for user, ban := range p.users {
		if !ban.over(now) {
			list = append(list, client.Rule{Index: ban.Index, Kind: client.RuleUser, Value: user, Until: ban.Until, Reason: ban.Reason})
		}
	}
	for network, ban := range p.addresses {
		if !ban.over(now) {
			list = append(list, client.Rule{Index: ban.Index, Kind: client.RuleAddress, Value: sale.NetworkText(network), Until: ban.Until, Reason: ban.Reason})
		}
	}
	slices.SortFunc(list, func(x, y client.Rule) int {
		return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Value, y.Value))
	})
	return list[:min(limit, len(list))], len(list)
}

// RevokedBefore gives the millisecond before which the user's tokens were voided; 0 when they were not.
func (b *Book) RevokedBefore(user string) int64 { return b.current.Load().revoked[user] }
