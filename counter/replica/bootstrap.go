package replica

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/raft"
)

// Bootstrap is the one-time act that begins the log of a shard with several voters: it writes their
// first configuration into this voter's empty folder. The other voters just start on empty folders.
// It is refused when another voter already has a log.
func Bootstrap(ctx context.Context, cfg Config) (err error) {
	if err := cfg.setDefaults(); err != nil {
		return err
	}
	if cfg.alone() {
		return errors.New("voters: none are configured; a lone voter has bootstrap: true in its config instead")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	cfg.Bootstrap = true
	r := &Replica{cfg: cfg, wall: newWallClock(cfg.Now, cfg.Monotonic)}
	if r.lock, err = lockDir(cfg.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.closeFiles()) }()
	known, err := readIdentity(cfg.Dir)
	if err != nil {
		return err
	}
	if known != nil && known.Bootstrapped {
		return fmt.Errorf("data_dir: %s holds the log of voter %s already: just start the counter", cfg.Dir, known.Voter)
	}
	id, err := adopt(&cfg)
	if err != nil {
		return err
	}
	r.id = *id
	if err := r.othersAreEmpty(ctx); err != nil {
		return err
	}
	snapshots, err := openSnapshots(&cfg)
	if err != nil {
		return err
	}
	logs, err := r.openLog()
	if err != nil {
		return err
	}
	_, inmem := raft.NewInmemTransport("")
	r.trans = newWitness(inmem, cfg.Monotonic)
	return r.bootstrap(cfg.raftConfig(r.id.Voter, false), logs, snapshots)
}

// othersAreEmpty asks those of the other voters that run whether the shard lives already.
func (r *Replica) othersAreEmpty(ctx context.Context) error {
	asking := &stream{self: self{id: r.id.Voter, shard: r.cfg.Shard, number: r.cfg.Number, folder: r.id.Folder, secret: []byte(r.cfg.RaftSecret)}, open: make(map[*wireConn]struct{})}
	asking.ctx, asking.cancel = context.WithCancel(ctx)
	defer asking.cancel()
	for _, v := range r.cfg.Voters {
		if v.ID == r.id.Voter {
			continue
		}
		if found, err := asking.probe(ctx, v.Raft); err == nil && found.last > 0 {
			return fmt.Errorf("voters: %s has a log of %d entries: this shard lives already; start this voter without bootstrap, or under a new id that is brought in with VOTER.ADD", v.ID, found.last)
		}
	}
	return nil
}

// firstConfiguration is all voters that the config names. The others' folders are noted when they are
// first seen.
func (r *Replica) firstConfiguration() raft.Configuration {
	if r.cfg.alone() {
		return raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(r.id.Voter), Address: r.trans.LocalAddr()}}}
	}
	var first raft.Configuration
	for _, v := range r.cfg.Voters {
		s := raft.Server{ID: raft.ServerID(v.ID), Address: raft.ServerAddress(v.Raft)}
		switch {
		case r.cfg.Transport != nil:
		case v.ID == r.id.Voter:
			s.Address = r.own().address()
		default:
			s.Address = peer{Voter: v}.address()
		}
		first.Servers = append(first.Servers, s)
	}
	return first
}

// dropCovered removes a log that ends before the newest snapshot. Among several voters a leader may
// have sent the snapshot, and the process may have died before the older log was removed. A lone
// voter's log never ends there: see checkLog.
func (r *Replica) dropCovered(snapshots raft.SnapshotStore) error {
	if r.cfg.alone() {
		return nil
	}
	kept, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("listing snapshots: %w", err)
	}
	first, firstErr := r.wal.FirstIndex()
	last, lastErr := r.wal.LastIndex()
	if err := errors.Join(firstErr, lastErr); err != nil {
		return fmt.Errorf("log %s is damaged: %w", r.logDir(), err)
	}
	if len(kept) == 0 || last == 0 || last >= kept[0].Index {
		return nil
	}
	r.cfg.Log.Warn("removing a log that ends before the snapshot that a leader sent", "last", last, "snapshot", kept[0].Index)
	if err := r.wal.DeleteRange(first, last); err != nil {
		return fmt.Errorf("removing the log before the newest snapshot: %w", err)
	}
	return nil
}
