package replica

import (
	"fmt"
	"sync"
	"time"

	"headgate.example/lib/sale"
)

const (
	// maxServedStep bounds what one look at the monotonic clock adds to served time. The ticker looks
	// many times a second, so a longer step is a pause of this process, not service.
	maxServedStep = time.Second
	// maxWallJump is how far the wall clock may move against the monotonic one before it is believed
	// no longer.
	maxWallJump = time.Hour
)

// idReserve is how much of the range of order ids a start leaves: a clock that is wrong by decades would
// use the range up, and since id time never goes back, for good.
const idReserve = 365 * 24 * time.Hour

// checkClock refuses a start by a clock that cannot be right.
func checkClock(now time.Time) error {
	first, last := sale.Epoch, sale.Epoch.Add(sale.MaxIDTime*time.Millisecond-idReserve)
	if now.Before(first) || now.After(last) {
		return fmt.Errorf("the clock of this machine says %s: order ids can be made from %s to %s; set the clock, then start again",
			now.UTC().Format(time.RFC3339), first.Format(time.DateOnly), last.Format(time.DateOnly))
	}
	return nil
}

// servedClock counts the time in which this voter led and could serve.
type servedClock struct {
	mu    sync.Mutex
	total time.Duration
	last  time.Duration // the monotonic clock at the last look
}

func newServedClock(servedMillis int64, monotonic time.Duration) *servedClock {
	return &servedClock{total: time.Duration(servedMillis) * time.Millisecond, last: monotonic}
}

// millis looks at the clock. While stalled, the time passes without being counted: nobody could have
// confirmed a hold.
func (c *servedClock) millis(monotonic time.Duration, stalled bool) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if step := monotonic - c.last; step > 0 && !stalled {
		c.total += min(step, maxServedStep)
	}
	c.last = max(c.last, monotonic)
	return c.total.Milliseconds()
}

// wallClock gives the wall time, unless it jumped by more than maxWallJump while the process ran:
// then it goes on by the monotonic clock until an operator restarts the program.
type wallClock struct {
	now       func() time.Time
	monotonic func() time.Duration

	mu     sync.Mutex
	wall   time.Time
	at     time.Duration
	jumped time.Duration
}

func newWallClock(now func() time.Time, monotonic func() time.Duration) *wallClock {
	return &wallClock{now: now, monotonic: monotonic, wall: now(), at: monotonic()}
}

// millis is the wall time in milliseconds since 1970.
func (c *wallClock) millis() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, at := c.now(), c.monotonic()
	expected := c.wall.Add(at - c.at)
	if c.jumped = wall.Sub(expected).Round(time.Second); c.jumped.Abs() > maxWallJump {
		return expected.UnixMilli()
	}
	c.wall, c.at = wall, at
	return wall.UnixMilli()
}

// jump is by how much the clock is off what it should be; beyond maxWallJump it is not believed.
func (c *wallClock) jump() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jumped
}
