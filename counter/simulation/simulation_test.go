package simulation

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// seedsAtOnce is how many seeds a plain test run tries.
const seedsAtOnce = 2000

// TestSeeds runs many seeds; HEADGATE_SIM_SEED=n runs just that one, and HEADGATE_SIM_FOR=1h goes on with
// ever other ones for that long. A violation prints its seed.
func TestSeeds(t *testing.T) {
	if text := os.Getenv("HEADGATE_SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("HEADGATE_SIM_SEED: %v", err)
		}
		report, err := Run(seed)
		t.Logf("%+v", report)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if text := os.Getenv("HEADGATE_SIM_FOR"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("HEADGATE_SIM_FOR: %v", err)
		}
		first := rand.Uint64() >> 16
		t.Logf("from seed %d on, for %v", first, d)
		end := time.Now().Add(d)
		total := run(t, first, func(uint64) bool { return time.Now().Before(end) })
		t.Log(total)
		return
	}
	n := uint64(seedsAtOnce)
	if testing.Short() {
		n = 200
	}
	total := run(t, 1, func(i uint64) bool { return i < n })
	t.Log(total)
	if r := total.Report; r.Crashes == 0 || r.Lost == 0 || r.Sold == 0 || r.Borrowed == 0 || r.SoldOut == 0 || r.Insufficient == 0 || r.NotOpen == 0 {
		t.Errorf("something never happened, so nothing was tested: %+v", r)
	}
}

// sum adds up reports.
type sum struct {
	Report
	seeds uint64
	took  time.Duration
}

func (s *sum) add(r Report) {
	s.seeds++
	for _, f := range [][2]*int{
		{&s.Entries, &r.Entries}, {&s.Lost, &r.Lost}, {&s.Crashes, &r.Crashes}, {&s.Messages, &r.Messages}, {&s.Sold, &r.Sold}, {&s.Borrowed, &r.Borrowed},
		{&s.Dry, &r.Dry}, {&s.SoldOut, &r.SoldOut}, {&s.Insufficient, &r.Insufficient}, {&s.NotOpen, &r.NotOpen},
	} {
		*f[0] += *f[1]
	}
	s.Settled += r.Settled
}

func (s *sum) String() string {
	return fmt.Sprintf("%d seeds in %v, %.0f a second; %v of virtual time, %d entries, %d messages, %d crashes, %d shards lost, %d orders sold, %d units borrowed, %d dry, refused: %d sold out, %d insufficient, %d not open",
		s.seeds, s.took.Round(time.Millisecond), float64(s.seeds)/s.took.Seconds(), s.Settled.Round(time.Second), s.Entries, s.Messages,
		s.Crashes, s.Lost, s.Sold, s.Borrowed, s.Dry, s.SoldOut, s.Insufficient, s.NotOpen)
}

// run tries seeds from first on, on all processors, while more says so and none fails.
func run(t *testing.T, first uint64, more func(i uint64) bool) *sum {
	t.Helper()
	var total sum
	var next atomic.Uint64
	var failed atomic.Bool
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !failed.Load() {
				i := next.Add(1) - 1
				if !more(i) {
					return
				}
				report, err := Run(first + i)
				mu.Lock()
				total.add(report)
				mu.Unlock()
				if err != nil && !failed.Swap(true) {
					t.Errorf("%v\nagain with HEADGATE_SIM_SEED=%d", err, first+i)
				}
			}
		})
	}
	wg.Wait()
	total.took = time.Since(began)
	return &total
}

// TestReplayable: a seed gives the same run each time.
func TestReplayable(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		first, err := Run(seed)
		second, again := Run(seed)
		if first != second || (err == nil) != (again == nil) {
			t.Fatalf("seed %d: %+v, then %+v", seed, first, second)
		}
	}
}
