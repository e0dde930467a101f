package replica

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
	"headgate.example/lib/durable"
)

// The place in the log that a restored state takes. It is not the first: a voter with an empty log asks for
// entry 1, and where there is none, raft sends it the snapshot. With an entry 1 it would be sent the log
// from there on, and apply it to an empty state.
const (
	restoredIndex = 2
	restoredTerm  = 1
)

// restoreWait is how long each of the other voters is waited for.
const restoreWait = 2 * time.Second

// keyTerm is where raft keeps its term.
var keyTerm = []byte("CurrentTerm")

// Restore makes an empty folder the folder of a shard whose state is this one, as the snapshot that its log
// begins with. It is done once, offline, and for one voter: the others, if cfg names any, must be running, on empty
// folders, and are brought the state by the leader. It is refused when one of them is away, since it might
// come back with the old log, or has a log.
func Restore(ctx context.Context, cfg Config, state *machine.State) (err error) {
	if err := cfg.setDefaults(); err != nil {
		return err
	}
	if err := onlyEmpty(cfg.Dir); err != nil {
		return err
	}
	if err := durable.MkdirAll(cfg.Dir); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	cfg.Bootstrap = true
	r := &Replica{cfg: cfg, wall: newWallClock(cfg.Now, cfg.Monotonic), state: state}
	if r.lock, err = lockDir(cfg.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.closeFiles()) }()
	id, err := adopt(&cfg)
	if err != nil {
		return err
	}
	r.id = *id
	if !cfg.alone() {
		if err := r.meetOthers(ctx, restoreWait); err != nil {
			// Nothing was promised yet: the folder is empty again for the next attempt.
			return errors.Join(err, os.Remove(filepath.Join(cfg.Dir, identityFile)), os.Remove(filepath.Join(cfg.Dir, lockFile)))
		}
	}
	// First: a folder that was left half restored must never be taken for a new shard's.
	if err := r.rememberLog(); err != nil {
		return err
	}
	logs, err := r.openLog()
	if err != nil {
		return err
	}
	_, inmem := raft.NewInmemTransport("")
	r.trans = newWitness(inmem, cfg.Monotonic)
	if err := r.writeSnapshot(state); err != nil {
		return err
	}
	if err := r.wal.SetUint64(keyTerm, restoredTerm); err != nil {
		return fmt.Errorf("writing the log's term: %w", err)
	}
	// An empty log behind a snapshot would be a lost one, see checkLog.
	if err := logs.StoreLog(&raft.Log{Index: restoredIndex, Term: restoredTerm, Type: raft.LogNoop}); err != nil {
		return fmt.Errorf("writing the first log entry: %w", err)
	}
	return nil
}

// writeSnapshot writes the state as the newest snapshot, with the first configuration.
func (r *Replica) writeSnapshot(state *machine.State) error {
	store, err := openSnapshots(&r.cfg)
	if err != nil {
		return err
	}
	sink, err := store.Create(raft.SnapshotVersionMax, restoredIndex, restoredTerm, r.firstConfiguration(), restoredIndex, r.trans)
	if err != nil {
		return fmt.Errorf("beginning a snapshot in %s: %w", r.cfg.Dir, err)
	}
	if _, err := state.Snapshot().WriteTo(sink); err != nil {
		return errors.Join(fmt.Errorf("writing a snapshot in %s: %w", r.cfg.Dir, err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("writing a snapshot in %s: %w", r.cfg.Dir, err)
	}
	return nil
}

// onlyEmpty refuses a folder that holds anything at all; one that does not exist is as good as empty.
func onlyEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("data_dir: %s is not empty (it holds %s): a backup is restored into an empty folder only; move the old one away first", dir, entries[0].Name())
	}
	return nil
}
