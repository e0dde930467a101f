package main

import (
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
)

func TestEffortIsSmallButForLongWork(t *testing.T) {
	var set []effort
	is := func(want ...effort) {
		t.Helper()
		if !slices.Equal(set, want) {
			t.Errorf("efforts were set to %+v, want %+v", set, want)
		}
	}
	efforts := newEfforts(4, func(e effort) { set = append(set, e) })
	daily, long := effort{2, 25}, effort{5, 100}
	is(daily)
	first, second := efforts.longWork(), efforts.longWork()
	is(daily, long)
	first()
	first() // once is enough
	is(daily, long)
	second()
	is(daily, long, daily)
	efforts.longWork()()
	is(daily, long, daily, long, daily)
	for cores, want := range map[int]int{1: 1, 2: 1, 3: 1, 8: 4} {
		set = nil
		newEfforts(cores, func(e effort) { set = append(set, e) })
		is(effort{want, 25})
	}
}

// tuning is what the runtime is set to now.
func tuning() effort {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return effort{runtime.GOMAXPROCS(0), percent}
}

func TestEnvironmentSaysTheEffort(t *testing.T) {
	before := tuning()
	defer func() {
		runtime.GOMAXPROCS(before.threads)
		debug.SetGCPercent(before.garbage)
	}()
	t.Setenv("GOMAXPROCS", "3")
	t.Setenv("GOGC", "77")
	if chooseEfforts()(); tuning() != before {
		t.Errorf("the environment was not heeded: %+v, before %+v", tuning(), before)
	}
	t.Setenv("GOMAXPROCS", "")
	t.Setenv("GOGC", "")
	if done := chooseEfforts()(); tuning() != (effort{before.threads + 1, 100}) {
		t.Errorf("long work has %+v", tuning())
	} else if done(); tuning().garbage != 25 {
		t.Errorf("daily work has %+v", tuning())
	}
}
