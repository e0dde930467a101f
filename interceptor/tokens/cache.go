package tokens

import (
	"crypto/sha256"
	"errors"
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
	expires      time.Time
}

const cacheShards = 64

// Cache verifies tokens and remembers the verified. It is safe for concurrent use.
type Cache struct {
	verifier    Verifier
	revocations Revocations
	maxShard    int
	shards      [cacheShards]cacheShard
}

type tokenSum = [sha256.Size]byte

// cacheShard holds two generations: what is used moves to the young one; when that is full, it becomes
// the old one and the former old one is dropped.
type cacheShard struct {
	mu         sync.RWMutex
	young, old map[tokenSum]*Identity
}

// NewCache makes a cache of at most limit tokens (rounded up to a multiple of the shards).
func NewCache(verifier Verifier, revocations Revocations, limit int) *Cache {
	return &Cache{verifier: verifier, revocations: revocations, maxShard: max(1, limit/2/cacheShards)}
}

// Verify gives the identity that the token proves at now. The errors are those of the Verifier, and
// ErrRevoked.
func (c *Cache) Verify(token []byte, now time.Time) (*Identity, error) {
	sum := sha256.Sum256(token)
	shard := &c.shards[sum[0]%cacheShards]
	identity := shard.get(sum, c.maxShard)
	if identity == nil {
		claims, err := c.verifier.Verify(string(token), now)
		if err != nil {
			return nil, err
		}
		identity = &Identity{Claims: claims, RoleList: claims.RoleList(), issuedMillis: claims.IssuedAt.UnixMilli(), expires: claims.ExpiresAt}
		shard.put(sum, identity, c.maxShard)
	}
	if !now.Before(identity.expires) {
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

func (s *cacheShard) get(sum tokenSum, limit int) *Identity {
	s.mu.RLock()
	identity, young := s.young[sum]
	if !young {
		identity = s.old[sum]
	}
	s.mu.RUnlock()
	if identity != nil && !young {
		s.put(sum, identity, limit)
	}
	return identity
}

func (s *cacheShard) put(sum tokenSum, identity *Identity, limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= limit {
		s.old, s.young = s.young, make(map[tokenSum]*Identity)
	}
	s.young[sum] = identity
	delete(s.old, sum)
}
