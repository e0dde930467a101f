//go:build !skewedclock

package main

import "headgate.example/counter"

// testOptions are those of a build for tests.
func testOptions() []counter.Option { return nil }
