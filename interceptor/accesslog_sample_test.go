package interceptor

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSampleLetsSoManyASecondThrough(t *testing.T) {
	var s sample
	s.perSecond.Store(3)
	for second := range int64(3) {
		for i := range 10 {
			at := second*int64(time.Second) + int64(i)*int64(10*time.Millisecond)
			if got := s.pass(at); got != (i < 3) {
				t.Errorf("second %d, refusal %d: %v", second, i, got)
			}
		}
	}
	if s.pass(0) {
		t.Error("a late comer of an earlier second opened a new one")
	}
	none := sample{}
	if none.pass(0) || none.pass(int64(time.Hour)) {
		t.Error("one passed where none may")
	}
}

func TestSampleCountsConcurrently(t *testing.T) {
	var s sample
	s.perSecond.Store(100)
	var passed atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				if s.pass(0) {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if passed.Load() != 100 {
		t.Errorf("%d passed", passed.Load())
	}
}
