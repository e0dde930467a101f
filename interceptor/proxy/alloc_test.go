//go:build !race

package proxy

import "testing"

func TestAdmitDoesNotAllocate(t *testing.T) {
	u := pool(t, 3, nil)
	if n := testing.AllocsPerRun(1000, func() {
		a, _, _ := u.Admit()
		a.End()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
