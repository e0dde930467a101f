package replica

import (
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
)

// Memory is made ready for a sale that was opened, though nobody asks for it, and again while it sells.
func TestMemoryIsMadeReady(t *testing.T) {
	r := open(t, testConfig(t))
	ready(t, r)
	if !r.MemoryReady() {
		t.Error("memory is missing without a sale")
	}
	openSale(t, r, 3000)
	became := func(what string) {
		t.Helper()
		servicetest.Eventually(t, 30*time.Second, what, r.MemoryReady)
	}
	became("memory is ready for the sale")
	for user := range 600 { // more than a piece is for
		if _, err := propose(r, reserve(user)); err != nil {
			t.Fatal(err)
		}
	}
	r.stateMu.RLock()
	held := r.state.Totals().HeldOrders
	r.stateMu.RUnlock()
	if held != 600 {
		t.Fatalf("%d orders are held", held)
	}
	became("memory is ready for the rest of the sale")
}

// A short rush is left alone, a long one is not, and one that is over makes no difference.
func TestRush(t *testing.T) {
	var u rush
	var at time.Duration
	index := uint64(0)
	look := func(after time.Duration, entries uint64, want bool) {
		t.Helper()
		at, index = at+after, index+entries
		if got := u.look(index, at); got != want {
			t.Errorf("at %v, entry %d: rush %v, want %v", at, index, got, want)
		}
	}
	look(readyEvery, rushEntries-1, false)
	look(readyEvery, rushEntries, true)
	look(readyPause, 0, true) // too soon to tell
	began := at - readyPause
	for at+readyEvery < began+rushWait {
		look(readyEvery, rushEntries, true)
	}
	look(readyEvery, rushEntries, false)
	look(readyEvery, rushEntries, false)
	look(readyEvery, 0, false)
	look(readyPause, 1000, false) // too soon to tell
	look(readyEvery, 0, true)     // it was a new one
}
