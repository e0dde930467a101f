package tokens

import (
	"errors"
	"hash/maphash"
	"strings"
	"sync"
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
	auth.Claims
	RoleList string // the roles, comma separated

	issuedMillis int64
	token        string
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

const cacheShards = 64

// Cache verifies tokens and remembers the verified. It is safe for concurrent use.
type Cache struct {
	seed        maphash.Seed
	verifier    Verifier
	revocations Revocations
	maxShard    int
	shards      [cacheShards]cacheShard
}

// cacheShard holds two generations: what is used moves to the young one; when that is full, it becomes
// the old one and the former old one is dropped. Tokens are found by a hash under a seed of this process,
// and are who they say they are only if every byte is the same.
type cacheShard struct {
	mu         sync.RWMutex
	young, old map[uint64]*Identity
}

// NewCache makes a cache of at most limit tokens (rounded up to a multiple of the shards).
func NewCache(verifier Verifier, revocations Revocations, limit int) *Cache {
	c := &Cache{seed: maphash.MakeSeed(), verifier: verifier, revocations: revocations, maxShard: max(1, limit/2/cacheShards)}
	for i := range c.shards {
		c.shards[i].young, c.shards[i].old = make(map[uint64]*Identity), make(map[uint64]*Identity)
	}
	return c
}

// Verify gives the identity that the token proves at now. The errors are those of the Verifier, and
// ErrRevoked.
func (c *Cache) Verify(token []byte, now time.Time) (*Identity, error) {
	key := maphash.Bytes(c.seed, token)
	shard := &c.shards[key%cacheShards]
	identity := shard.get(key, token, c.maxShard)
	if identity == nil {
		text := string(token)
		claims, err := c.verifier.Verify(text, now)
		if err != nil {
			return nil, err
		}
		identity = &Identity{Claims: claims, RoleList: claims.RoleList(), issuedMillis: claims.IssuedAt.UnixMilli(), token: text}
		shard.put(key, identity, c.maxShard)
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
func (c *Cache) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.young) + len(s.old)
		s.mu.RUnlock()
	}
	return n
}

func (s *cacheShard) get(key uint64, token []byte, limit int) *Identity {
	s.mu.RLock()
	identity, young := s.young[key]
	if !young {
		identity = s.old[key]
	}
	s.mu.RUnlock()
	if identity == nil || identity.token != string(token) {
		return nil
	}
	if !young {
		s.put(key, identity, limit)
	}
	return identity
}

func (s *cacheShard) put(key uint64, identity *Identity, limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= limit {
		s.young, s.old = s.old, s.young
		clear(s.young)
	}
	s.young[key] = identity
	delete(s.old, key)
}
