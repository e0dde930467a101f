package main

import (
	"slices"
	"testing"
)

func TestThreadsAreFewButForLongWork(t *testing.T) {
	var set []int
	is := func(want ...int) {
		t.Helper()
		if !slices.Equal(set, want) {
			t.Errorf("threads were set to %d, want %d", set, want)
		}
	}
	threads := newThreads(4, func(n int) { set = append(set, n) })
	is(2)
	first, second := threads.longWork(), threads.longWork()
	is(2, 5)
	first()
	first() // once is enough
	is(2, 5)
	second()
	is(2, 5, 2)
	threads.longWork()()
	is(2, 5, 2, 5, 2)
	for cores, want := range map[int]int{1: 1, 2: 1, 3: 1, 8: 4} {
		set = nil
		newThreads(cores, func(n int) { set = append(set, n) })
		is(want)
	}
}

func TestEnvironmentSaysHowManyThreads(t *testing.T) {
	t.Setenv("GOMAXPROCS", "3")
	if chooseThreads() != nil {
		t.Error("the environment was not heeded")
	}
}
