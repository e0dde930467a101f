package tokens

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
	"unsafe"

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
	const limit = 4 * cacheWays * cacheShards
	c := NewCache(&scripted{}, revoked{}, limit-1)
	for i := range 20 * limit {
		if _, err := c.Verify(fmt.Appendf(nil, "u%06d", i), start); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for n := range c.shards {
		sets := *c.shards[n].sets.Load()
		for i := range sets {
			for j := range sets[i] {
				if sets[i][j].identity.Load() != nil {
					kept++
				}
			}
		}
	}
	if kept != limit || c.Len() != limit {
		t.Fatalf("%d tokens kept, %d by Len, the limit is %d", kept, c.Len(), limit)
	}
}

// Memory follows the tokens, none of which is lost on the way.
func TestCacheGrows(t *testing.T) {
	const tokens = 20_000
	v := &scripted{}
	c := NewCache(v, revoked{}, 10*tokens)
	places := func() (n int) {
		for i := range c.shards {
			n += len(*c.shards[i].sets.Load()) * cacheWays
		}
		return n
	}
	if n := places(); n != firstSets*cacheShards*cacheWays {
		t.Errorf("%d places at first", n)
	}
	for range 2 {
		for i := range tokens {
			if _, err := c.Verify(fmt.Appendf(nil, "u%06d", i), start); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := places(); n < 2*tokens || n > 4*tokens || c.Len() > tokens || c.Len() < tokens*99/100 || v.calls > tokens*101/100 {
		t.Errorf("%d places, %d tokens kept, %d verified", n, c.Len(), v.calls)
	}
}

// A token in use is not flushed by others that are seen once each.
func TestUsedTokensStay(t *testing.T) {
	const others = 1000
	v := &scripted{}
	c := NewCache(v, revoked{}, 1)
	for i := range others {
		for _, token := range []string{"kept", fmt.Sprintf("u%06d", i)} {
			if _, err := c.Verify([]byte(token), start); err != nil {
				t.Fatal(err)
			}
		}
	}
	if v.calls != others+1 {
		t.Fatalf("%d verifications: the token in use was verified again", v.calls)
	}
}

// What is said of a cache that is used to a half.
func TestFewTokensFindNoPlace(t *testing.T) {
	const used = 10_000
	v := &scripted{}
	c := NewCache(v, revoked{}, 2*used)
	for range 2 {
		v.calls = 0
		for i := range used {
			if _, err := c.Verify(fmt.Appendf(nil, "u%06d", i), start); err != nil {
				t.Fatal(err)
			}
		}
	}
	if v.calls > used/50 { // one in a hundred, give or take: the seed is another one each time
		t.Fatalf("%d of %d tokens are verified again", v.calls, used)
	}
}

// Two tokens of one hash are two tokens, and take no other's place.
func TestTokensAreComparedByteByByte(t *testing.T) {
	c := NewCache(&scripted{}, revoked{}, 1)
	identity := &Identity{token: "a1"}
	c.shards[7].keep(7, identity, 1)
	if got := c.shards[7].find(7, []byte("a1")); got != identity {
		t.Error("a cached token is not found")
	}
	if got := c.shards[7].find(7, []byte("a2")); got != nil {
		t.Errorf("another token of the same hash is taken for %q", got.token)
	}
	other := &Identity{token: "a2"}
	c.shards[7].keep(7, other, 1)
	c.shards[7].keep(7, &Identity{token: "a2"}, 1)
	if c.shards[7].find(7, []byte("a1")) != identity || c.shards[7].find(7, []byte("a2")) != other || c.Len() != 2 {
		t.Errorf("%d tokens kept", c.Len())
	}
}

// Many verify few tokens in a cache that is too small for them: each gets his own identity.
func TestConcurrentUse(t *testing.T) {
	c := NewCache(&scripted{}, revoked{}, 1)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := range 2000 {
				token := fmt.Sprintf("u%d", (n+i)%(2*cacheWays*cacheShards))
				if identity, err := c.Verify([]byte(token), start); err != nil || identity.User != token {
					t.Errorf("%s: %+v, %v", token, identity, err)
					return
				}
			}
		})
	}
	group.Wait()
	if c.Len() > cacheWays*cacheShards {
		t.Errorf("%d tokens kept", c.Len())
	}
}

func TestASetIsACacheLine(t *testing.T) {
	if set, shard := unsafe.Sizeof(cacheSet{}), unsafe.Sizeof(cacheShard{}); set != 64 || shard != 64 {
		t.Errorf("a set has %d bytes, a shard %d", set, shard)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	c := NewCache(&scripted{}, revoked{}, 1000)
	token := []byte("a1")
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Verify(token, start) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
