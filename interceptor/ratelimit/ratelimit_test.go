package ratelimit

import (
	"sync"
	"testing"
	"time"
)

const second = int64(time.Second)

func newLimiter(t testing.TB, l Limits) *Limiter {
	t.Helper()
	m, err := NewLimiter(l)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestInFlightForgetsWhatEnds(t *testing.T) {
	var f InFlight
	if f.Enter(1) != 0 || f.Enter(1) != 1 || f.Enter(2) != 0 {
		t.Error("the second of one key is beside the first, and no other")
	}
	f.Leave(1)
	if f.Enter(1) != 1 {
		t.Error("one of two is still under way")
	}
	f.Leave(1)
	f.Leave(1)
	f.Leave(2)
	if f.Enter(1) != 0 {
		t.Error("none was under way")
	}
	f.Leave(1)
	for i := range f.shards {
		if len(f.shards[i].count) > 0 {
			t.Errorf("shard %d still holds %v", i, f.shards[i].count)
		}
	}
}

func TestIntervalRefusesUntilItIsOver(t *testing.T) {
	m := newLimiter(t, Limits{Interval: time.Second, Burst: 1, MaxKeys: 1000})
	if v, _, left := m.Take(7, 10*second); v != Allowed || left != 0 {
		t.Fatalf("first: %v, %d left", v, left)
	}
	if v, wait, _ := m.Take(7, 10*second+second/4); v != Refused || wait != 750*time.Millisecond {
		t.Fatalf("second: %v, wait %s", v, wait)
	}
	if v, _, _ := m.Take(8, 10*second); v != Allowed {
		t.Fatalf("another key: %v", v)
	}
	if v, _, _ := m.Take(7, 11*second); v != Allowed {
		t.Fatalf("after the interval: %v", v)
	}
}

func TestBucketGivesBurstThenRate(t *testing.T) {
	m := newLimiter(t, Limits{Interval: 100 * time.Millisecond, Burst: 20, MaxKeys: 1000})
	now := int64(0)
	for i := range 20 {
		if v, _, left := m.Take(1, now); v != Allowed || left != int64(19-i) {
			t.Fatalf("event %d: %v, %d left", i, v, left)
		}
	}
	if v, wait, _ := m.Take(1, now); v != Refused || wait != 100*time.Millisecond {
		t.Fatalf("beyond the burst: %v, wait %s", v, wait)
	}
	allowed := 0
	for now = 0; now < second; now += second / 100 {
		if v, _, _ := m.Take(1, now); v == Allowed {
			allowed++
		}
	}
	if allowed != 9 {
		t.Fatalf("%d events in the second after the burst, want 9", allowed)
	}
}

func TestFullMapDropsOnlyRefilledKeys(t *testing.T) {
	m := newLimiter(t, Limits{Interval: time.Second, Burst: 1, MaxKeys: 4 * shardCount})
	for i := range uint64(4) { // all in shard 0
		m.Take(i*shardCount, 0)
	}
	if v, _, _ := m.Take(9*shardCount, 1); v != Full {
		t.Fatalf("a fifth key while four are busy: %v", v)
	}
	if v, _, _ := m.Take(2*shardCount, 1); v != Refused {
		t.Fatalf("a busy key was flushed: %v", v)
	}
	if v, _, _ := m.Take(9*shardCount, second); v != Allowed || m.Len() != 1 {
		t.Fatalf("after the budgets refilled: %v, %d keys", v, m.Len())
	}
	m.Sweep(5 * second)
	if m.Len() != 0 {
		t.Fatalf("%d keys after a sweep", m.Len())
	}
}

func TestLimitsAreChecked(t *testing.T) {
	for _, l := range []Limits{{0, 1, 1}, {time.Second, 0, 1}, {time.Second, 1 << 60, 1}, {time.Second, 1, 0}} {
		if _, err := NewLimiter(l); err == nil {
			t.Errorf("%+v was accepted", l)
		}
	}
}

func TestOneOfManyConcurrentPressesPasses(t *testing.T) {
	m := newLimiter(t, Limits{Interval: time.Second, Burst: 1, MaxKeys: 1000})
	var wg sync.WaitGroup
	var mu sync.Mutex
	allowed := 0
	for range 64 {
		wg.Go(func() {
			if v, _, _ := m.Take(3, second); v == Allowed {
				mu.Lock()
				allowed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if allowed != 1 {
		t.Fatalf("%d presses passed", allowed)
	}
}

func TestSeenIsBoundedAndKeepsTheRecent(t *testing.T) {
	s := NewSeen(4 * shardCount) // two keys a generation and shard
	for i := range uint64(10) {
		s.Add(i*shardCount, int64(i))
	}
	for i := range uint64(10) {
		if got, want := s.Has(i*shardCount), i >= 6; got != want {
			t.Errorf("key %d: remembered %v, want %v", i, got, want)
		}
	}
}

// What was forgotten is forgotten up to a moment: keys added after it are all remembered.
func TestSeenTellsUntilWhenItForgot(t *testing.T) {
	s := NewSeen(4 * shardCount) // two keys a generation and shard
	for i := range int64(4) {
		s.Add(uint64(i)*shardCount, 10+i)
		if _, forgot := s.ForgotUntil(0); forgot {
			t.Fatalf("forgot something after %d keys", i+1)
		}
	}
	s.Add(4*shardCount, 14) // drops what was added at 10 and 11
	until, forgot := s.ForgotUntil(7 * shardCount)
	if !forgot || until < 11 || until > 12 {
		t.Errorf("forgot %v, until %d", forgot, until)
	}
	s.Drop(4 * shardCount)
	if s.Has(4*shardCount) || !s.Has(3*shardCount) {
		t.Error("one key and no other is dropped")
	}
	if _, forgot := s.ForgotUntil(1); forgot {
		t.Error("another shard has dropped nothing")
	}
}

func TestHasherTellsSalesApart(t *testing.T) {
	h := NewHasher()
	if h.UserInSale("a", []byte("b")) == h.UserInSale("b", []byte("a")) || h.User("a") == h.User("b") {
		t.Fatal("keys collide")
	}
	if first := h.User("a"); h.User("a") != first {
		t.Fatal("keys are not stable")
	}
}

func BenchmarkTake(b *testing.B) {
	m := newLimiter(b, Limits{Interval: time.Second, Burst: 1, MaxKeys: 1 << 20})
	for i := range b.N {
		m.Take(uint64(i)&0xffff*0x9e3779b97f4a7c15, int64(i))
	}
}
