package replica

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
	"headgate.example/lib/service/servicetest"
)

// fullSink is a snapshot on a disk that has become full: raft's sinks leave their folder behind then.
type fullSink struct{ raft.SnapshotSink }

func (fullSink) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
func (fullSink) Cancel() error             { return syscall.ENOSPC }

func TestFailedSnapshotLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		reserve int64
		full    bool
	}{
		"the disk is full":               {0, true},
		"the log's reserve is not taken": {1 << 60, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, trans := raft.NewInmemTransport("")
			sink, err := store.Create(raft.SnapshotVersionMax, 1, 1, raft.Configuration{}, 0, trans)
			if err != nil {
				t.Fatal(err)
			}
			opened := sink
			if c.full {
				sink = fullSink{sink}
			}
			state := machine.New(machine.Options{Shard: "s1"})
			p := &persister{snapshot: state.Snapshot(), dir: dir, reserve: c.reserve, longWork: func() func() { return func() {} }}
			if err := p.Persist(sink); err == nil || c.full && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("got %v", err)
			}
			_ = opened.Cancel() // as raft does
			left, err := os.ReadDir(filepath.Join(dir, snapFolder))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// The log takes its next file whole: with less than that free, the write that begins it would end the service.
func TestDiskReserveHoldsTheNextLogFile(t *testing.T) {
	for _, c := range []struct {
		minFree   int64
		segment   int
		low, full int64
	}{
		{64 << 20, 16 << 20, 64 << 20, 16<<20 + besideLog},
		{1 << 20, 16 << 20, 2 * (16<<20 + besideLog), 16<<20 + besideLog},
		{1 << 30, 16 << 20, 1 << 30, 256 << 20},
	} {
		cfg := Config{MinFreeBytes: c.minFree, SegmentBytes: c.segment}
		if low, full := cfg.reserves(); low != c.low || full != c.full {
			t.Errorf("min_free %d, log files of %d: low below %d and full below %d, want %d and %d", c.minFree, c.segment, low, full, c.low, c.full)
		}
	}
}

// While the disk is full nobody can confirm a hold, so none may run out.
func TestFullDiskStopsServedTime(t *testing.T) {
	cfg := testConfig(t)
	var elapsed atomic.Int64
	cfg.Monotonic = func() time.Duration { return time.Duration(elapsed.Load()) }
	r := open(t, cfg)
	ready(t, r)
	served := func() (ms int64) {
		if err := r.look(func(_ *machine.State, now Clock) { ms = now.Served }); err != nil {
			t.Fatal(err)
		}
		return ms
	}
	before := served()
	r.disk.Store(int64(diskFull))
	elapsed.Add(int64(900 * time.Millisecond))
	if now := served(); now != before {
		t.Errorf("served time went from %d to %d ms on a full disk", before, now)
	}
	r.disk.Store(int64(diskFine))
	elapsed.Add(int64(500 * time.Millisecond))
	if now := served(); now != before+500 {
		t.Errorf("served time went from %d to %d ms, 500 ms after the disk has space again", before, now)
	}
}

// A snapshot that failed, as on a full disk, is made up for once that is over, though the log grows no more.
func TestFailedSnapshotIsTriedAgain(t *testing.T) {
	cfg := testConfig(t)
	cfg.SnapshotEntries = 5
	r := open(t, cfg)
	ready(t, r)
	folder := filepath.Join(cfg.Dir, snapFolder)
	if err := errors.Join(os.Remove(folder), os.WriteFile(folder, []byte("in the way"), 0o600)); err != nil {
		t.Fatal(err)
	}
	openSale(t, r, 10)
	for i := range 8 {
		if _, err := propose(r, reserve(i)); err != nil {
			t.Fatal(err)
		}
	}
	servicetest.Eventually(t, 30*time.Second, "a snapshot fails", r.snapshotOwed.Load)
	if err := errors.Join(os.Remove(folder), os.Mkdir(folder, 0o700)); err != nil {
		t.Fatal(err)
	}
	servicetest.Eventually(t, 30*time.Second, "a snapshot is there", func() bool {
		kept, err := filepath.Glob(filepath.Join(folder, "*", "meta.json"))
		return err == nil && len(kept) == 1 && !r.snapshotOwed.Load()
	})
}

func TestRetryIsSpaced(t *testing.T) {
	var r retry
	var waits []int
	for waited := 1; len(waits) < 9; waited++ {
		if r.due() {
			waits = append(waits, waited)
			waited = 0
			r.count(syscall.ENOSPC)
		}
	}
	if want := []int{1, 1, 2, 4, 8, 16, 32, 60, 60}; !slices.Equal(waits, want) {
		t.Errorf("waited %v seconds, want %v", waits, want)
	}
	if r.count(nil); !r.due() {
		t.Error("after a success it still waits")
	}
}
