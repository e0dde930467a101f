package insight

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

func refusal(at int64, user, code string) *Refusal {
	return &Refusal{At: at, Request: uint64(at), User: user, Address: netip.MustParseAddr("192.0.2.1"), Reason: Reason{Code: code, Stage: "stage", Route: "reserve"}}
}

func TestWhyAUserWasRefused(t *testing.T) {
	r := NewRefusals(1000)
	if list := r.OfUser("a1"); len(list) != 0 {
		t.Fatalf("before anything: %+v", list)
	}
	r.Add(refusal(1, "a1", "sold_out"))
	for at := range int64(5) {
		r.Add(refusal(2+at, "a1", "too_soon"))
	}
	v6 := refusal(9, "a1", "invalid_request")
	v6.Address, v6.Detail = netip.MustParseAddr("2001:db8::1"), "quantity: must be 1 or more"
	r.Add(v6)
	r.Add(refusal(10, "a2", "sold_out"))
	list := r.OfUser("a1")
	if len(list) != 3 {
		t.Fatalf("%+v", list)
	}
	for i, want := range []struct {
		at    int64
		code  string
		times int
	}{{9, "invalid_request", 1}, {6, "too_soon", 5}, {1, "sold_out", 1}} {
		got := list[i]
		if got.Last.At != want.at || got.Last.Request != uint64(want.at) || got.Last.Code != want.code || got.Times != want.times || got.Last.User != "a1" {
			t.Errorf("%d: %+v, want %+v", i, got, want)
		}
	}
	if list[0].Last != *v6 || list[1].Last.Address.String() != "192.0.2.1" {
		t.Errorf("the latest is %+v, the address before it %s", list[0].Last, list[1].Last.Address)
	}
	r.Add(refusal(11, "a1", "ended"))
	if list := r.OfUser("a1"); len(list) != ReasonsPerUser || list[0].Last.Code != "ended" || list[2].Last.Code != "too_soon" {
		t.Errorf("a further reason: %+v", list)
	}
}

// Who was refused longest ago is forgotten first, and nobody's reasons are shown as another's.
func TestUsersAreBounded(t *testing.T) {
	r := NewRefusals(1) // one set a shard
	s := &r.users.shards[0]
	var names []string
	for i := 0; len(names) < 100; i++ {
		if name := fmt.Sprint("u", i); r.users.shard(r.users.key(name)) == s {
			names = append(names, name)
		}
	}
	for i, name := range names {
		r.Add(refusal(int64(i+1), name, "sold_out"))
	}
	for i, name := range names {
		if known := len(r.OfUser(name)) == 1; known != (i >= 100-userWays) {
			t.Errorf("%s: known %v", name, known)
		}
	}
	if size := testing.AllocsPerRun(1, func() { r.OfUser("u") }); size != 0 {
		t.Errorf("looking for nobody: %v allocations", size)
	}
}

// Memory follows the users; nobody is forgotten while there is room, and what is known of them moves with them.
func TestUsersGrow(t *testing.T) {
	// Chance of five users in one set even at the largest size, where one is forgotten: 5 in 10 million.
	r := NewRefusals(1 << 18)
	sets := func() (n int) {
		for i := range r.users.shards {
			n += len(r.users.shards[i].sets)
		}
		return n
	}
	if n := sets(); n != userShards {
		t.Errorf("%d sets at first", n)
	}
	const users = 1000
	for round := range 2 {
		for i := range users {
			r.Add(refusal(int64(round*users+i+1), fmt.Sprint("u", i), []string{"sold_out", "too_soon"}[round]))
		}
	}
	for i := range users {
		list := r.OfUser(fmt.Sprint("u", i))
		if len(list) != 2 || list[0].Last.At != int64(users+i+1) || list[1].Last.At != int64(i+1) || list[0].Last.Code != "too_soon" || list[1].Last.Code != "sold_out" {
			t.Fatalf("u%d: %+v", i, list)
		}
	}
	if n := sets(); n > users || n < users/userWays {
		t.Errorf("%d sets for %d users", n, users)
	}
	r = NewRefusals(1 << 16)
	for i := range 200_000 {
		r.Add(refusal(int64(1_000_000+i), fmt.Sprint("v", i), "sold_out"))
	}
	if n := sets(); n != 1<<16/userWays {
		t.Errorf("%d sets when full", n)
	}
}

// A flood of one code leaves what was refused with others.
func TestRecent(t *testing.T) {
	r := NewRefusals(10)
	r.Add(refusal(1, "a1", "blacklisted"))
	nobody := refusal(2, "", "unauthenticated")
	nobody.Address = netip.MustParseAddr("198.51.100.7")
	r.Add(nobody)
	for at := range int64(3 * RingSize) {
		r.Add(refusal(3+at, "a2", "too_soon"))
	}
	for i, c := range []struct {
		q     Query
		count int
		first int64
	}{
		{Query{Limit: 10_000}, RingSize + 2, 3*RingSize + 2},
		{Query{Limit: 5}, 5, 3*RingSize + 2},
		{Query{User: "a1", Limit: 10}, 1, 1},
		{Query{User: "a9", Limit: 10}, 0, 0},
		{Query{Code: "unauthenticated", Limit: 10}, 1, 2},
		{Query{Network: netip.MustParsePrefix("198.51.100.0/24"), Limit: 10}, 1, 2},
		{Query{Code: "nothing", Limit: 10}, 0, 0},
	} {
		list := r.Recent(c.q)
		if len(list) != c.count || c.count > 0 && list[0].At != c.first {
			t.Errorf("%d: %d refusals, want %d", i, len(list), c.count)
		}
		for j := 1; j < len(list); j++ {
			if list[j].At > list[j-1].At {
				t.Fatalf("%d: not the latest first", i)
			}
		}
	}
}

// A flood is kept in part, over a time that can be looked at; a clock that goes back stops nothing.
func TestAFloodIsKeptInPart(t *testing.T) {
	r := NewRefusals(1000)
	for n := range 100 {
		r.Add(refusal(5, fmt.Sprint("a", n), "too_soon"))
		r.Add(refusal(5, "b", "sold_out"))
	}
	r.Add(refusal(4, "c", "too_soon"))
	if list := r.Recent(Query{Code: "too_soon", Limit: 1000}); len(list) != RingRate+1 || list[RingRate].User != "c" {
		t.Errorf("%d are kept: %+v", len(list), list)
	}
	if list := r.Recent(Query{Code: "sold_out", Limit: 1000}); len(list) != RingRate {
		t.Errorf("of the other code %d", len(list))
	}
	if list := r.OfUser("a99"); len(list) != 1 {
		t.Errorf("of a user in the flood: %+v", list)
	}
}

// Details that differ each time fill the catalogue; the codes are told apart nevertheless.
func TestReasonsAreBounded(t *testing.T) {
	r := NewRefusals(10)
	for i := range 3 * MaxReasons {
		x := refusal(int64(i+1), "a1", "invalid_request")
		x.Detail = fmt.Sprint("detail ", i)
		r.Add(x)
	}
	if n := len(r.reasons.known.Load().list); n > MaxReasons/2+2 {
		t.Errorf("%d reasons", n)
	}
	r.Add(refusal(1<<40, "a1", "sold_out"))
	list := r.OfUser("a1")
	if list[0].Last.Code != "sold_out" || list[1].Last.Code != "invalid_request" || list[1].Last.Detail != "" {
		t.Errorf("beyond the bound: %+v", list)
	}
	recent := r.Recent(Query{User: "a1", Limit: 1})
	if len(recent) != 1 || recent[0].Code != "sold_out" {
		t.Errorf("in full: %+v", recent)
	}
}

// What the comments say of the memory is so.
func TestSizes(t *testing.T) {
	if size := unsafe.Sizeof(userSet{}) / userWays; size != 144 {
		t.Errorf("%d bytes a user", size)
	}
	if size := unsafe.Sizeof(userShard{}); size != 64 {
		t.Errorf("a shard has %d bytes", size)
	}
}

func TestConcurrentUse(t *testing.T) {
	r := NewRefusals(100)
	top := NewTalkers[string]()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := range 2000 {
				user := fmt.Sprint("u", n%50)
				r.Add(refusal(int64(n+1), user, fmt.Sprint("code", i)))
				top.Add(user, 1, true, int64(n))
				if n%100 == 0 {
					r.Recent(Query{Limit: 10})
					top.Top(5, int64(n))
				}
				for _, reason := range r.OfUser(user) {
					if reason.Last.User != user || !strings.HasPrefix(reason.Last.Code, "code") {
						t.Errorf("%+v", reason)
					}
				}
			}
		})
	}
	group.Wait()
}

func TestRecordingAllocatesNothing(t *testing.T) {
	r := NewRefusals(1000)
	top := NewTalkers[string]()
	users := make([]string, 5000)
	for i := range users {
		users[i] = fmt.Sprint("u", i)
	}
	for i := range users {
		r.Add(refusal(int64(i+1), users[i], "sold_out"))
		r.Add(refusal(int64(i+1), "", "unauthenticated"))
	}
	one, nobody := refusal(1, "", "sold_out"), refusal(1, "", "unauthenticated")
	n := 0
	if allocs := testing.AllocsPerRun(2000, func() {
		n++
		one.At, one.User = int64(1000+n), users[n%len(users)]
		r.Add(one)
		r.Add(nobody)
		top.Add(users[n%len(users)], 8, true, int64(n))
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// Space-saving: no count is too low or above what it says, and whoever is more than 1/m of the stream is there.
func TestSketch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counters := rapid.IntRange(1, 8).Draw(t, "counters")
		parts := [2]*sketch[int]{newSketch[int](counters), newSketch[int](counters)}
		truth, refusedTruth, total := map[int]int64{}, map[int]int64{}, [2]int64{}
		perPart := [2]map[int]int64{{}, {}}
		for _, key := range rapid.SliceOfN(rapid.IntRange(0, 20), 0, 300).Draw(t, "keys") {
			part, refused := key%2, int64(key%3)/2
			key /= 2
			weight := int64(1 + key%2)
			parts[part].add(key, weight, refused)
			truth[key] += weight
			perPart[part][key] += weight
			refusedTruth[key] += refused
			total[part] += weight
		}
		found := map[int]bool{}
		for _, c := range merged(parts[0], parts[1]) {
			if c.Requests < truth[c.Key] || c.Requests-c.Above > truth[c.Key] || c.Refused > refusedTruth[c.Key] {
				t.Fatalf("%+v, in truth %d, refused %d", c, truth[c.Key], refusedTruth[c.Key])
			}
			found[c.Key] = true
		}
		for part, counts := range perPart {
			for key, count := range counts {
				if count*int64(counters) > total[part] && !found[key] {
					t.Fatalf("%d has %d of %d and is not among %d", key, count, total[part], counters)
				}
			}
		}
	})
}

func TestTalkersForget(t *testing.T) {
	top := NewTalkers[string]()
	at := func(d time.Duration) int64 { return int64(d) }
	expect := func(now int64, counted time.Duration, want ...string) {
		t.Helper()
		list, got := top.Top(10, now)
		words := []string{}
		for _, c := range list {
			words = append(words, fmt.Sprintf("%s %d/%d", c.Key, c.Requests, c.Refused))
		}
		if fmt.Sprint(words) != fmt.Sprint(want) || got != counted {
			t.Errorf("%v over %s, want %v over %s", words, got, want, counted)
		}
	}
	top.Add("a", 2, false, at(time.Second))
	top.Add("b", 3, true, at(time.Second))
	expect(at(31*time.Second), 30*time.Second, "b 3/3", "a 2/0")
	top.Add("a", 2, true, at(70*time.Second))
	expect(at(71*time.Second), 70*time.Second, "a 4/2", "b 3/3")
	top.Add("c", 1, false, at(131*time.Second))
	expect(at(132*time.Second), 62*time.Second, "a 2/2", "c 1/0")
	expect(at(10*time.Minute), 0)
}

func BenchmarkRefusalKnownUser(b *testing.B) {
	r := NewRefusals(100_000)
	one := refusal(1, "a1", "too_soon")
	for b.Loop() {
		one.At++
		r.Add(one)
	}
}

func BenchmarkRefusalRotatingUsers(b *testing.B) {
	r := NewRefusals(100_000)
	users := make([]string, 1<<20)
	for i := range users {
		users[i] = fmt.Sprint("user", i)
	}
	one := refusal(1, "", "sold_out")
	for n := 0; b.Loop(); n++ {
		one.At++
		one.User = users[n&(1<<20-1)]
		r.Add(one)
	}
}

// All processors record refusals with one code.
func BenchmarkRefusalParallel(b *testing.B) {
	r := NewRefusals(100_000)
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		one := refusal(1, fmt.Sprint("user", next.Add(1)), "too_soon")
		for pb.Next() {
			one.At++
			r.Add(one)
		}
	})
}

func BenchmarkTalkersRotating(b *testing.B) {
	top := NewTalkers[string]()
	users := make([]string, 1<<16)
	for i := range users {
		users[i] = fmt.Sprint("user", i)
	}
	for n := 0; b.Loop(); n++ {
		top.Add(users[n&(1<<16-1)], 8, true, int64(n))
	}
}
