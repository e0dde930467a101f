package hashring

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
)

// The default parameters, measured to spread well with few members.
const (
	DefaultPartitions = 271
	DefaultReplicas   = 100
	DefaultLoad       = 1.05
)

// Limits of a ring. New refuses what is beyond them.
const (
	MaxMembers     = 256
	MaxMemberBytes = 256
	MaxPartitions  = 65_521
	MaxReplicas    = 1000
	MaxLoad        = 10.0
)

// Params are what placement depends on beside the members. A zero field means its default. Every
// program that computes owners of the same keys needs the same Params.
type Params struct {
	Partitions int     `yaml:"partitions" json:"partitions"` // keys fall into so many; a prime spreads best
	Replicas   int     `yaml:"replicas" json:"replicas"`     // points of each member on the ring
	Load       float64 `yaml:"load" json:"load"`             // bound on a member's share: above 1, as a multiple of the even one
}

// DefaultParams are 271 partitions, 100 replicas and a load of 1.05.
func DefaultParams() Params {
	return Params{Partitions: DefaultPartitions, Replicas: DefaultReplicas, Load: DefaultLoad}
}

func (p Params) withDefaults() Params {
	p.Partitions = cmp.Or(p.Partitions, DefaultPartitions)
	p.Replicas = cmp.Or(p.Replicas, DefaultReplicas)
	p.Load = cmp.Or(p.Load, DefaultLoad)
	return p
}

// Validate checks the parameters after their defaults; an error names the one that is wrong.
func (p Params) Validate() error {
	p = p.withDefaults()
	switch {
	case p.Partitions < 1 || p.Partitions > MaxPartitions:
		return fmt.Errorf("partitions: must be 1 to %d, is %d", MaxPartitions, p.Partitions)
	case p.Replicas < 1 || p.Replicas > MaxReplicas:
		return fmt.Errorf("replicas: must be 1 to %d, is %d", MaxReplicas, p.Replicas)
	case !(p.Load > 1 && p.Load <= MaxLoad): // also refuses NaN
		return fmt.Errorf("load: must be above 1 and at most %g, is %g", MaxLoad, p.Load)
	}
	return nil
}

// Errors about members.
var (
	ErrNoMembers = errors.New("a ring needs at least one member")
	ErrDuplicate = errors.New("is a member already")
	ErrNoMember  = errors.New("is not a member")
)

// Ring is an immutable set of members with an owner for each key. It is safe for concurrent use.
type Ring struct {
	members []string // sorted
	hashes  []uint64 // of members, for the order of fallbacks
	params  Params
	owners  []int32 // partition -> index in members
	epoch   string
}

// New makes the ring of a set of members, in whatever order they come. It refuses an empty set, an
// empty or overlong name, a name that comes twice, more than MaxMembers members, and more members than
// partitions.
func New(members []string, p Params) (*Ring, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	p = p.withDefaults()
	sorted := slices.Sorted(slices.Values(members))
	if err := checkMembers(sorted, p); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	r := &Ring{members: sorted, params: p, epoch: epochOf(sorted, p)}
	for _, m := range sorted {
		r.hashes = append(r.hashes, xxhash.Sum64String(m))
	}
	owners, err := place(sorted, p)
	if err != nil {
		return nil, err
	}
	r.owners = owners
	return r, nil
}

func checkMembers(sorted []string, p Params) error {
	switch n := len(sorted); {
	case n == 0:
		return ErrNoMembers
	case n > MaxMembers:
		return fmt.Errorf("must have at most %d members, has %d", MaxMembers, n)
	case n > p.Partitions:
		return fmt.Errorf("%d members are too many for %d partitions: raise partitions", n, p.Partitions)
	}
	for i, m := range sorted {
		if m == "" || len(m) > MaxMemberBytes {
			return fmt.Errorf("a member's name must have 1 to %d bytes, has %d", MaxMemberBytes, len(m))
		}
		if i > 0 && m == sorted[i-1] {
			return fmt.Errorf("%q %w", m, ErrDuplicate)
		}
	}
	return nil
}

// place asks consistent for the owner of each partition.
func place(sorted []string, p Params) (owners []int32, err error) {
	defer func() {
		if r := recover(); r != nil { // it panics when the load leaves no room, which Validate excludes
			err = fmt.Errorf("ring: placing %d partitions on %d members: %v", p.Partitions, len(sorted), r)
		}
	}()
	members := make([]consistent.Member, len(sorted))
	index := make(map[string]int32, len(sorted))
	for i, name := range sorted {
		members[i] = member(name)
		index[name] = int32(i)
	}
	placed := consistent.New(members, consistent.Config{
		Hasher: hasher{}, PartitionCount: p.Partitions, ReplicationFactor: p.Replicas, Load: p.Load,
	})
	owners = make([]int32, p.Partitions)
	for partition := range owners {
		owners[partition] = index[placed.GetPartitionOwner(partition).String()]
	}
	return owners, nil
}

type member string

func (m member) String() string { return string(m) }

type hasher struct{}

func (hasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

// epochOf hashes the parameters and the names, each with its length, so that no two sets share a text.
func epochOf(sorted []string, p Params) string {
	text := fmt.Appendf(nil, "headgate-ring-v1 %d %d %s\n", p.Partitions, p.Replicas, strconv.FormatFloat(p.Load, 'g', -1, 64))
	for _, m := range sorted {
		text = fmt.Appendf(text, "%d:%s\n", len(m), m)
	}
	return fmt.Sprintf("%016x", xxhash.Sum64(text))
}

// EpochOf is the epoch that a ring of these members would have, in whatever order they come; it makes none.
func EpochOf(members []string, p Params) string {
	return epochOf(slices.Sorted(slices.Values(members)), p.withDefaults())
}

// Epoch is 16 hex digits that stand for the members and parameters: rings with the same epoch place
// every key alike.
func (r *Ring) Epoch() string { return r.epoch }

// Params are the ring's parameters, defaults filled in.
func (r *Ring) Params() Params { return r.params }

// Members lists the members in ascending order. The slice is the caller's own.
func (r *Ring) Members() []string { return slices.Clone(r.members) }

// Len is the number of members, at least 1.
func (r *Ring) Len() int { return len(r.members) }

// Has reports whether a name is a member.
func (r *Ring) Has(name string) bool {
	_, ok := slices.BinarySearch(r.members, name)
	return ok
}

// With is the ring after a member joined; ErrDuplicate when it is there.
func (r *Ring) With(name string) (*Ring, error) {
	return New(append(r.Members(), name), r.params)
}

// Without is the ring after a member left; ErrNoMember when it is not there, ErrNoMembers when it was
// the last.
func (r *Ring) Without(name string) (*Ring, error) {
	at, ok := slices.BinarySearch(r.members, name)
	if !ok {
		return nil, fmt.Errorf("ring: %q %w", name, ErrNoMember)
	}
	return New(slices.Delete(r.Members(), at, at+1), r.params)
}

// Partition is the partition that a key falls into, from 0.
func (r *Ring) Partition(key string) int {
	return int(xxhash.Sum64String(key) % uint64(len(r.owners)))
}

// Owner is the member that owns a key. It does not allocate.
func (r *Ring) Owner(key string) string {
	return r.members[r.owners[r.Partition(key)]]
}

// PartitionOwner is the position in Members of the member that owns a partition, for callers that
// compute the partition of their keys themselves. The partition must be below Params().Partitions.
func (r *Ring) PartitionOwner(partition int) int { return int(r.owners[partition]) }

// Owners lists up to n distinct members for a key, in the order to try them: the owner, then its
// fallbacks. The fallbacks of an owner's partitions are spread over all others (by rendezvous hashing),
// so that the load of a dead member does not fall on one neighbour. They are for use while a member does
// not answer: when it leaves the set, the new ring decides, and may decide otherwise.
func (r *Ring) Owners(key string, n int) []string {
	n = min(n, len(r.members))
	if n < 1 {
		return nil
	}
	partition := r.Partition(key)
	owner := r.owners[partition]
	list := make([]string, 1, n)
	list[0] = r.members[owner]
	if n == 1 {
		return list
	}
	for _, i := range r.ranked(partition, owner)[:n-1] {
		list = append(list, r.members[i])
	}
	return list
}

// ranked orders all members but the owner by their weight for a partition, the heaviest first.
func (r *Ring) ranked(partition int, owner int32) []int32 {
	weights := make([]uint64, len(r.members))
	order := make([]int32, 0, len(r.members)-1)
	var text [16]byte
	binary.LittleEndian.PutUint64(text[:8], uint64(partition))
	for i, h := range r.hashes {
		binary.LittleEndian.PutUint64(text[8:], h)
		weights[i] = xxhash.Sum64(text[:])
		if int32(i) != owner {
			order = append(order, int32(i))
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(weights[b], weights[a]), cmp.Compare(a, b))
	})
	return order
}
