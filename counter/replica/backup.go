package replica

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// Backup is a snapshot of the shard that lies on the disk, for reading. The file stays readable when the
// folder has moved on to a later snapshot.
type Backup struct {
	File    *os.File // the state as machine.Snapshot.WriteTo wrote it
	Size    int64    // bytes
	Applied uint64   // the last log entry in it
}

// Backup writes a snapshot and opens it; selling goes on meanwhile. It holds everything that was
// acknowledged before the call, so only the leader makes one. The caller closes File.
func (r *Replica) Backup(wait time.Duration) (*Backup, error) {
	if err := r.Latest(wait, func(*machine.State, Clock) {}); err != nil {
		return nil, err
	}
	if diskState(r.disk.Load()) != diskFine {
		return nil, notAccepted("the counter's disk is almost full, and a backup begins with a snapshot")
	}
	if err := r.Snapshot(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	store, err := raft.NewFileSnapshotStoreWithLogger(r.cfg.Dir, keptSnapshots, newRaftLog(r.cfg.Log))
	if err != nil {
		return nil, fmt.Errorf("%w: opening snapshots: %w", ErrNotAccepted, err)
	}
	kept, err := store.List()
	if err != nil || len(kept) == 0 {
		return nil, notAccepted("there is no snapshot to read")
	}
	file, err := os.Open(filepath.Join(r.cfg.Dir, snapFolder, kept[0].ID, stateFile))
	if err != nil { // a later one took its place: ask again
		return nil, fmt.Errorf("%w: opening the snapshot: %w", ErrNotAccepted, err)
	}
	return &Backup{File: file, Size: kept[0].Size, Applied: kept[0].Index}, nil
}
