package ratelimit

import (
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

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
		if f.shards[i].used > 0 {
			t.Errorf("shard %d still holds %v", i, f.shards[i].words)
		}
	}
}

// What is under way is counted as a map would count it, and takes no memory once a crowd is gone.
func TestInFlightCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f InFlight
		truth := map[uint64]int{}
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, 1000), 0, 500).Draw(t, "steps") {
			key := uint64(step%100) * shardCount // all in one shard
			if step%7 > 2 || truth[key] == 0 {
				if others := f.Enter(key); others != truth[key] {
					t.Fatalf("key %d: %d others, want %d", key, others, truth[key])
				}
				truth[key]++
				continue
			}
			f.Leave(key)
			if truth[key]--; truth[key] == 0 {
				delete(truth, key)
			}
		}
		listed := 0
		f.Each(func(key uint64) {
			listed++
			if key > 1 && truth[key] == 0 { // 0 and 1 are one
				t.Fatalf("key %d is listed", key)
			}
		})
		if listed != len(truth) {
			t.Fatalf("%d keys listed, want %d", listed, len(truth))
		}
		for key, count := range truth {
			for range count {
				f.Leave(key)
			}
		}
		if n := len(f.shards[0].words); n > inFlightKept*inFlightStride || f.shards[0].used != 0 {
			t.Fatalf("%d words kept, %d used", n, f.shards[0].used)
		}
	})
}

func TestAShardOfInFlightIsACacheLine(t *testing.T) {
	if size := unsafe.Sizeof(inFlightShard{}); size != 64 {
		t.Errorf("%d bytes", size)
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

func TestSeenIsTakenOut(t *testing.T) {
	s := NewSeen(4 * shardCount)
	for i := range uint64(6) {
		s.Add(i*shardCount, int64(i)) // two generations; 0 and 1 are forgotten
	}
	var out []uint64
	s.TakeOut(func(key uint64) bool { return key%(2*shardCount) == 0 }, func(key uint64) { out = append(out, key) })
	slices.Sort(out)
	if !slices.Equal(out, []uint64{2 * shardCount, 4 * shardCount}) {
		t.Errorf("took out %v", out)
	}
	if s.Has(2*shardCount) || !s.Has(3*shardCount) || !s.Has(5*shardCount) {
		t.Error("what is taken out is forgotten, and nothing else")
	}
	if until, forgot := s.LastForgot(); !forgot || until < 1 || until > 2 {
		t.Errorf("forgot %v until %d", forgot, until)
	}
}

func TestSeenChangesItsLimit(t *testing.T) {
	s := NewSeen(4 * shardCount) // two keys a generation and shard
	s.SetLimit(8 * shardCount)
	for i := range uint64(8) {
		s.Add(i*shardCount, int64(i))
	}
	for i := range uint64(8) {
		if !s.Has(i * shardCount) {
			t.Errorf("key %d is forgotten, with room for eight", i)
		}
	}
	s.SetLimit(2 * shardCount)
	for i := range uint64(4) {
		s.Add((100+i)*shardCount, 9)
	}
	if s.Has(0) || s.Has(7*shardCount) || !s.Has(103*shardCount) || !s.Has(102*shardCount) {
		t.Error("with room for two, the last two and no others are remembered")
	}
}
