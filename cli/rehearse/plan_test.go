package rehearse

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// aCluster is what `make cluster` starts.
func aCluster() []Member {
	list := []Member{{"nginx", "nginx"}, {"rabbitmq", "rabbitmq"}, {"mariadb", "mariadb"}}
	for i := 1; i <= 3; i++ {
		list = append(list, Member{fmt.Sprintf("interceptor-%d", i), "interceptor"},
			Member{fmt.Sprintf("counter-s1-%d", i), "counter"}, Member{fmt.Sprintf("counter-s2-%d", i), "counter"})
	}
	for i := 1; i <= 2; i++ {
		list = append(list, Member{fmt.Sprintf("backend-%d", i), "backend"}, Member{fmt.Sprintf("consumer-%d", i), "consumer"})
	}
	return list
}

func drawnSpec(t *rapid.T) Spec {
	s := DefaultSpec()
	s.Seed = rapid.Uint64().Draw(t, "seed")
	s.Buyers = rapid.IntRange(1, 5000).Draw(t, "buyers")
	s.Stock = rapid.IntRange(1, 500).Draw(t, "stock")
	s.Duration = time.Duration(rapid.Int64Range(int64(MinDuration), int64(5*time.Minute)).Draw(t, "duration"))
	s.Faults = rapid.SliceOfNDistinct(rapid.SampledFrom(FaultKinds()), 0, 5, rapid.ID).Draw(t, "kinds")
	s.Lanes = rapid.IntRange(1, 4).Draw(t, "lanes")
	s.SameShard = rapid.Bool().Draw(t, "same shard")
	return s
}

// The same seed draws the same plan, whatever the order in which the members are told; another seed another.
func TestTheSameSeedDrawsTheSamePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec, members := drawnSpec(t), aCluster()
		one := Draw(spec, members)
		again := Draw(spec, rapid.Permutation(members).Draw(t, "members"))
		if !reflect.DeepEqual(one, again) || one.Digest() != again.Digest() {
			t.Fatalf("two plans of seed %d differ: %s and %s", spec.Seed, one.Digest(), again.Digest())
		}
		spec.Seed++
		if other := Draw(spec, members); other.Digest() == one.Digest() {
			t.Fatalf("seeds %d and %d draw the same plan", spec.Seed-1, spec.Seed)
		}
	})
}

// Choosing other faults changes nobody in the crowd.
func TestFaultsDoNotChangeTheCrowd(t *testing.T) {
	spec := DefaultSpec()
	spec.Duration = time.Minute
	calm := Draw(spec, nil)
	spec.Faults = FaultKinds()
	stormy := Draw(spec, aCluster())
	if !reflect.DeepEqual(calm.Buyers, stormy.Buyers) {
		t.Error("the crowd differs")
	}
	if len(calm.Faults) != 0 || len(stormy.Faults) < 5 || calm.Digest() == stormy.Digest() {
		t.Errorf("%d and %d faults, digests %s and %s", len(calm.Faults), len(stormy.Faults), calm.Digest(), stormy.Digest())
	}
}

// Faults are of the kinds that were asked for; no two of a lane, of a member or (unless asked for) of a shard
// are at work or healing at the same time.
func TestFaultsNeverOverlapIllegally(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec, members := drawnSpec(t), aCluster()
		kindOf, group := map[string]string{}, map[string]string{}
		for _, m := range members {
			kindOf[m.Name], group[m.Name] = m.Kind, m.group()
		}
		asked := map[FaultKind]bool{}
		for _, kind := range spec.Faults {
			asked[kind] = true
		}
		p := Draw(spec, members)
		for i, a := range p.Faults {
			if !asked[a.Kind] || kindOf[a.Member] == "" || a.Kind == Alarm && a.Member != "rabbitmq" || a.At < 0 || a.At > spec.Duration || a.Lane >= spec.Lanes {
				t.Fatalf("fault %+v was not asked for", a)
			}
			for _, b := range p.Faults[:i] {
				apart := a.At >= b.end() || b.At >= a.end()
				if !apart && (a.Lane == b.Lane || a.Member == b.Member || !spec.SameShard && group[a.Member] == group[b.Member]) {
					t.Fatalf("%+v and %+v overlap", b, a)
				}
			}
		}
	})
}

// A long rehearsal breaks each kind of member.
func TestEveryKindOfMemberIsBroken(t *testing.T) {
	spec := DefaultSpec()
	spec.Duration, spec.Faults = 100*time.Second, FaultKinds()
	for seed := range uint64(20) {
		spec.Seed = seed
		p := Draw(spec, aCluster())
		kinds := map[string]bool{}
		for _, f := range p.Faults {
			for _, m := range aCluster() {
				if m.Name == f.Member {
					kinds[m.Kind] = true
				}
			}
		}
		if len(kinds) != 7 {
			t.Errorf("seed %d breaks only %v", seed, kinds)
		}
		if first := p.Faults[0].At; first < p.Opens-time.Second || first > p.Opens+time.Second {
			t.Errorf("seed %d: the first fault comes at %s, the sale opens at %s", seed, first, p.Opens)
		}
	}
}

// Shares are respected, within what chance does with so many.
func TestSharesAreRespected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := DefaultSpec()
		s.Seed, s.Buyers, s.Duration = rapid.Uint64().Draw(t, "seed"), 20_000, time.Minute
		s.Fresh = rapid.Float64Range(0, 1).Draw(t, "fresh")
		s.Doubles = rapid.Float64Range(0, 0.5).Draw(t, "doubles")
		s.Bots = rapid.Float64Range(0, 0.5).Draw(t, "bots")
		s.Pay = rapid.Float64Range(0, 1).Draw(t, "pay")
		s.Cancel = rapid.Float64Range(0, 1).Draw(t, "cancel") * (1 - s.Pay)
		p := Draw(s, nil)
		shape := p.Shape()
		near := func(name string, count int, share float64) {
			n := float64(s.Buyers)
			if off := math.Abs(float64(count) - share*n); off > 6*math.Sqrt(n*share*(1-share))+1 {
				t.Errorf("%s: %d of %d, the share is %.3f", name, count, s.Buyers, share)
			}
		}
		near("fresh", shape.Fresh, s.Fresh)
		near("doubles", shape.Doubles, s.Doubles)
		near("bots", shape.Bots, s.Bots)
		near("cancel", shape.Cancels, s.Cancel*(1-s.Bots)) // a bot that would cancel pays
		near("abandon", shape.Abandons, 1-s.Pay-s.Cancel)
		for i, b := range p.Buyers {
			if b.At < 0 || b.At > s.Duration || i > 0 && b.At < p.Buyers[i-1].At {
				t.Fatalf("buyer %d comes at %s", i, b.At)
			}
			if b.Presses < 1 || b.Kind == Bot && b.Every < 10*time.Millisecond {
				t.Fatalf("buyer %d: %+v", i, b)
			}
		}
	})
}

// After the opening there is a spike: its first tenth has several times the presses of the last.
func TestTheOpeningIsASpike(t *testing.T) {
	s := DefaultSpec()
	s.Buyers, s.Duration = 20_000, time.Minute
	p := Draw(s, nil)
	tenth := (s.Duration - p.Opens) / 10
	first, last := 0, 0
	for _, b := range p.Buyers {
		switch {
		case b.At >= p.Opens && b.At < p.Opens+tenth:
			first++
		case b.At > s.Duration-tenth:
			last++
		}
	}
	if first < 6*last {
		t.Errorf("%d buyers in the first tenth after the opening, %d in the last", first, last)
	}
}

func TestSpecIsChecked(t *testing.T) {
	good := DefaultSpec()
	good.Duration = time.Minute
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Spec){
		"buyers": func(s *Spec) { s.Buyers = 0 }, "stock": func(s *Spec) { s.Stock = MaxStock + 1 }, "duration": func(s *Spec) { s.Duration = time.Second },
		"fresh": func(s *Spec) { s.Fresh = -1 }, "doubles": func(s *Spec) { s.Doubles, s.Bots = 0.6, 0.6 }, "pay": func(s *Spec) { s.Pay, s.Cancel = 0.6, 0.6 },
		"pay-within": func(s *Spec) { s.PayWithin = time.Second }, "hold-for": func(s *Spec) { s.HoldFor = 1 }, "probe-every": func(s *Spec) { s.ProbeEvery = 0 },
		"lanes": func(s *Spec) { s.Lanes = 5 }, "connections": func(s *Spec) { s.Connections = 1 }, "timeout": func(s *Spec) { s.Timeout = 0 },
		"settle-for": func(s *Spec) { s.SettleFor = 0 }, "faults": func(s *Spec) { s.Faults = []FaultKind{"flood"} },
	} {
		bad := good
		change(&bad)
		if err := bad.Check(); err == nil || err.Error()[:len(field)] != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
