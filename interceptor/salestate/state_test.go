package salestate

import (
	"fmt"
	"testing"
	"time"

	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

const (
	ms     = int64(time.Millisecond)
	second = int64(time.Second)
	opens  = int64(1_900_000_000_000)
)

var limits = Limits{MaxAge: 3 * time.Second, SoldOutFor: 500 * time.Millisecond}

func open() sale.Info {
	return sale.Info{ID: "1", OpensAt: opens, EndsAt: opens + 60_000, Stock: 10, Alloc: 10, Available: 10}
}

func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*sale.Info)
		wall   int64
		age    int64
		want   Verdict
	}{
		"open":                      {wall: opens, want: Verdict{Knowledge: Known}},
		"just before":               {wall: opens - 1, want: Verdict{Knowledge: Known, Code: problem.NotOpen, OpensAt: opens}},
		"paused goes before window": {change: func(i *sale.Info) { i.Paused = true }, wall: opens - 1, want: Verdict{Knowledge: Known, Code: problem.Paused}},
		"last millisecond":          {wall: opens + 59_999, want: Verdict{Knowledge: Known}},
		"ended":                     {wall: opens + 60_000, want: Verdict{Knowledge: Known, Code: problem.Ended}},
		"closed":                    {change: func(i *sale.Info) { i.Closed, i.Paused = true, true }, wall: opens, want: Verdict{Knowledge: Known, Code: problem.Ended}},
		"sold out":                  {change: func(i *sale.Info) { i.Available, i.Held = 0, 3 }, wall: opens, want: Verdict{Knowledge: Known, Code: problem.SoldOut, Held: 3}},
		"sold out is not believed for long": {change: func(i *sale.Info) { i.Available = 0 }, wall: opens, age: 501 * ms,
			want: Verdict{Knowledge: Known}},
		"between releases": {change: func(i *sale.Info) { i.Available, i.Scheduled, i.NextReleaseAt = 0, 5, opens+9000 }, wall: opens,
			want: Verdict{Knowledge: Known, Code: problem.NotOpen, OpensAt: opens + 9000}},
		"a release is due": {change: func(i *sale.Info) { i.Available, i.Scheduled, i.NextReleaseAt = 0, 5, opens+9000 }, wall: opens + 9000,
			want: Verdict{Knowledge: Known}},
		"one reading of several shards": {change: func(i *sale.Info) { i.Available, i.Shards = 0, []string{"s1", "s2"} }, wall: opens,
			want: Verdict{Knowledge: Known}},
		"two readings of several shards": {change: func(i *sale.Info) { i.Available, i.Held, i.Shards, i.Twice = 0, 3, []string{"s1", "s2"}, true }, wall: opens,
			want: Verdict{Knowledge: Known, Code: problem.SoldOut, Held: 3}},
		"old state still knows the window": {wall: opens - 1, age: 3 * second, want: Verdict{Knowledge: Known, Code: problem.NotOpen, OpensAt: opens}},
		"too old":                          {wall: opens - 1, age: 3*second + 1, want: Verdict{Knowledge: Stale}},
	} {
		t.Run(name, func(t *testing.T) {
			s, info := New(limits), open()
			if c.change != nil {
				c.change(&info)
			}
			s.Apply([]sale.Info{info}, second)
			if c.want.Knowledge == Known {
				c.want.Since = opens
			}
			if got := s.Look([]byte("1"), second+c.age, c.wall); got != c.want {
				t.Fatalf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestNothingIsKnownBeforeTheFirstAnswer(t *testing.T) {
	s := New(limits)
	if v := s.Look([]byte("1"), 0, opens); v.Knowledge != Stale {
		t.Fatalf("%+v", v)
	}
	s.Dry("1", 0, 0)
	s.Apply(nil, 0)
	if v := s.Look([]byte("1"), 0, opens); v.Knowledge != Missing {
		t.Fatalf("%+v", v)
	}
}

func TestDryMarkClearsItself(t *testing.T) {
	s := New(limits)
	s.Apply([]sale.Info{open()}, 0)
	look := func(mono int64) problem.Code { return s.Look([]byte("1"), mono, opens).Code }
	s.Dry("1", 2, 100*ms)
	if v := s.Look([]byte("1"), 100*ms, opens); v.Code != problem.SoldOut || v.Held != 2 {
		t.Fatalf("%+v", v)
	}
	if look(350*ms) != problem.SoldOut || look(351*ms) != "" {
		t.Fatal("the mark does not hold for exactly 250 ms")
	}
	s.Dry("1", 0, 400*ms)
	s.Apply([]sale.Info{open()}, 300*ms) // asked for before the verdict
	if look(450*ms) != problem.SoldOut {
		t.Fatal("an older answer cleared the mark")
	}
	s.Apply([]sale.Info{open()}, 450*ms)
	if look(460*ms) != "" {
		t.Fatal("returned stock did not clear the mark")
	}
}

func TestOffsetComesFromQuickExchanges(t *testing.T) {
	s := New(limits)
	s.Correct(opens+500, opens-10, 20*time.Millisecond)
	if got := s.Wall(opens); got != opens+500 {
		t.Fatalf("offset %d", got-opens)
	}
	s.Correct(opens+9000, opens, time.Second)
	s.Correct(0, opens, 0)
	if got := s.Wall(opens); got != opens+500 {
		t.Fatalf("offset %d after a slow exchange", got-opens)
	}
}

// At first a slow exchange is all there is, and better than a clock that may be off by hours.
func TestFirstOffsetComesFromAnyExchange(t *testing.T) {
	s := New(limits)
	s.Correct(opens, opens-3_600_000, time.Second)
	if got := s.Wall(opens - 3_600_000); got != opens-500 {
		t.Fatalf("off by %d", got-opens)
	}
	s.Correct(opens+100, opens-3_600_000, 20*time.Millisecond)
	if got := s.Wall(opens - 3_600_000); got != opens+90 {
		t.Fatalf("off by %d after a quick exchange", got-opens)
	}
}

func TestLookAllocatesNothing(t *testing.T) {
	s := New(limits)
	s.Apply([]sale.Info{open()}, 0)
	id := []byte("1")
	if n := testing.AllocsPerRun(100, func() { s.Look(id, 0, opens) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestAnOlderAnswerIsLeftOut(t *testing.T) {
	s := New(Limits{MaxAge: time.Hour, SoldOutFor: time.Hour})
	s.Apply([]sale.Info{{ID: "1"}}, 2)
	s.Apply([]sale.Info{{ID: "1", Available: 1}}, 1)
	if v := s.Look([]byte("1"), 3, 1); v.Code != problem.SoldOut {
		t.Errorf("%+v", v)
	}
}

func TestAbsenceIsBelievedForAsLongAsAnyVerdict(t *testing.T) {
	s := New(limits)
	s.Apply([]sale.Info{open()}, 0)
	s.Absent("none", 0)
	if got, want := s.Look([]byte("none"), VerdictFor.Nanoseconds(), opens), (Verdict{Knowledge: Missing, Code: problem.NotFound}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := s.Look([]byte("none"), VerdictFor.Nanoseconds()+1, opens), (Verdict{Knowledge: Missing}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	s.Absent("1", 0)
	if got := s.Look([]byte("1"), 1, opens); got.Knowledge != Known || got.Code != "" {
		t.Errorf("a sale that is listed: %+v", got)
	}
	for i := range 3 * maxAbsent {
		s.Absent(fmt.Sprint(i), 0)
	}
	if len(s.absent) > maxAbsent {
		t.Errorf("%d kept", len(s.absent))
	}
}
