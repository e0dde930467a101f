package hashring

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

func addresses(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("10.0.0.%d:8080", i+1)
	}
	return list
}

func mustNew(t testing.TB, members []string, p Params) *Ring {
	t.Helper()
	r, err := New(members, p)
	if err != nil {
		t.Fatalf("New(%q, %+v): %v", members, p, err)
	}
	return r
}

// memberSets draws sets of 1 to most names.
func memberSets(most int) *rapid.Generator[[]string] {
	name := rapid.StringMatching(`[a-z0-9.:-]{1,20}`)
	return rapid.SliceOfNDistinct(name, 1, most, rapid.ID[string])
}

func TestPlacementDependsOnTheSetOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := memberSets(12).Draw(t, "members")
		seed := rapid.Uint64().Draw(t, "seed")
		a, err := New(members, Params{})
		if err != nil {
			t.Fatal(err)
		}
		// By any order, and by joining one after another.
		shuffled := slices.Clone(members)
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(shuffled), func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		grown, err := New(shuffled[:1], Params{})
		for _, m := range shuffled[1:] {
			if err == nil {
				grown, err = grown.With(m)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if a.Epoch() != grown.Epoch() {
			t.Fatalf("epochs differ: %s and %s", a.Epoch(), grown.Epoch())
		}
		for partition := range a.owners {
			if a.owners[partition] != grown.owners[partition] {
				t.Fatalf("partition %d has owners %d and %d", partition, a.owners[partition], grown.owners[partition])
			}
		}
	})
}

func TestLeavingUndoesJoining(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := memberSets(10).Draw(t, "members")
		if len(members) < 2 {
			t.Skip("needs two")
		}
		a, err := New(members[1:], Params{})
		if err != nil {
			t.Fatal(err)
		}
		with, err := a.With(members[0])
		if err != nil {
			t.Fatal(err)
		}
		if with.Epoch() == a.Epoch() {
			t.Fatal("the epoch stayed when a member joined")
		}
		back, err := with.Without(members[0])
		if err != nil {
			t.Fatal(err)
		}
		if back.Epoch() != a.Epoch() || !slices.Equal(back.owners, a.owners) {
			t.Fatal("the ring differs after joining and leaving")
		}
	})
}

func TestSpreadIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := New(memberSets(40).Draw(t, "members"), Params{})
		if err != nil {
			t.Fatal(err)
		}
		bound := int(math.Ceil(float64(DefaultPartitions) / float64(r.Len()) * DefaultLoad))
		total := 0
		for _, s := range r.Shares() {
			total += s.Partitions
			if s.Partitions > bound {
				t.Fatalf("%s owns %d partitions of at most %d", s.Member, s.Partitions, bound)
			}
		}
		if total != DefaultPartitions {
			t.Fatalf("%d partitions are owned, of %d", total, DefaultPartitions)
		}
	})
}

func TestOwnersAreDistinctAndBeginWithTheOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := New(memberSets(9).Draw(t, "members"), Params{})
		if err != nil {
			t.Fatal(err)
		}
		key := rapid.String().Draw(t, "key")
		n := rapid.IntRange(-1, 12).Draw(t, "n")
		list := r.Owners(key, n)
		if want := min(max(n, 0), r.Len()); len(list) != want {
			t.Fatalf("%d owners, want %d", len(list), want)
		}
		if len(list) > 0 && list[0] != r.Owner(key) {
			t.Fatalf("the first is %s, the owner %s", list[0], r.Owner(key))
		}
		seen := map[string]bool{}
		for _, m := range list {
			if seen[m] || !r.Has(m) {
				t.Fatalf("owners %q: %q comes twice or is no member", list, m)
			}
			seen[m] = true
		}
		if !slices.Equal(list, r.Owners(key, n)) {
			t.Fatal("asked again, the order differs")
		}
	})
}

// A shorter list must be the beginning of a longer one, or raising n would reshuffle the fallbacks.
func TestOwnersOfFewerAreAPrefix(t *testing.T) {
	r := mustNew(t, addresses(7), Params{})
	for i := range 500 {
		key := fmt.Sprintf("u%06d", i)
		all := r.Owners(key, 7)
		for n := range all {
			if !slices.Equal(all[:n], r.Owners(key, n)) {
				t.Fatalf("key %s: %q of %d is no prefix of %q", key, r.Owners(key, n), n, all)
			}
		}
	}
}

func TestFallbacksSpreadOverAllOthers(t *testing.T) {
	r := mustNew(t, addresses(5), Params{})
	second := map[string]int{}
	for i := range 20_000 {
		if list := r.Owners(fmt.Sprintf("u%06d", i), 2); list[0] == "10.0.0.1:8080" {
			second[list[1]]++
		}
	}
	if len(second) != 4 {
		t.Fatalf("the fallbacks of one member are %v, want all four others", second)
	}
	total := 0
	for _, n := range second {
		total += n
	}
	for m, n := range second {
		if share := float64(n) / float64(total); share > 0.5 {
			t.Errorf("%s takes %.0f %% of a dead member's keys", m, share*100)
		}
	}
}

func TestAgreesWithTheLibrary(t *testing.T) {
	var members []consistent.Member
	for _, m := range addresses(6) {
		members = append(members, member(m))
	}
	theirs := consistent.New(members, consistent.Config{
		Hasher: hasher{}, PartitionCount: DefaultPartitions, ReplicationFactor: DefaultReplicas, Load: DefaultLoad,
	})
	ours := mustNew(t, addresses(6), Params{})
	for i := range 2000 {
		key := fmt.Sprintf("u%06d", i)
		if got, want := ours.Owner(key), theirs.LocateKey([]byte(key)).String(); got != want {
			t.Fatalf("owner of %s is %s, the library says %s", key, got, want)
		}
	}
}

// The placement is a contract between programs, and between a sale's opening and its end: it must not
// change with a library's version.
func TestPlacementIsPinned(t *testing.T) {
	r := mustNew(t, []string{"s1", "s2", "s3"}, Params{})
	const epoch, table = "9bc5c9806d6247fb", "b32cac892bacfdfc"
	var text strings.Builder
	for _, owner := range r.owners {
		text.WriteString(r.members[owner])
	}
	if r.Epoch() != epoch {
		t.Errorf("the epoch is %s, was %s", r.Epoch(), epoch)
	}
	if got := fmt.Sprintf("%016x", xxhash.Sum64String(text.String())); got != table {
		t.Errorf("the placement's hash is %s, was %s", got, table)
	}
	if got := r.Owner("u000001"); got != "s3" {
		t.Errorf("the owner of u000001 is %s", got)
	}
}

func TestEpochStandsForMembersAndParams(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []struct {
		members []string
		p       Params
	}{
		{[]string{"a", "b"}, Params{}},
		{[]string{"ab"}, Params{}},
		{[]string{"a", "b", "c"}, Params{}},
		{[]string{"a", "b"}, Params{Partitions: 273}},
		{[]string{"a", "b"}, Params{Replicas: 101}},
		{[]string{"a", "b"}, Params{Load: 1.06}},
	} {
		what := fmt.Sprintf("%q %+v", c.members, c.p)
		epoch := mustNew(t, c.members, c.p).Epoch()
		if other, ok := seen[epoch]; ok {
			t.Errorf("%s and %s share the epoch %s", what, other, epoch)
		}
		seen[epoch] = what
	}
	if a, b := mustNew(t, []string{"a"}, Params{}), mustNew(t, []string{"a"}, DefaultParams()); a.Epoch() != b.Epoch() {
		t.Error("zero parameters and the defaults have different epochs")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		members []string
		p       Params
		is      error
		says    string
	}{
		{name: "no members", is: ErrNoMembers},
		{name: "twice", members: []string{"a", "b", "a"}, is: ErrDuplicate, says: `"a"`},
		{name: "empty name", members: []string{"a", ""}, says: "1 to 256 bytes"},
		{name: "long name", members: []string{strings.Repeat("x", 257)}, says: "has 257"},
		{name: "too many for the partitions", members: addresses(4), p: Params{Partitions: 3}, says: "raise partitions"},
		{name: "too many", members: addresses(257), says: "at most 256"},
		{name: "partitions", members: []string{"a"}, p: Params{Partitions: -1}, says: "partitions"},
		{name: "many partitions", members: []string{"a"}, p: Params{Partitions: 70_000}, says: "partitions"},
		{name: "replicas", members: []string{"a"}, p: Params{Replicas: 2000}, says: "replicas"},
		{name: "load of 1", members: []string{"a"}, p: Params{Load: 1}, says: "load"},
		{name: "load not a number", members: []string{"a"}, p: Params{Load: math.NaN()}, says: "load"},
	} {
		_, err := New(c.members, c.p)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error is %v, want one that is %v and says %q", c.name, err, c.is, c.says)
		}
	}
	r := mustNew(t, []string{"a"}, Params{})
	if _, err := r.With("a"); !errors.Is(err, ErrDuplicate) {
		t.Errorf("joining twice: %v", err)
	}
	if _, err := r.Without("b"); !errors.Is(err, ErrNoMember) {
		t.Errorf("leaving without being there: %v", err)
	}
	if _, err := r.Without("a"); !errors.Is(err, ErrNoMembers) {
		t.Errorf("the last one leaving: %v", err)
	}
}

// As many members as partitions, and hardly any room, must still find a place for each partition.
func TestTightRings(t *testing.T) {
	for _, c := range []struct{ members, partitions int }{{1, 1}, {7, 7}, {256, 256}, {256, 271}, {255, 65521}} {
		r := mustNew(t, addresses(c.members), Params{Partitions: c.partitions, Replicas: 1, Load: 1.0001})
		total := 0
		for _, s := range r.Shares() {
			total += s.Partitions
		}
		if total != c.partitions {
			t.Errorf("%+v: %d partitions are owned", c, total)
		}
	}
}

func TestRingIsImmutable(t *testing.T) {
	given := []string{"c", "a", "b"}
	r := mustNew(t, given, Params{})
	owner := r.Owner("u1")
	given[0], given[1] = "x", "y"
	r.Members()[0] = "z"
	r.Owners("u1", 3)[0] = "z"
	if _, err := r.With("d"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Members(), []string{"a", "b", "c"}) || r.Owner("u1") != owner || r.Len() != 3 {
		t.Fatalf("the ring changed: %q", r.Members())
	}
}

func TestOwnerDoesNotAllocate(t *testing.T) {
	r := mustNew(t, addresses(12), Params{})
	if n := testing.AllocsPerRun(100, func() { _ = r.Owner("u000123") }); n != 0 {
		t.Errorf("Owner allocates %v times", n)
	}
}

func BenchmarkOwner(b *testing.B) {
	r := mustNew(b, addresses(12), Params{})
	b.ReportAllocs()
	for b.Loop() {
		r.Owner("u000123")
	}
}

func BenchmarkOwners3(b *testing.B) {
	r := mustNew(b, addresses(12), Params{})
	b.ReportAllocs()
	for b.Loop() {
		r.Owners("u000123", 3)
	}
}

func BenchmarkNew(b *testing.B) {
	for _, n := range []int{3, 12, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			members := addresses(n)
			for b.Loop() {
				if _, err := New(members, Params{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestPartitionOwnerAgreesWithOwner(t *testing.T) {
	r, err := New([]string{"c", "a", "b"}, DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	members := r.Members()
	for i := range 1000 {
		key := fmt.Sprintf("u%04d", i)
		if got := members[r.PartitionOwner(r.Partition(key))]; got != r.Owner(key) {
			t.Fatalf("%s: partition owner %s, owner %s", key, got, r.Owner(key))
		}
	}
}
