package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/lib/durable"
)

// foundWithin bounds the wait for another voter that is about to start.
const (
	foundWithin = 10 * time.Second
	foundEvery  = 100 * time.Millisecond
)

// Bootstrap is the one-time act that begins the log of a shard with several voters: it writes their
// first configuration into this voter's empty folder. All others must be running, on empty folders:
// their folders' names go into the configuration, and since a running voter cannot be bootstrapped, no
// second one can begin another log. It is refused when one is away or has a log.
func Bootstrap(ctx context.Context, cfg Config) (err error) {
	if err := cfg.setDefaults(); err != nil {
		return err
	}
	if cfg.alone() {
		return errors.New("voters: none are configured; a lone voter has bootstrap: true in its config instead")
	}
	if err := durable.MkdirAll(cfg.Dir); err != nil {
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
	if err := r.meetOthers(ctx, foundWithin); err != nil {
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

// meetOthers asks the other voters who they are, and waits for each so long. It goes on to all of them,
// even when one is away.
func (r *Replica) meetOthers(ctx context.Context, within time.Duration) error {
	asking := &stream{self: self{id: r.id.Voter, shard: r.cfg.Shard, number: r.cfg.Number, folder: r.id.Folder, secret: []byte(r.cfg.RaftSecret)}, open: make(map[*wireConn]struct{})}
	asking.ctx, asking.cancel = context.WithCancel(ctx)
	defer asking.cancel()
	r.met = make(map[string]string)
	var away error
	for _, v := range r.cfg.Voters {
		if v.ID == r.id.Voter {
			continue
		}
		found, err := asking.await(v.Raft, within)
		switch {
		case err != nil:
			away = fmt.Errorf("voters: %s does not answer: start all other voters first, on empty folders: %w", v.ID, err)
		case found.last > 0:
			return fmt.Errorf("voters: %s has a log of %d entries: this shard lives already; start this voter without bootstrap, or under a new id that is brought in with VOTER.ADD", v.ID, found.last)
		case found.id != v.ID:
			return fmt.Errorf("voters: %s is voter %s, not %s", v.Raft, found.id, v.ID)
		default:
			r.met[v.ID] = found.folder
		}
	}
	return away
}

// await probes a voter until it answers.
func (s *stream) await(address string, within time.Duration) (probed, error) {
	deadline := time.Now().Add(within)
	again := time.NewTicker(foundEvery)
	defer again.Stop()
	for {
		found, err := s.probe(s.ctx, address)
		if err == nil || !time.Now().Before(deadline) {
			return found, err
		}
		select {
		case <-again.C:
		case <-s.ctx.Done():
			return probed{}, s.ctx.Err()
		}
	}
}

// firstConfiguration is all voters that the config names, with the folders of those that were met; a
// leader notes the others' when it first sees them.
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
			s.Address = peer{Voter: v, folder: r.met[v.ID]}.address()
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
