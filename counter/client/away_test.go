package client

import (
	"errors"
	"testing"
	"time"
)

// markClock is a client's marks on a clock that tests move.
func markClock() (*marks, func(time.Duration)) {
	now := time.Unix(1_900_000_000, 0)
	return &marks{now: func() time.Time { return now }}, func(d time.Duration) { now = now.Add(d) }
}

func TestMarksGrowAndLetOneAsk(t *testing.T) {
	m, pass := markClock()
	if err := m.pass("1", "s1"); err != nil {
		t.Fatal(err)
	}
	m.done("1", "s1", ErrUnavailable)
	for _, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second} {
		var away *AwayError
		if err := m.pass("1", "s1"); !errors.As(err, &away) || away.RetryAfter != want || !errors.Is(err, ErrUnavailable) {
			t.Fatalf("marked: %v, want a wait of %s", err, want)
		}
		if err := m.pass("1", "s2"); err != nil {
			t.Errorf("another shard: %v", err)
		}
		if err := m.pass("2", "s1"); err != nil {
			t.Errorf("another sale: %v", err)
		}
		pass(want)
		if err := m.pass("1", "s1"); err != nil {
			t.Errorf("after the mark one asks: %v", err)
		}
		if err := m.pass("1", "s1"); !errors.As(err, &away) || away.RetryAfter <= 0 {
			t.Errorf("while one asks: %v", err)
		}
		m.done("1", "s1", ErrUnknown)
	}
	pass(maxMark)
	if err := m.pass("1", "s1"); err != nil {
		t.Fatal(err)
	}
	m.done("1", "s1", nil)
	for range 2 {
		if err := m.pass("1", "s1"); err != nil {
			t.Errorf("after an answer: %v", err)
		}
	}
}

func TestAFailureThatWasUnderWayDoesNotGrowAMark(t *testing.T) {
	m, pass := markClock()
	for range 100 {
		m.done("1", "s1", ErrUnavailable)
	}
	pass(firstMark)
	if err := m.pass("1", "s1"); err != nil {
		t.Error(err)
	}
}

func TestAnAnsweringShardIsAskedAtOnce(t *testing.T) {
	m, _ := markClock()
	m.done("1", "s1", ErrUnavailable)
	m.heard("1", []string{"s1", "s2"})
	if err := m.pass("1", "s1"); err != nil {
		t.Errorf("all shards have answered since: %v", err)
	}
	var away *AwayError
	if err := m.pass("1", "s1"); !errors.As(err, &away) {
		t.Errorf("but one asks for all: %v", err)
	}
}
