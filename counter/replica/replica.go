package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"

	"headgate.example/counter/machine"
	"headgate.example/counter/replica/logfiles"
	"headgate.example/lib/durable"
)

// Replica is one voter of a shard's log with the state it leads to. Make one with Open; all methods
// are safe for concurrent use.
type Replica struct {
	cfg   Config
	id    identity
	raft  *raft.Raft
	wal   *wal.WAL
	found *logfiles.Log // as the start found it
	files *logfiles.FS  // what wal writes through
	lock  *os.File
	trans *witness
	net   *stream // nil without a network of its own
	wall  *wallClock

	// stateMu guards state: Apply writes, everyone else reads. Nothing else is locked inside it.
	stateMu sync.RWMutex
	state   *machine.State
	applied atomic.Uint64
	// freezing has room for the one caller of Frozen.
	freezing chan struct{}

	// tenure is nil unless this voter leads and its barrier has passed.
	tenure   atomic.Pointer[tenure]
	verifier *verifier
	queue    *queue
	members  *members
	newest   atomic.Int64      // newestFormat
	held     atomic.Int64      // the newest version of entries that were applied
	met      map[string]string // folders of the other voters, when a log is begun
	office   sync.Mutex        // held while a tenure begins, ends by hand-over, or may not begin
	leaving  bool              // under office: no tenure begins
	retake   chan struct{}

	// The last step of recovery.
	applying           atomic.Bool
	applyFrom, applyTo uint64 // set before the loops begin, as is
	applyDone          func()

	logBytes   atomic.Int64 // applied since the last snapshot
	logEntries atomic.Int64
	// snapshotBytes is the size of the last snapshot this process wrote.
	snapshotBytes atomic.Int64
	snapshotOwed  atomic.Bool  // the last one failed
	disk          atomic.Int64 // a diskState

	failure    atomic.Pointer[error]
	failed     chan struct{} // closed with failure
	failedOnce sync.Once

	stop      chan struct{} // ends the loops
	down      chan struct{} // closed when raft has stopped
	loops     sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// Open opens or bootstraps the folder, recovers the state, and starts to look for a leader. It returns
// before there is one: Ready tells. Damage stops it with an error that names the file.
func Open(cfg Config) (_ *Replica, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	defer cfg.LongWork()()
	if err := durable.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	r := &Replica{cfg: cfg, failed: make(chan struct{}), stop: make(chan struct{}), down: make(chan struct{}), retake: make(chan struct{}, 1), freezing: make(chan struct{}, 1)}
	r.wall = newWallClock(cfg.Now, cfg.Monotonic)
	r.verifier = newVerifier()
	r.members = newMembers()
	r.queue = newQueue(cfg.MaxQueued)
	r.state = machine.New(r.machineOptions())
	if r.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.closeFiles()
		}
	}()
	id, err := adopt(&cfg)
	if err != nil {
		return nil, err
	}
	r.id = *id
	r.checkDisk()
	if err := r.startRaft(); err != nil {
		return nil, err
	}
	r.newest.Store(machine.EntryVersion)
	if r.net != nil {
		r.newest.Store(unsaidVersion) // until the others have said what they read
	}
	for _, loop := range []func(){r.leadershipLoop, r.verifyLoop, r.commitLoop, r.tickLoop, r.upkeepLoop, r.membersLoop, r.readyLoop} {
		r.loops.Add(1)
		go func() {
			defer r.loops.Done()
			loop()
		}()
	}
	return r, nil
}

func (r *Replica) machineOptions() machine.Options {
	return machine.Options{Shard: r.cfg.Shard, Number: r.cfg.Number}
}

func (r *Replica) logDir() string { return filepath.Join(r.cfg.Dir, logFolder) }

func (r *Replica) startRaft() error {
	snapshots, err := openSnapshots(&r.cfg)
	if err != nil {
		return err
	}
	logs, err := r.openLog()
	if err != nil {
		return err
	}
	if err := r.dropCovered(snapshots); err != nil {
		return err
	}
	if err := r.checkLog(snapshots); err != nil {
		return err
	}
	if err := r.openTransport(); err != nil {
		return err
	}
	rc := r.cfg.raftConfig(r.id.Voter, r.cfg.alone())
	if err := r.bootstrap(rc, logs, snapshots); err != nil {
		return err
	}
	if kept, err := snapshots.List(); err == nil && len(kept) > 0 {
		r.cfg.Progress.begin(stepLoad, "bytes", kept[0].Size)
	}
	machineFSM := &fsm{r: r}
	started, err := guardPanic(func() (*raft.Raft, error) { return raft.NewRaft(rc, machineFSM, logs, r.wal, snapshots, r.trans) })
	if err == nil && machineFSM.restoreErr != nil {
		err = errors.Join(machineFSM.restoreErr, started.Shutdown().Error())
	} else if machineFSM.restoreErr != nil {
		err = machineFSM.restoreErr
	}
	if err != nil {
		return fmt.Errorf("recovering from %s: %w", r.cfg.Dir, err)
	}
	r.raft = started
	r.cfg.Progress.end(stepLoad)
	r.noteApplied(started.AppliedIndex())
	r.beginApplying()
	if r.net != nil {
		r.net.serve(voteAfter)
	}
	return nil
}

// openLog opens the write-ahead log; r.wal is also where raft keeps its term and vote.
func (r *Replica) openLog() (raft.LogStore, error) {
	dir := r.logDir()
	if err := durable.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("making the log's folder: %w", err)
	}
	r.cfg.Progress.begin(stepFiles, "files", 0)
	found, err := logfiles.Recover(dir, r.cfg.Log, r.cfg.Progress.reachOf)
	if err != nil {
		return nil, err
	}
	r.cfg.Progress.end(stepFiles)
	r.found, r.files = found, logfiles.NewFS(found)
	opened, err := guardPanic(func() (*wal.WAL, error) {
		return wal.Open(dir, wal.WithSegmentSize(r.cfg.SegmentBytes), wal.WithLogger(newRaftLog(r.cfg.Log)), wal.WithSegmentFiler(segment.NewFiler(dir, r.files)))
	})
	if err != nil {
		return nil, fmt.Errorf("log %s is damaged: %w", dir, err)
	}
	r.wal = opened
	var logs raft.LogStore = opened
	if r.cfg.WrapLog != nil {
		logs = r.cfg.WrapLog(logs)
	}
	// Followers that keep up, and this voter's own state machine, get entries from memory.
	return raft.NewLogCache(cachedEntries, &guardedLog{LogStore: logs, failed: r.fail})
}

// cachedEntries is more than are in flight at a time. An entry has up to some 100 KB, a part of a restore 4 MiB.
const cachedEntries = 16

// guardPanic turns a panic of a library that met damaged files into an error.
func guardPanic[T any](open func() (T, error)) (opened T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged: %v", p)
		}
	}()
	return open()
}

func (r *Replica) openTransport() error {
	var w wire
	switch {
	case r.cfg.Transport != nil:
		given, ok := r.cfg.Transport.(wire)
		if !ok {
			return fmt.Errorf("transport: %T has no pre-vote", r.cfg.Transport)
		}
		w = given
	case r.cfg.RaftListen == "":
		_, w = raft.NewInmemTransport("")
	default:
		me := self{
			id: r.id.Voter, shard: r.cfg.Shard, number: r.cfg.Number, folder: r.id.Folder, secret: []byte(r.cfg.RaftSecret), reads: machine.EntryVersion,
			log: func() (last, applied uint64) { return r.raft.LastIndex(), r.raft.AppliedIndex() }, wall: r.wall.millis, folderOf: r.folderOf,
		}
		net, err := listenRaft(r.cfg.RaftListen, r.own().address(), me)
		if err != nil {
			return err
		}
		r.net = net
		w = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: net, MaxPool: pooledConns, Timeout: wireTimeout, Logger: newRaftLog(r.cfg.Log),
		})
	}
	r.trans = newWitness(w, r.cfg.Monotonic)
	return nil
}

// bootstrap writes the first configuration into an empty log, once.
func (r *Replica) bootstrap(rc *raft.Config, logs raft.LogStore, snapshots raft.SnapshotStore) error {
	exists, err := raft.HasExistingState(logs, r.wal, snapshots)
	empty, emptyErr := nothingKept(logs, snapshots)
	switch {
	case err != nil || emptyErr != nil:
		return fmt.Errorf("log %s is damaged: %w", r.logDir(), errors.Join(err, emptyErr))
	case exists && empty && !r.id.Bootstrapped:
		return fmt.Errorf("log %s is empty: the first start on %s was cut off, empty the folder and start again", r.logDir(), r.cfg.Dir)
	case empty && r.id.Bootstrapped:
		return fmt.Errorf("log %s is empty, but %s says that this shard had one: restore the folder", r.logDir(), identityFile)
	case !exists && !r.cfg.Bootstrap && r.cfg.alone():
		return fmt.Errorf("data_dir: the first start on %s was not finished: set bootstrap: true once more", r.cfg.Dir)
	case !exists && !r.cfg.Bootstrap:
		return nil // it waits until a leader of the others brings it the log
	case !exists:
		if err := raft.BootstrapCluster(rc, logs, r.wal, snapshots, r.trans, r.firstConfiguration()); err != nil {
			return fmt.Errorf("bootstrapping %s: %w", r.cfg.Dir, err)
		}
	}
	return r.rememberLog()
}

// rememberLog notes that the folder must hold a log from now on.
func (r *Replica) rememberLog() error {
	if r.id.Bootstrapped {
		return nil
	}
	r.id.Bootstrapped = true
	return r.id.write(r.cfg.Dir)
}

// nothingKept reports whether there is no entry and no snapshot; raft may have kept a term all the same.
func nothingKept(logs raft.LogStore, snapshots raft.SnapshotStore) (bool, error) {
	last, err := logs.LastIndex()
	if err != nil {
		return false, err
	}
	kept, err := snapshots.List()
	return last == 0 && len(kept) == 0, err
}

// noteApplied is for what raft brings without telling the state machine the index: snapshots and its
// own entries.
func (r *Replica) noteApplied(index uint64) {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	r.applied.Store(max(index, r.applied.Load()))
}

// fail ends this replica's service for good: the log can no longer be written.
func (r *Replica) fail(err error) {
	r.failedOnce.Do(func() {
		r.failure.Store(&err)
		r.tenure.Store(nil)
		r.cfg.Log.Error("the counter's log cannot be written: refusing everything until a restart", "error", err, "dir", r.cfg.Dir)
		close(r.failed)
	})
}

// Failed is closed when the log can no longer be written; Err then says why.
func (r *Replica) Failed() <-chan struct{} { return r.failed }

// Err is why the replica failed, or nil.
func (r *Replica) Err() error {
	if err := r.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Close stops in this order: no new commands; those queued and in flight are answered while raft still
// runs (up to the context's end); the loops, which may be waiting for raft; the final snapshot, which
// needs raft's FSM; raft itself and its transport; the log; the folder's lock.
func (r *Replica) Close(ctx context.Context) error {
	r.closeOnce.Do(func() {
		r.queue.close()
		r.queue.drained(ctx)
		r.queue.stop()
		close(r.stop)
		r.loops.Wait()
		if r.cfg.FinalSnapshot && r.Err() == nil && r.logEntries.Load() > 0 {
			if err := r.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
				r.cfg.Log.Warn("no final snapshot: the next start replays the log", "error", err)
			}
		}
		r.tenure.Store(nil)
		r.closeErr = r.raft.Shutdown().Error()
		close(r.down)
		r.queue.settled()
		r.closeErr = errors.Join(r.closeErr, r.closeFiles())
	})
	return r.closeErr
}

// closeFiles closes what is open, in the reverse order of opening.
func (r *Replica) closeFiles() error {
	var errs []error
	if r.trans != nil && r.cfg.Transport == nil {
		errs = append(errs, r.trans.Close())
	}
	if r.wal != nil {
		errs = append(errs, io.Closer(r.wal).Close(), r.files.Note())
	}
	return errors.Join(append(errs, r.lock.Close())...)
}
