//go:build !race

package proxy

import "testing"

func TestAdmitDoesNotAllocate(t *testing.T) {
	for _, calm := range []bool{true, false} {
		u := pool(t, 3, nil)
		u.calm.Store(calm)
		if n := testing.AllocsPerRun(1000, func() {
			a, _, _ := u.Admit()
			a.End()
		}); n != 0 {
			t.Errorf("calm %v: %v allocations", calm, n)
		}
	}
}
