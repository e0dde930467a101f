package tokens

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"headgate.example/lib/auth"
)

// scripted counts verifications and makes claims from the token's text.
type scripted struct {
	mu    sync.Mutex
	calls int
}

var start = time.UnixMilli(1_900_000_000_000)

func (s *scripted) Verify(token string, now time.Time) (auth.Claims, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if token == "bad" {
		return auth.Claims{}, auth.ErrTokenSignature
	}
	return auth.Claims{User: token, Roles: []string{"admin", "x"}, IssuedAt: start, ExpiresAt: start.Add(time.Hour)}, nil
}

type revoked map[string]int64

func (r revoked) RevokedBefore(user string) int64 { return r[user] }

func TestVerifiedOnceButExpiryStillCounts(t *testing.T) {
	v := &scripted{}
	c := NewCache(v, revoked{}, 1000)
	for range 3 {
		identity, err := c.Verify([]byte("a1"), start)
		if err != nil || identity.User != "a1" || identity.RoleList != "admin,x" {
			t.Fatalf("%+v, %v", identity, err)
		}
	}
	if v.calls != 1 {
		t.Fatalf("verified %d times", v.calls)
	}
	if _, err := c.Verify([]byte("a1"), start.Add(time.Hour)); !errors.Is(err, auth.ErrTokenExpired) {
		t.Fatalf("a cached token outlived its expiry: %v", err)
	}
}

func TestRevocationReachesCachedTokens(t *testing.T) {
	r := revoked{}
	c := NewCache(&scripted{}, r, 1000)
	if _, err := c.Verify([]byte("a1"), start); err != nil {
		t.Fatal(err)
	}
	r["a1"] = start.UnixMilli()
	if _, err := c.Verify([]byte("a1"), start); err != nil {
		t.Fatalf("a token issued at the moment of revocation is void: %v", err)
	}
	r["a1"] = start.UnixMilli() + 1
	if _, err := c.Verify([]byte("a1"), start); !errors.Is(err, ErrRevoked) {
		t.Fatalf("a cached token outlived its revocation: %v", err)
	}
}

func TestBadTokensAreNotKept(t *testing.T) {
	v := &scripted{}
	c := NewCache(v, revoked{}, 1000)
	for range 2 {
		if _, err := c.Verify([]byte("bad"), start); !errors.Is(err, auth.ErrTokenSignature) {
			t.Fatal(err)
		}
	}
	if c.Len() != 0 || v.calls != 2 {
		t.Fatalf("%d tokens kept, %d verifications", c.Len(), v.calls)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const limit = 4 * cacheShards
	c := NewCache(&scripted{}, revoked{}, limit)
	for i := range 20 * limit {
		if _, err := c.Verify(fmt.Appendf(nil, "u%06d", i), start); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.Len(); n > limit {
		t.Fatalf("%d tokens kept, the limit is %d", n, limit)
	}
}

func TestUsedTokensStay(t *testing.T) {
	v := &scripted{}
	c := NewCache(v, revoked{}, 64*cacheShards)
	for i := range 64 * cacheShards {
		for _, token := range []string{"kept", fmt.Sprintf("u%06d", i)} {
			if _, err := c.Verify([]byte(token), start); err != nil {
				t.Fatal(err)
			}
		}
	}
	if v.calls != 64*cacheShards+1 {
		t.Fatalf("%d verifications: the token in use was verified again", v.calls)
	}
}

// Two tokens of one hash are two tokens.
func TestTokensAreComparedByteByByte(t *testing.T) {
	c := NewCache(&scripted{}, revoked{}, 1000)
	identity := &Identity{token: "a1"}
	shard := &c.shards[0]
	shard.put(7, identity, 1000)
	if got := shard.get(7, []byte("a1"), 1000); got != identity {
		t.Error("a cached token is not found")
	}
	if got := shard.get(7, []byte("a2"), 1000); got != nil {
		t.Errorf("another token of the same hash is taken for %q", got.token)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	c := NewCache(&scripted{}, revoked{}, 1000)
	token := []byte("a1")
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Verify(token, start) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
