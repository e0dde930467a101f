package replica

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"headgate.example/counter/machine"
	"headgate.example/lib/sale"
	"headgate.example/lib/service/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testConfig(t *testing.T) Config {
	return Config{Dir: t.TempDir(), Shard: "s1", Bootstrap: true, SegmentBytes: 1 << 20, Log: servicetest.Log(t)}
}

func open(t *testing.T, cfg Config) *Replica {
	t.Helper()
	r, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, r) })
	return r
}

func closeNow(t *testing.T, r *Replica) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func ready(t *testing.T, r *Replica) {
	t.Helper()
	servicetest.Eventually(t, 30*time.Second, "the replica leads", func() bool { return r.Ready() == nil })
}

func propose(r *Replica, commands ...machine.Command) ([]machine.Result, error) {
	c := NewCall()
	r.Add(c, commands...)
	if err := r.Propose(c); err != nil {
		return nil, err
	}
	return c.Results, c.Wait()
}

func openSale(t *testing.T, r *Replica, stock int64) {
	t.Helper()
	if err := tryOpenSale(r, stock); err != nil {
		t.Fatal(err)
	}
}

// tryOpenSale may be repeated: a sale that is open already is a conflict.
func tryOpenSale(r *Replica, stock int64) error {
	terms := &sale.Terms{
		ID: "1", Revision: 1, Stock: stock, OpensAt: 1767225600000, HoldForMillis: 30_000, RetainForMillis: 86_400_000,
		Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	}
	c := NewCall()
	r.Add(c, machine.Command{Kind: machine.OpenSale, Terms: terms}, machine.Command{Kind: machine.ResumeSale, Sale: "1", Revision: 2})
	if err := r.Propose(c); err != nil {
		return err
	}
	if err := c.Wait(); err != nil || c.Results[0].Code != machine.CodeOK && c.Results[0].Code != machine.CodeConflict || c.Results[1].Code != machine.CodeOK {
		return fmt.Errorf("opening a sale: %+v, %w", c.Results, err)
	}
	return nil
}

func reserve(user int) machine.Command {
	return machine.Command{Kind: machine.Reserve, Sale: "1", User: fmt.Sprintf("u%d", user), Quantity: 1}
}

func TestConcurrentCallersShareEntries(t *testing.T) {
	var groups, commands atomic.Int64
	cfg := testConfig(t)
	cfg.OnGroup = func(n int, _ time.Duration) {
		groups.Add(1)
		commands.Add(int64(n))
	}
	r := open(t, cfg)
	ready(t, r)
	openSale(t, r, 100_000)
	told := func(n int64) func() bool { return func() bool { return commands.Load() == n } }
	servicetest.Eventually(t, 30*time.Second, "the group of the sale's opening is told of", told(2)) // after its callers
	groups.Store(0)
	commands.Store(0)
	const callers, each = 64, 50
	var wait sync.WaitGroup
	for caller := range callers {
		wait.Go(func() {
			c := NewCall()
			for i := range each {
				c.Reset()
				r.Add(c, reserve(caller*each+i))
				if err := r.Propose(c); err != nil {
					t.Error(err)
					return
				}
				if err := c.Wait(); err != nil || c.Results[0].Code != machine.CodeReserved {
					t.Errorf("%+v, %v", c.Results, err)
				}
			}
		})
	}
	wait.Wait()
	servicetest.Eventually(t, 30*time.Second, "all groups are told of", told(callers*each))
	if groups.Load() > callers*each/4 {
		t.Errorf("%d commands in %d entries", commands.Load(), groups.Load())
	}
}

func TestCallsNeverSpanEntries(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxGroup = 10
	var largest atomic.Int64
	cfg.OnGroup = func(n int, _ time.Duration) { largest.Store(max(largest.Load(), int64(n))) }
	r := open(t, cfg)
	ready(t, r)
	c := NewCall()
	for i := range 10 {
		if !r.Add(c, reserve(i)) {
			t.Fatalf("command %d does not fit", i)
		}
	}
	if r.Add(c, reserve(10)) {
		t.Error("an eleventh command fits into ten")
	}
	restore := machine.Command{Kind: machine.RestoreSale, Restore: &machine.Restore{}}
	if c.Reset(); !r.Add(c, restore) || r.Add(c, reserve(1)) {
		t.Error("a restore does not have its entry for itself")
	}
	openSale(t, r, 1000)
	largest.Store(0)
	var wait sync.WaitGroup
	for caller := range 30 {
		wait.Go(func() {
			results, err := propose(r, reserve(3*caller), reserve(3*caller+1), reserve(3*caller+2))
			if err != nil || len(results) != 0 && len(results) != 3 {
				t.Errorf("%v, %v", results, err)
			}
		})
	}
	wait.Wait()
	if largest.Load() > 10 {
		t.Errorf("an entry of %d commands", largest.Load())
	}
}

// brokenLog fails or blocks writes when told to.
type brokenLog struct {
	raft.LogStore
	mu   sync.Mutex
	err  error
	hold chan struct{}
}

func (b *brokenLog) StoreLogs(logs []*raft.Log) error {
	b.mu.Lock()
	err, hold := b.err, b.hold
	b.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if err != nil {
		return err
	}
	return b.LogStore.StoreLogs(logs)
}

func (b *brokenLog) IsMonotonic() bool { return true }

func (b *brokenLog) set(err error, hold chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.hold = err, hold
}

func withBrokenLog(cfg *Config) *brokenLog {
	b := &brokenLog{}
	cfg.WrapLog = func(l raft.LogStore) raft.LogStore {
		b.LogStore = l
		return b
	}
	return b
}

// A write that fails has an unknown outcome; whatever comes after it is refused, and a restart serves
// again from what the disk holds.
func TestFailedWrite(t *testing.T) {
	cfg := testConfig(t)
	log := withBrokenLog(&cfg)
	r := open(t, cfg)
	ready(t, r)
	openSale(t, r, 10)
	if _, err := propose(r, reserve(1)); err != nil {
		t.Fatal(err)
	}
	log.set(fmt.Errorf("appending: %w", syscall.ENOSPC), nil)
	if _, err := propose(r, reserve(2)); !errors.Is(err, ErrUnknown) {
		t.Errorf("the failed write: %v", err)
	}
	log.set(nil, nil)
	if _, err := propose(r, reserve(3)); !errors.Is(err, ErrNotAccepted) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("after the failed write: %v", err)
	}
	select {
	case <-r.Failed():
	default:
		t.Error("the failure is not announced")
	}
	if err := r.Latest(5*time.Second, func(*machine.State, Clock) {}); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("a read after the failure: %v", err)
	}
	closeNow(t, r)

	cfg.WrapLog, cfg.Bootstrap = nil, false
	r = open(t, cfg)
	ready(t, r)
	if err := r.Latest(5*time.Second, func(s *machine.State, now Clock) {
		info, _ := s.Info("1", now.Wall)
		if orders, _ := s.UserOrders("1", "u1"); len(orders) != 1 || info.Held < 1 {
			t.Errorf("after the restart: %+v", info)
		}
	}); err != nil {
		t.Error(err)
	}
}

func TestFullQueueIsBusy(t *testing.T) {
	cfg := testConfig(t)
	log := withBrokenLog(&cfg)
	cfg.MaxQueued, cfg.MaxGroup, cfg.InFlight = 4, 2, 1
	r := open(t, cfg)
	ready(t, r)
	openSale(t, r, 100)
	hold := make(chan struct{})
	log.set(nil, hold)
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	var waiting []*Call
	for i := 0; ; i++ {
		c := NewCall()
		r.Add(c, reserve(i))
		err := r.Propose(c)
		if errors.Is(err, ErrBusy) {
			break
		}
		if err != nil || i > 20 {
			t.Fatalf("command %d: %v", i, err)
		}
		waiting = append(waiting, c)
	}
	if len(waiting) < 4 || len(waiting) > 6 {
		t.Errorf("%d commands were queued, want 4 and at most 2 in flight", len(waiting))
	}
	log.set(nil, nil)
	release()
	for i, c := range waiting {
		if err := c.Wait(); err != nil || c.Results[0].Code != machine.CodeReserved {
			t.Errorf("command %d: %v, %+v", i, err, c.Results)
		}
	}
}

func TestCloseAnswersEverybody(t *testing.T) {
	cfg := testConfig(t)
	cfg.FinalSnapshot = true
	r := open(t, cfg)
	ready(t, r)
	openSale(t, r, 1_000_000)
	var wait sync.WaitGroup
	var done, refused atomic.Int64
	started := make(chan struct{}, 64)
	for caller := range 16 {
		wait.Go(func() {
			for i := 0; ; i++ {
				_, err := propose(r, reserve(caller*1_000_000+i))
				switch {
				case err == nil:
					done.Add(1)
				case errors.Is(err, ErrNotAccepted):
					refused.Add(1)
					return
				default:
					t.Errorf("while closing: %v", err)
					return
				}
				if i == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 16 {
		<-started
	}
	closeNow(t, r)
	wait.Wait()
	if refused.Load() != 16 {
		t.Errorf("%d callers were refused", refused.Load())
	}
	cfg.Bootstrap = false
	r = open(t, cfg)
	ready(t, r)
	if err := r.Latest(5*time.Second, func(s *machine.State, now Clock) {
		if info, _ := s.Info("1", now.Wall); info.Held != done.Load() {
			t.Errorf("%d are held, %d were acknowledged", info.Held, done.Load())
		}
	}); err != nil {
		t.Error(err)
	}
}

func TestLowDisk(t *testing.T) {
	cfg := testConfig(t)
	r := open(t, cfg)
	ready(t, r)
	openSale(t, r, 10)
	results, err := propose(r, reserve(1))
	_ = results
	if err != nil {
		t.Fatal(err)
	}
	r.disk.Store(int64(diskLow))
	if _, err := propose(r, reserve(2)); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("a reservation on an almost full disk: %v", err)
	}
	if _, err := propose(r, machine.Command{Kind: machine.Confirm, Order: 1}); err != nil {
		t.Errorf("a confirmation on an almost full disk: %v", err)
	}
	r.disk.Store(int64(diskFull))
	if _, err := propose(r, machine.Command{Kind: machine.Confirm, Order: 1}); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("a confirmation on a full disk: %v", err)
	}
	if free, err := freeBytes(os.TempDir()); err != nil || free <= 0 {
		t.Errorf("free space: %d, %v", free, err)
	}
}

func TestReadersShareVerifications(t *testing.T) {
	now := atomic.Int64{}
	cfg := testConfig(t)
	cfg.Monotonic = func() time.Duration { return time.Duration(now.Load()) }
	r := open(t, cfg)
	ready(t, r)
	look := func() {
		t.Helper()
		if err := r.Fresh(5*time.Second, func(*machine.State, Clock) {}); err != nil {
			t.Error(err)
		}
	}
	now.Store(int64(time.Second))
	look()
	if got := r.verifier.verified.Load(); got != int64(time.Second) {
		t.Fatalf("verified at %d", got)
	}
	now.Store(int64(time.Second + verifiedFor/4))
	look()
	if got := r.verifier.verified.Load(); got != int64(time.Second) {
		t.Errorf("a fresh verification was repeated at %d", got)
	}
	late := int64(time.Second + verifiedFor)
	now.Store(late)
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(look)
	}
	wait.Wait()
	if got := r.verifier.verified.Load(); got != late {
		t.Errorf("after %s the leader was verified at %d", verifiedFor, got)
	}
}

func TestFate(t *testing.T) {
	for err, want := range map[error]error{
		raft.ErrNotLeader: ErrNotAccepted, raft.ErrEnqueueTimeout: ErrNotAccepted, raft.ErrLeadershipTransferInProgress: ErrNotAccepted,
		raft.ErrLeadershipLost: ErrUnknown, raft.ErrRaftShutdown: ErrUnknown, raft.ErrAbortedByRestore: ErrUnknown, syscall.EIO: ErrUnknown,
	} {
		if got := fate(err); !errors.Is(got, want) || !errors.Is(got, err) {
			t.Errorf("%v: %v", err, got)
		}
	}
}
