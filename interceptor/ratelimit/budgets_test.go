package ratelimit

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

const second = int64(time.Second)

func newRate(t testing.TB, interval time.Duration, burst int64) Rate {
	t.Helper()
	r, err := NewRate(interval, burst)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newBudgets(t testing.TB, kinds, maxKeys int) *Budgets {
	t.Helper()
	b, err := NewBudgets(kinds, maxKeys)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// keyInShard gives the nth key of a shard, spread over its table.
func keyInShard(shard, n int) uint64 {
	return uint64(n+1)*0x9e3779b97f4a7c15&^(shardCount-1) | uint64(shard)
}

func TestIntervalRefusesUntilItIsOver(t *testing.T) {
	b, r := newBudgets(t, 1, 1000), newRate(t, time.Second, 1)
	if d := b.Take(7, 0, r, 10*second); d.Verdict != Allowed || d.Left != 0 {
		t.Fatalf("first: %+v", d)
	}
	if d := b.Take(7, 0, r, 10*second+second/4); d.Verdict != Refused || d.Wait != 750*time.Millisecond {
		t.Fatalf("second: %+v", d)
	}
	if d := b.Take(8, 0, r, 10*second); d.Verdict != Allowed {
		t.Fatalf("another key: %+v", d)
	}
	if d := b.Take(7, 0, r, 11*second); d.Verdict != Allowed {
		t.Fatalf("after the interval: %+v", d)
	}
}

// A request that was held up comes with a time of before. It must not give back what was taken meanwhile.
func TestLateEventsGiveNothingBack(t *testing.T) {
	for name, r := range map[string]Rate{"interval": newRate(t, time.Second, 1), "bucket": newRate(t, 100*time.Millisecond, 10)} {
		b, allowed := newBudgets(t, 1, 1000), int64(0)
		for i := range int64(1000) {
			if d := b.Take(7, 0, r, 10*second+i%2*2*second); d.Verdict == Allowed {
				allowed++
			}
		}
		if most := r.Burst() + 2*second/int64(r.interval); allowed > most {
			t.Errorf("%s: %d events in two seconds, want at most %d", name, allowed, most)
		}
	}
}

func TestBucketGivesBurstThenRate(t *testing.T) {
	b, r := newBudgets(t, 1, 1000), newRate(t, 100*time.Millisecond, 20)
	now := int64(0)
	for i := range 20 {
		if d := b.Take(1, 0, r, now); d.Verdict != Allowed || d.Left != int64(19-i) {
			t.Fatalf("event %d: %+v", i, d)
		}
	}
	if d := b.Take(1, 0, r, now); d.Verdict != Refused || d.Wait != 100*time.Millisecond {
		t.Fatalf("beyond the burst: %+v", d)
	}
	if r.Burst() != 20 || r.Window() != 2*time.Second || r.UntilFull(5) != 1500*time.Millisecond {
		t.Fatalf("burst %d, window %s, until full %s", r.Burst(), r.Window(), r.UntilFull(5))
	}
	allowed := 0
	for now = 0; now < second; now += second / 100 {
		if b.Take(1, 0, r, now).Verdict == Allowed {
			allowed++
		}
	}
	if allowed != 9 {
		t.Fatalf("%d events in the second after the burst, want 9", allowed)
	}
}

func TestKindsOfOneKeyAreApart(t *testing.T) {
	b, r := newBudgets(t, 3, 1000), newRate(t, time.Second, 1)
	for kind := range 3 {
		if d := b.Take(5, kind, r, second); d.Verdict != Allowed {
			t.Fatalf("kind %d: %+v", kind, d)
		}
	}
	if d := b.Take(5, 1, r, second); d.Verdict != Refused || b.Len() != 1 {
		t.Fatalf("%+v, %d keys", d, b.Len())
	}
}

// A balance is a time: what a rate change does to it is bounded by the rate that holds then.
func TestRatesChangeAndBalancesStay(t *testing.T) {
	b := newBudgets(t, 1, 1000)
	slow, fast := newRate(t, time.Hour, 3), newRate(t, time.Second, 3)
	for range 3 {
		b.Take(1, 0, slow, 0)
	}
	if d := b.Take(1, 0, fast, 0); d.Verdict != Refused || d.Wait != time.Second {
		t.Fatalf("spent at the slow rate is spent at the fast one, and refills at its pace: %+v", d)
	}
	if d := b.Take(1, 0, fast, second); d.Verdict != Allowed || d.Left != 0 {
		t.Fatalf("a second later: %+v", d)
	}
	if d := b.Take(1, 0, fast, second); d.Verdict != Refused {
		t.Fatalf("and no more than that: %+v", d)
	}
	if d := b.Take(1, 0, slow, second); d.Verdict != Allowed || d.Left != 1 {
		t.Fatalf("3 s of debt are little at the slow rate: %+v", d)
	}
}

func TestFullTableDropsOnlyRefilledKeys(t *testing.T) {
	b, r := newBudgets(t, 1, 4), newRate(t, time.Second, 1)
	for i := range 4 {
		b.Take(keyInShard(i, 0), 0, r, 0)
	}
	newcomer := keyInShard(9, 0)
	if d := b.Take(newcomer, 0, r, 1); d.Verdict != Full {
		t.Fatalf("a fifth key while four are busy: %+v", d)
	}
	if d := b.Take(keyInShard(2, 0), 0, r, 1); d.Verdict != Refused {
		t.Fatalf("a busy key was flushed: %+v", d)
	}
	if b.Add(Balance{Key: newcomer, Ahead: [MaxKinds]time.Duration{time.Second}}, 1) {
		t.Fatal("a balance was taken over that there is no room for")
	}
	// Each newcomer looks for room in its own shard and in one more, in turn.
	found := -1
	for i := range shardCount {
		if b.Take(newcomer, 0, r, 2*second+int64(i)).Verdict == Allowed {
			found = i
			break
		}
	}
	if found < 0 || b.Len() > 4 {
		t.Fatalf("no room was found in %d tries, %d keys", shardCount, b.Len())
	}
	b.SetMaxKeys(2)
	b.Take(keyInShard(11, 0), 0, r, 2*second+5)
	b.Sweep(9 * second)
	if b.Len() != 0 {
		t.Fatalf("%d keys after a sweep", b.Len())
	}
	for i := range 3 {
		if got, want := b.Take(keyInShard(i, 0), 0, r, 9*second).Verdict == Allowed, i < 2; got != want {
			t.Fatalf("key %d with room for two: allowed %v", i, got)
		}
	}
}

// The table against a map: whatever comes and goes, it answers the same.
func TestBudgetsAgreeWithAMap(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		const kinds = 2
		b, r := newBudgets(t, kinds, 1<<20), [kinds]Rate{newRate(t, 300*time.Millisecond, 3), newRate(t, time.Second, 1)}
		type entry = [kinds]int64
		model := map[uint64]entry{}
		now := second
		for step := range 20_000 {
			key := keyInShard(random.IntN(3), random.IntN(400)) // long chains, that wrap
			kind := random.IntN(kinds)
			switch {
			case step%4999 == 0:
				b.Sweep(now)
				for key, e := range model {
					if full(e[:], now) {
						delete(model, key)
					}
				}
				if b.Len() != len(model) {
					t.Fatalf("seed %d, step %d: %d keys, want %d", seed, step, b.Len(), len(model))
				}
			default:
				e := model[key]
				due, want := r[kind].take(e[kind], now)
				e[kind] = due
				model[key] = e
				if got := b.Take(key, kind, r[kind], now); got != want {
					t.Fatalf("seed %d, step %d: %+v, want %+v", seed, step, got, want)
				}
			}
			now += int64(random.IntN(int(second / 500)))
		}
		seen := map[uint64]bool{}
		b.Each(now, func(balance Balance) bool {
			e := model[balance.Key]
			for kind := range kinds {
				if balance.Ahead[kind] != time.Duration(max(0, e[kind]-now)) {
					t.Fatalf("seed %d: balance %+v, want %v at %d", seed, balance, e, now)
				}
			}
			seen[balance.Key] = true
			return true
		})
		for key, e := range model {
			if full(e[:], now) == seen[key] {
				t.Fatalf("seed %d: key %x with %v at %d: listed %v", seed, key, e, now, seen[key])
			}
			balance, tracked := b.Look(key, now) // full ones may be gone
			if !tracked && !full(e[:], now) || balance.Ahead[0] != time.Duration(max(0, e[0]-now)) {
				t.Fatalf("seed %d: looked %+v %v, want %v", seed, balance, tracked, e)
			}
		}
	}
}

func TestBalancesAreHandedOver(t *testing.T) {
	from, to := newBudgets(t, 2, 1000), newBudgets(t, 2, 1000)
	r := newRate(t, time.Second, 2)
	from.Take(1, 0, r, 100*second)
	from.Take(1, 0, r, 100*second)
	from.Take(2, 1, r, 100*second)
	to.Take(2, 1, r, 7*second)
	to.Take(2, 1, r, 7*second) // emptier than what comes
	for range 2 {              // twice is as good as once
		from.Each(100*second, func(balance Balance) bool { return to.Add(balance, 7*second) })
	}
	for _, key := range []uint64{1, 2} {
		if d := to.Take(key, int(key-1), r, 7*second); d.Verdict != Refused || d.Wait != time.Second {
			t.Errorf("key %d: %+v", key, d)
		}
	}
	if d := to.Take(1, 1, r, 7*second); d.Verdict != Allowed {
		t.Errorf("a kind that was not used: %+v", d)
	}
	n := 0
	from.Each(100*second, func(Balance) bool { n++; return false })
	if n != 1 {
		t.Errorf("called %d times after false", n)
	}
}

func TestParametersAreChecked(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		burst    int64
	}{{0, 1}, {-1, 1}, {time.Second, 0}, {time.Second, 1 << 60}, {1 << 62, 1}} {
		if _, err := NewRate(c.interval, c.burst); err == nil {
			t.Errorf("%v was accepted", c)
		}
	}
	for _, rate := range []float64{0, -1, 1e10, 1e-9} {
		if _, err := PerSecond(rate, 1); err == nil {
			t.Errorf("%v a second was accepted", rate)
		}
	}
	for _, c := range [][2]int{{0, 1}, {MaxKinds + 1, 1}, {1, 0}} {
		if _, err := NewBudgets(c[0], c[1]); err == nil {
			t.Errorf("%v was accepted", c)
		}
	}
}

func TestOneOfManyConcurrentPressesPasses(t *testing.T) {
	b, r := newBudgets(t, 1, 40), newRate(t, time.Second, 1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	allowed := map[uint64]int{}
	for i := range 64 {
		wg.Go(func() {
			for key := range uint64(60) {
				if b.Take(key*0x9e3779b97f4a7c15, 0, r, second+int64(i)).Verdict == Allowed {
					mu.Lock()
					allowed[key]++
					mu.Unlock()
				}
			}
			if i%16 == 0 {
				b.Sweep(second)
			}
		})
	}
	wg.Wait()
	for key, n := range allowed {
		if n != 1 {
			t.Errorf("%d presses of key %d passed", n, key)
		}
	}
	if len(allowed) != 40 || b.Len() != 40 {
		t.Errorf("%d keys passed and %d are tracked, with room for 40", len(allowed), b.Len())
	}
}

func TestNeighboursOfOneHouseholdAreOneClient(t *testing.T) {
	h := NewAddressHasher()
	one, other := h.Rule("login"), h.Rule("all")
	key := func(text string) uint64 { return h.Key(one, netip.MustParseAddr(text)) }
	if key("2001:db8:1:2::1") != key("2001:db8:1:2:ffff::9%eth0") || key("192.0.2.1") != key("::ffff:192.0.2.1") {
		t.Error("one client has two keys")
	}
	different := []uint64{key("2001:db8:1:2::1"), key("2001:db8:1:3::1"), key("192.0.2.1"), key("192.0.2.2"), h.Key(other, netip.MustParseAddr("192.0.2.1"))}
	slices.Sort(different)
	if len(slices.Compact(different)) != 5 {
		t.Error("two clients, or two rules, share a key")
	}
	if n := testing.AllocsPerRun(100, func() { h.Key(one, netip.IPv6Loopback()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	m, r := newBudgets(b, 3, 1<<20), newRate(b, time.Second, 1)
	b.ReportAllocs()
	for i := range b.N {
		m.Take(uint64(i)&0xffff*0x9e3779b97f4a7c15, 0, r, int64(i))
	}
}

// What moves to another node is there, and no longer here, however full the table is.
func TestBudgetsAreTakenOut(t *testing.T) {
	const keys = 20_000
	from, err := NewBudgets(2, keys)
	if err != nil {
		t.Fatal(err)
	}
	to, err := NewBudgets(2, keys)
	if err != nil {
		t.Fatal(err)
	}
	rate, err := NewRate(time.Second, 5)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([]uint64, keys)
	for i := range all {
		all[i] = rng.Uint64()
		for range 1 + i%4 {
			from.Take(all[i], i%2, rate, 0)
		}
	}
	moves := func(key uint64) bool { return key>>48%3 == 0 }
	from.TakeOut(0, moves, func(b Balance) { to.Add(b, 1000) })
	for i, key := range all {
		here, there := from, to
		ahead := time.Duration(1+i%4) * time.Second
		if moves(key) {
			here, there = to, from
		}
		if balance, tracked := here.Look(key, 0); !tracked || balance.Ahead[i%2] < ahead || balance.Ahead[i%2] > ahead+1000 {
			t.Fatalf("key %d: %v, %+v, want %s ahead", i, tracked, balance, ahead)
		}
		if _, tracked := there.Look(key, 0); tracked {
			t.Fatalf("key %d is in two places", i)
		}
	}
	if from.Len()+to.Len() != keys {
		t.Errorf("%d and %d keys", from.Len(), to.Len())
	}
}
