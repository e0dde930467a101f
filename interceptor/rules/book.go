package rules

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"headgate.example/counter/client"
)

// DefaultMaxRules bounds the rules that a Book keeps.
const DefaultMaxRules = 1_000_000

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
	users     map[string]int64       // until, milliseconds; 0 is for good
	addresses map[netip.Prefix]int64 // until; single addresses have all bits
	bits4     []int                  // the distinct prefix lengths in addresses, longest first
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
	next := &page{known: true, index: r.Index, users: map[string]int64{}, addresses: map[netip.Prefix]int64{}, revoked: map[string]int64{}}
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
	switch r.Kind {
	case client.RuleUser:
		taken = put(p.users, r.Value, r.Until, r.Removed, room)
	case client.RuleAddress:
		prefix, err := ParseAddress(r.Value)
		if err != nil {
			return fmt.Errorf("rule %d: %w", r.Index, err)
		}
		taken = put(p.addresses, prefix, r.Until, r.Removed, room)
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
func put[K comparable](m map[K]int64, key K, value int64, removed, room bool) bool {
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
	maps.DeleteFunc(p.users, func(_ string, until int64) bool { return over(until, now) })
	maps.DeleteFunc(p.addresses, func(_ netip.Prefix, until int64) bool { return over(until, now) })
}

func over(until, now int64) bool { return until != 0 && until <= now }

func lengths(addresses map[netip.Prefix]int64) (bits4, bits6 []int) {
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

// ParseAddress reads an IP address or a CIDR. IPv4 in IPv6 form is taken for IPv4.
func ParseAddress(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a CIDR", text)
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q mixes IPv4 and IPv6", text)
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// UserBanned reports whether the user is banned at a wall-clock millisecond of the counter.
func (b *Book) UserBanned(user string, now int64) bool {
	until, banned := b.current.Load().users[user]
	return banned && !over(until, now)
}

// AddressBanned reports whether the address, or a network that holds it, is banned.
func (b *Book) AddressBanned(addr netip.Addr, now int64) bool {
	p := b.current.Load()
	if len(p.addresses) == 0 {
		return false
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
		if until, banned := p.addresses[prefix]; banned && !over(until, now) {
			return true
		}
	}
	return false
}

// RevokedBefore gives the millisecond before which the user's tokens were voided; 0 when they were not.
func (b *Book) RevokedBefore(user string) int64 { return b.current.Load().revoked[user] }
