package tokens

import (
	"errors"
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headgate.example/lib/auth"
)

// ErrRevoked is given for a token that was issued before its user's tokens were revoked.
var ErrRevoked = errors.New("the token is revoked")

// Verifier checks tokens. *auth.Verifier is one.
type Verifier interface {
	Verify(token string, now time.Time) (auth.Claims, error)
}

// Revocations knows which tokens were voided. *rules.Book is one.
type Revocations interface {
	// RevokedBefore gives the millisecond before which the user's tokens were voided; 0: they were not.
	RevokedBefore(user string) int64
}

// Identity is what a token proves. It is shared and must not be changed.
type Identity struct {
	token        string
	issuedMillis int64
	used         atomic.Bool // since it was last passed over for removal

	auth.Claims
	RoleList string // the roles, comma separated
}

// Vouched is the identity that a trusted peer has verified. Its times are not known here.
func Vouched(user, name, roles string) *Identity {
	identity := &Identity{Claims: auth.Claims{User: user, Name: name}, RoleList: roles}
	for role := range strings.SplitSeq(roles, ",") {
		if role != "" {
			identity.Roles = append(identity.Roles, role)
		}
	}
	return identity
}

const (
	cacheWays   = 4
	cacheShards = 64
	firstSets   = 4 // of a shard
)

// Cache verifies tokens and remembers the verified. It is safe for concurrent use; who finds a token waits
// for nobody.
//
// Tokens share a set by a hash under a seed of this process, and are who they say they are only if every
// byte is the same. One whose set is full goes to another; if that is full as well, one of the first makes room
// that was not used since another last did.
type Cache struct {
	seed        maphash.Seed
	verifier    Verifier
	revocations Revocations
	maxSets     int // of a shard
	shards      [cacheShards]cacheShard
}

// cacheShard grows by itself, so that its lock is held for a short time even when it does.
type cacheShard struct {
	sets     atomic.Pointer[[]cacheSet]
	kept     atomic.Int64
	changing sync.Mutex // held by whoever changes a set or replaces the sets
	_        [40]byte
}

// cacheSet is as large as a processor's cache line. A place is read without a lock: hash and identity may be
// of two tokens for a moment, so that only the identity's own token counts.
type cacheSet [cacheWays]struct {
	hash     atomic.Uint64
	identity atomic.Pointer[Identity]
}

// NewCache makes a cache of at most limit tokens (rounded up to a multiple of 256), 16 bytes a place beside the
// tokens. It has at least twice as many places as tokens until it reaches the limit. With half as many in use,
// about one in a hundred finds no place, and takes turns with others.
func NewCache(verifier Verifier, revocations Revocations, limit int) *Cache {
	const row = cacheWays * cacheShards
	c := &Cache{seed: maphash.MakeSeed(), verifier: verifier, revocations: revocations, maxSets: max(1, (limit+row-1)/row)}
	for i := range c.shards {
		sets := make([]cacheSet, min(firstSets, c.maxSets))
		c.shards[i].sets.Store(&sets)
	}
	return c
}

// Verify gives the identity that the token proves at now. The errors are those of the Verifier, and
// ErrRevoked.
func (c *Cache) Verify(token []byte, now time.Time) (*Identity, error) {
	hash := maphash.Bytes(c.seed, token)
	shard := &c.shards[hash%cacheShards]
	identity := shard.find(hash, token)
	if identity == nil {
		text := string(token)
		claims, err := c.verifier.Verify(text, now)
		if err != nil {
			return nil, err
		}
		identity = &Identity{Claims: claims, RoleList: claims.RoleList(), issuedMillis: claims.IssuedAt.UnixMilli(), token: text}
		shard.keep(hash, identity, c.maxSets)
	}
	if !now.Before(identity.ExpiresAt) {
		return nil, auth.ErrTokenExpired
	}
	if before := c.revocations.RevokedBefore(identity.User); before != 0 && identity.issuedMillis < before {
		return nil, ErrRevoked
	}
	return identity, nil
}

// Len is the number of cached tokens.
func (c *Cache) Len() (n int) {
	for i := range c.shards {
		n += int(c.shards[i].kept.Load())
	}
	return n
}

// setOf is where tokens of a hash are: the first choice, or the second. The low bits have chosen the shard.
func setOf(sets []cacheSet, hash uint64, second bool) *cacheSet {
	if second {
		hash = bits.RotateLeft64(hash, 32)
	}
	number, _ := bits.Mul64(hash, uint64(len(sets)))
	return &sets[number]
}

func (c *cacheShard) find(hash uint64, token []byte) *Identity {
	sets := *c.sets.Load()
	if identity := setOf(sets, hash, false).find(hash, token); identity != nil {
		return identity
	}
	return setOf(sets, hash, true).find(hash, token)
}

func (s *cacheSet) find(hash uint64, token []byte) *Identity {
	for i := range s {
		if s[i].hash.Load() != hash {
			continue
		}
		if identity := s[i].identity.Load(); identity != nil && identity.token == string(token) {
			if !identity.used.Load() {
				identity.used.Store(true)
			}
			return identity
		}
	}
	return nil
}

// keep enters an identity.
func (c *cacheShard) keep(hash uint64, identity *Identity, maxSets int) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.find(hash, []byte(identity.token)) != nil {
		return // another request was faster
	}
	sets := *c.sets.Load()
	if len(sets) < maxSets && int(c.kept.Load()) >= len(sets)*cacheWays/2 {
		sets = c.grow(sets, maxSets)
	}
	if enter(sets, hash, identity) {
		c.kept.Add(1)
	}
}

// grow doubles the places. Whoever asks meanwhile finds what there was; only new tokens wait.
func (c *cacheShard) grow(old []cacheSet, maxSets int) []cacheSet {
	sets := make([]cacheSet, min(maxSets, 2*len(old)))
	kept := 0
	for i := range old {
		for j := range old[i] {
			if identity := old[i][j].identity.Load(); identity != nil && enter(sets, old[i][j].hash.Load(), identity) {
				kept++
			}
		}
	}
	c.kept.Store(int64(kept))
	c.sets.Store(&sets)
	return sets
}

// enter puts an identity into a set of its hash. false: it took another's place.
func enter(sets []cacheSet, hash uint64, identity *Identity) bool {
	s := setOf(sets, hash, false)
	at := s.free()
	if at < 0 {
		if other := setOf(sets, hash, true); other.free() >= 0 {
			s, at = other, other.free()
		} else {
			at = s.victim(int(hash / cacheShards % cacheWays))
		}
	}
	fresh := s[at].identity.Swap(identity) == nil
	s[at].hash.Store(hash)
	return fresh
}

// free gives a free place; -1: there is none.
func (s *cacheSet) free() int {
	for i := range s {
		if s[i].identity.Load() == nil {
			return i
		}
	}
	return -1
}

// victim gives the first place from begin on whose token was not used since it was passed over last. The set
// is full.
func (s *cacheSet) victim(begin int) int {
	for range cacheWays {
		if !s[begin].identity.Load().used.Swap(false) {
			return begin
		}
		begin = (begin + 1) % cacheWays
	}
	return begin
}
