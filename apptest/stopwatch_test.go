package apptest

import (
	"sync/atomic"
	"testing"
	"time"
)

// stopwatch measures time as far as the machine lets programs run: of a moment in which this process is not served, and
// therefore the programs under test may not be either, it counts one tick. For claims of how soon something happens.
type stopwatch struct{ ticks atomic.Int64 }

const stopwatchTick = 5 * time.Millisecond

// startStopwatch starts one, which runs until the test ends.
func startStopwatch(t *testing.T) *stopwatch {
	w := &stopwatch{}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(stopwatchTick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C: // those that nobody took in time are lost
				w.ticks.Add(1)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return w
}

// now is what it shows.
func (w *stopwatch) now() time.Duration { return time.Duration(w.ticks.Load()) * stopwatchTick }
