package replica

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/lib/sale"
)

// Config says where a replica lives and what bounds it. Zero fields take the default named beside
// them.
type Config struct {
	Dir    string // the data folder; one process at a time
	Shard  string // the shard's name; the folder remembers it
	Number int    // the shard's number, 0 to sale.MaxShard; the folder remembers it

	// Bootstrap makes a new log when Dir is empty. Without it an empty Dir stops the start. On a Dir
	// that holds a log it does nothing.
	Bootstrap bool
	// Voters are the shard's voters, this one included. The log decides who really is: they count for
	// Bootstrap, and for this one's own addresses. Empty: this one alone, for good.
	Voters []Voter
	// VoterID is this voter's id among Voters. Alone and empty: one is made up and kept in Dir.
	VoterID string
	// RaftSecret is shown by voters to each other. Empty: anybody who can connect is believed.
	RaftSecret string
	// RaftListen is host:port for the other voters. Empty: nothing listens, which suits one voter.
	RaftListen string
	// Transport replaces RaftListen in tests of several voters.
	Transport raft.Transport

	MaxQueued       int           // commands waiting for the log; beyond it ErrBusy. Default 65536
	MaxGroup        int           // commands in one log entry. Default 2048
	InFlight        int           // log entries proposed and not being applied yet. Default 2
	SnapshotBytes   int64         // log bytes between snapshots, or the size of the last one if larger. Default 64 MiB
	SnapshotEntries int64         // log entries between snapshots. Default 200000
	TrailingLogs    int           // entries kept behind a snapshot, for voters that lag. Default 10240; alone 128
	SegmentBytes    int           // size of a log file. Default 16 MiB
	MinFreeBytes    int64         // of the disk; below it, or two log files, nothing new is accepted. Default 64 MiB
	TickEvery       time.Duration // how often time alone is looked at. Default 20 ms
	FinalSnapshot   bool          // take a snapshot in Close, for a faster start

	Log *slog.Logger
	// Now is the wall clock that stamps entries. Default time.Now.
	Now func() time.Time
	// Monotonic is the clock that served time and leader verification count by. Default: the
	// process's own.
	Monotonic func() time.Duration
	// OnGroup is told of each group of commands that was applied, and how long that took.
	OnGroup func(commands int, took time.Duration)
	// LongWork brackets what computes for long: snapshots, audits, recovery. Default: nothing.
	LongWork func() (done func())
	// Progress is told how recovery comes along. Default: one that only logs.
	Progress *Progress
	// WrapLog lets tests make the log fail.
	WrapLog func(raft.LogStore) raft.LogStore
}

// verifiedFor is how long a leader may answer from memory after a verification began.
const verifiedFor = 100 * time.Millisecond

func (c *Config) setDefaults() error {
	if c.Dir == "" {
		return fmt.Errorf("data_dir: is empty")
	}
	if err := sale.CheckName("shard.name", c.Shard); err != nil {
		return err
	}
	if c.Number < 0 || c.Number > sale.MaxShard {
		return fmt.Errorf("shard.number: must be 0 to %d, is %d", sale.MaxShard, c.Number)
	}
	if c.RaftListen == "" && c.Transport == nil && !c.alone() {
		return fmt.Errorf("raft_listen: is empty, and there are voters")
	}
	if c.alone() && c.Transport == nil {
		c.RaftListen = "" // there is nobody to hear
	}
	orInt(&c.MaxQueued, 65536)
	orInt(&c.MaxGroup, 2048)
	orInt(&c.InFlight, 2)
	orInt(&c.SnapshotBytes, 64<<20)
	orInt(&c.SnapshotEntries, 200_000)
	if c.alone() {
		orInt(&c.TrailingLogs, 128) // enough to see that the log reaches back to the snapshot
	}
	orInt(&c.TrailingLogs, 10_240)
	orInt(&c.SegmentBytes, 16<<20)
	orInt(&c.MinFreeBytes, 64<<20)
	orInt(&c.TickEvery, 20*time.Millisecond)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = NewProgress(c.Log)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := checkClock(c.Now()); err != nil {
		return err
	}
	if c.Monotonic == nil {
		start := time.Now()
		c.Monotonic = func() time.Duration { return time.Since(start) }
	}
	if c.OnGroup == nil {
		c.OnGroup = func(int, time.Duration) {}
	}
	if c.LongWork == nil {
		c.LongWork = func() func() { return func() {} }
	}
	return nil
}

func orInt[T int | int64 | time.Duration](field *T, otherwise T) {
	if *field == 0 {
		*field = otherwise
	}
}

// alone: no other voter, now or later.
func (c *Config) alone() bool { return len(c.Voters) == 0 }

// raftConfig has short time-outs for a lone voter, who has nobody to wait for.
func (c *Config) raftConfig(id string, alone bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(id)
	rc.Logger = newRaftLog(c.Log)
	rc.NoLegacyTelemetry = true
	rc.ShutdownOnRemove = false
	rc.HeartbeatTimeout = 500 * time.Millisecond
	rc.ElectionTimeout = 500 * time.Millisecond
	rc.LeaderLeaseTimeout = 400 * time.Millisecond
	rc.TrailingLogs = uint64(c.TrailingLogs)
	if alone {
		rc.HeartbeatTimeout = 50 * time.Millisecond
		rc.ElectionTimeout = 50 * time.Millisecond
		rc.LeaderLeaseTimeout = 50 * time.Millisecond
	}
	// Snapshots are asked for by bytes and entries, see snapshotLoop.
	rc.SnapshotInterval = 365 * 24 * time.Hour
	rc.SnapshotThreshold = 1 << 62
	return rc
}
