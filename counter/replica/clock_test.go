package replica

import (
	"strings"
	"testing"
	"time"
)

func TestServedClock(t *testing.T) {
	c := newServedClock(5000, 10*time.Second)
	for _, step := range []struct {
		at      time.Duration
		stalled bool
		want    int64
	}{
		{10 * time.Second, false, 5000},
		{10*time.Second + 300*time.Millisecond, false, 5300},
		{11 * time.Second, true, 5300}, // the log stood still
		{11*time.Second + time.Millisecond, false, 5301},
		{time.Hour, false, 6301},   // the process stood still
		{time.Minute, false, 6301}, // never back
		{time.Hour + time.Millisecond, false, 6302},
	} {
		if got := c.millis(step.at, step.stalled); got != step.want {
			t.Errorf("at %s: %d, want %d", step.at, got, step.want)
		}
	}
}

func TestWallClockThatJumps(t *testing.T) {
	wall, monotonic := time.UnixMilli(1_000_000_000), time.Duration(0)
	c := newWallClock(func() time.Time { return wall }, func() time.Duration { return monotonic })
	step := func(w, m time.Duration) int64 {
		wall, monotonic = wall.Add(w), monotonic+m
		return c.millis() - 1_000_000_000
	}
	if got := step(time.Second, time.Second); got != 1000 {
		t.Errorf("after a second: %d", got)
	}
	if got := step(-30*time.Minute, time.Second); got != -1_799_000 {
		t.Errorf("half an hour back is believed: %d", got)
	}
	if got := step(3*time.Hour, time.Second); got != -1_798_000 || c.jump().Abs() <= maxWallJump {
		t.Errorf("three hours ahead are not believed: %d, jump %s", got, c.jump())
	}
	if got := step(-3*time.Hour+time.Second, time.Second); got > -1_796_000 || got < -1_798_000 || c.jump().Abs() > maxWallJump {
		t.Errorf("set right again: %d, jump %s", got, c.jump())
	}
}

// A clock that is wrong by decades would use up the range of order ids, for good.
func TestStartByAWrongClock(t *testing.T) {
	for when, right := range map[string]bool{
		"1970-01-01T00:00:12Z": false, "2023-12-31T23:59:59Z": false, "2024-01-01T00:00:00Z": true,
		"2026-11-22T08:00:00Z": true, "2092-01-01T00:00:00Z": true, "2093-01-01T00:00:00Z": false, "2150-01-01T00:00:00Z": false,
	} {
		now, err := time.Parse(time.RFC3339, when)
		if err != nil {
			t.Fatal(err)
		}
		cfg := testConfig(t)
		cfg.Now = func() time.Time { return now }
		r, err := Open(cfg)
		if right && err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if !right && (err == nil || !strings.Contains(err.Error(), "clock of this machine says "+when[:4])) {
			t.Errorf("%s: %v", when, err)
		}
		if err == nil {
			closeNow(t, r)
		}
	}
}
