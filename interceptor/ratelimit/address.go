package ratelimit

import (
	"hash/maphash"
	"net/netip"
)

// AddressHasher turns clients' addresses into keys under a seed of its own, so that nobody can aim at
// another's key. It is a value.
type AddressHasher struct{ seed maphash.Seed }

// NewAddressHasher draws a seed.
func NewAddressHasher() AddressHasher { return AddressHasher{seed: maphash.MakeSeed()} }

// Rule is the number of a rule for Key, by its name.
func (h AddressHasher) Rule(name string) uint64 { return maphash.String(h.seed, name) }

// Key is the key of a client under a rule. IPv6 addresses of one /64 are one client: at least that much
// is handed to each household.
func (h AddressHasher) Key(rule uint64, address netip.Addr) uint64 {
	return maphash.Comparable(h.seed, ruledAddress{rule, Client(address)})
}

type ruledAddress struct {
	rule    uint64
	address netip.Addr
}

// Client is the address that stands for a client: an IPv4 address, or the first of an IPv6 /64.
func Client(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if !address.Is6() {
		return address
	}
	first := address.As16()
	clear(first[8:])
	return netip.AddrFrom16(first)
}
