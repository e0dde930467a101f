//go:build !race

package store_test

import (
	"testing"

	"headgate.example/lib/store/storetest"
)

// TestInterleavings asks one thing after the other, many thousand times: under the race detector, which has nothing
// to find here, SQLite's pure Go would take minutes.
func TestInterleavings(t *testing.T) {
	for name, configure := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // both wait for their disks
			storetest.Interleavings(t, storetest.Open(t, configure(t)))
		})
	}
}
