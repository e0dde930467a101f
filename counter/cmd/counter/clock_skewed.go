//go:build skewedclock

package main

import (
	"os"
	"time"

	"headgate.example/counter"
)

// testOptions put the wall clock off by HEADGATE_CLOCK_SKEW, such as -400ms: a build for tests, which cannot change
// one process's clock otherwise.
func testOptions() []counter.Option {
	skew, err := time.ParseDuration(os.Getenv("HEADGATE_CLOCK_SKEW"))
	if err != nil {
		panic(err)
	}
	return []counter.Option{counter.WithClock(func() time.Time { return time.Now().Add(skew) })}
}
