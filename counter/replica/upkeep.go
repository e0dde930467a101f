package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
	"headgate.example/lib/sale"
)

// tickLoop asks for an entry when time alone changes something: an expiry, a staged release, a purge.
func (r *Replica) tickLoop() {
	tick := time.NewTicker(r.cfg.TickEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.tickOnce()
		case <-r.stop:
			return
		}
	}
}

func (r *Replica) tickOnce() {
	var due bool
	if err := r.look(func(s *machine.State, now Clock) { due = s.Due(now.Wall, now.Served) }); err != nil {
		return // not leading
	}
	if due && diskState(r.disk.Load()) != diskFull {
		r.queue.askTick()
	}
}

// noteLogEvery is how often it is noted how far the log was written. Each note costs two syncs beside
// the log's own.
const noteLogEvery = 5

// upkeepLoop takes snapshots when enough log has gathered, watches the disk, and has it noted how far the
// log was written.
func (r *Replica) upkeepLoop() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var again retry
	for second := 1; ; second++ {
		select {
		case <-tick.C:
			r.checkDisk()
			owed := r.snapshotOwed.Load()
			if owed && again.due() || !owed && r.snapshotDue() {
				again.count(r.Snapshot())
			}
			if second%noteLogEvery == 0 {
				r.noteLog()
			}
		case <-r.stop:
			return
		}
	}
}

// snapshotDue: as much log as the last snapshot took, since a large state would be written again and again.
func (r *Replica) snapshotDue() bool {
	return r.logBytes.Load() >= max(r.cfg.SnapshotBytes, r.snapshotBytes.Load()) || r.logEntries.Load() >= r.cfg.SnapshotEntries
}

func (r *Replica) noteLog() {
	if err := r.files.Note(); err != nil {
		r.cfg.Log.Error("cannot note how far the log was written", "error", err)
	}
}

// retry spaces the attempts after a failed snapshot: 1 s, doubling to a minute.
type retry struct{ wait, left int } // seconds

// due is asked once a second.
func (a *retry) due() bool {
	a.left--
	return a.left <= 0
}

func (a *retry) count(err error) {
	if err == nil {
		*a = retry{}
		return
	}
	a.wait = min(max(2*a.wait, 1), 60)
	a.left = a.wait
}

// Snapshot writes the state to disk and drops the log that it covers. After a failure it is owed: upkeep
// tries again soon, however little the log has grown since.
func (r *Replica) Snapshot() error {
	err := r.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		err = nil
	}
	r.snapshotOwed.Store(err != nil)
	if err != nil {
		r.cfg.Log.Error("the counter could not take a snapshot; the log grows", "error", err)
		return fmt.Errorf("taking a snapshot in %s: %w", r.cfg.Dir, err)
	}
	return nil
}

// diskState is how much is left of the disk.
type diskState int64

const (
	diskFine diskState = iota
	diskLow            // nothing new begins
	diskFull           // nothing at all is written
)

// besideLog is kept free for what goes with the next file of the log: its place in the log's index, and the
// note that it was begun.
const besideLog = 256 << 10

// reserves gives the free bytes below which the disk is low, and full: MinFreeBytes and a quarter of it, but
// never less than the next file of the log, which is taken whole and without which writing fails for good.
func (c *Config) reserves() (low, full int64) {
	full = max(c.MinFreeBytes/4, int64(c.SegmentBytes)+besideLog)
	return max(c.MinFreeBytes, 2*full), full
}

func (r *Replica) checkDisk() {
	free, err := freeBytes(r.cfg.Dir)
	if err != nil {
		r.cfg.Log.Error("cannot see how much of the disk is free", "error", err)
		return
	}
	low, full := r.cfg.reserves()
	now := diskFine
	switch {
	case free < full:
		now = diskFull
	case free < low:
		now = diskLow
	}
	if was := diskState(r.disk.Swap(int64(now))); was != now {
		r.cfg.Log.Warn("free disk space of the counter changed", "dir", r.cfg.Dir, "free_bytes", free, "low_below", low, "full_below", full)
	}
}

// diskAllows refuses in time: a log write that fails for want of space would end the service. What is
// already promised (confirm, abort, release) goes on until the last quarter of the reserve.
func (r *Replica) diskAllows(c *Call) error {
	switch diskState(r.disk.Load()) {
	case diskFull:
		return notAccepted("the counter's disk is full")
	case diskLow:
		if c.begins {
			return notAccepted("the counter's disk is almost full")
		}
	}
	return nil
}

// Status is the replica as INFO, metrics and health checks show it.
type Status struct {
	Voter      string
	State      string // raft's: Leader, Follower, Candidate, Shutdown
	Serving    bool   // leads, with its barrier passed
	Term       uint64
	LastIndex  uint64
	Applied    uint64
	Voters     int
	Leader     string   // the leader's id as far as this voter knows, or ""
	Members    []Member // in the log's order
	Queued     int      // commands
	InFlight   int      // log entries
	LogBytes   int64
	Format     int // the newest version that log entries are written in, if this voter leads
	DiskLow    bool
	WallJump   time.Duration // how far the wall clock is off; believed up to an hour
	WallBehind time.Duration // how far the wall clock is behind the last order id
	Err        error
}

// Status looks at everything without waiting.
func (r *Replica) Status() Status {
	s := Status{
		Voter: r.id.Voter, State: r.raft.State().String(), Serving: r.tenure.Load() != nil,
		Term: r.raft.CurrentTerm(), LastIndex: r.raft.LastIndex(), Applied: r.raft.AppliedIndex(),
		Voters: len(r.raft.GetConfiguration().Configuration().Servers), LogBytes: r.logBytes.Load(), Format: r.newestFormat(),
		DiskLow: diskState(r.disk.Load()) != diskFine, WallJump: r.wall.jump(), Err: r.Err(),
	}
	_, leader := r.raft.LeaderWithID()
	s.Leader, s.Members = string(leader), r.Members()
	s.Queued, s.InFlight = r.queue.depth()
	wall := r.wall.millis()
	r.stateMu.RLock()
	if last := r.state.LastOrder(); last > 0 {
		s.WallBehind = time.Duration(max(0, sale.EpochMillis+last.IDMillis()-wall)) * time.Millisecond
	}
	r.stateMu.RUnlock()
	return s
}

// ClockTrusted reports whether the wall clock is within what is believed; an operator settles it by
// setting the clock and restarting.
func (s Status) ClockTrusted() bool { return s.WallJump.Abs() <= maxWallJump }
