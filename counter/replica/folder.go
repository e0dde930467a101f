package replica

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
	"headgate.example/lib/durable"
)

// What lies in the data folder.
const (
	lockFile     = "lock"
	identityFile = "shard.json"
	logFolder    = "log"
	snapFolder   = "snapshots" // raft's name for it
	stateFile    = "state.bin" // in each snapshot; raft's name for it
)

const identityVersion = 1

// keptSnapshots remain when a new one is written.
const keptSnapshots = 2

// identity is what the folder remembers of its owner, so that a copied config cannot make two shards
// mint the same ids.
type identity struct {
	Version      int    `json:"version"`
	Voter        string `json:"voter"`
	Shard        string `json:"shard"`
	Number       int    `json:"number"`
	Bootstrapped bool   `json:"bootstrapped"` // the folder must hold a log
	Folder       string `json:"folder"`       // random, so that a wiped voter is told from the one it was
}

// readIdentity returns nil when the folder has none.
func readIdentity(dir string) (*identity, error) {
	path := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading whose folder this is: %w", err)
	}
	var id identity
	switch err := json.Unmarshal(text, &id); {
	case errors.As(err, new(*json.SyntaxError)):
		return nil, fmt.Errorf("%s is damaged: offset %d: %w", path, jsonOffset(err), err)
	case err != nil:
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	case id.Version < 1 || id.Version > identityVersion:
		return nil, fmt.Errorf("%s has format version %d, this program reads up to %d: run a newer one", path, id.Version, identityVersion)
	case id.Voter == "" || id.Shard == "":
		return nil, fmt.Errorf("%s is damaged: voter or shard is missing", path)
	}
	return &id, nil
}

// jsonOffset is where a syntax error lies.
func jsonOffset(err error) int64 {
	var syntax *json.SyntaxError
	errors.As(err, &syntax)
	return syntax.Offset
}

func (id *identity) write(dir string) error {
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", identityFile, err)
	}
	return durable.WriteFile(filepath.Join(dir, identityFile), append(text, '\n'))
}

// adopt reads or makes the folder's identity, and refuses a folder of another shard.
func adopt(cfg *Config) (*identity, error) {
	id, err := readIdentity(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if id == nil {
		if err := checkEmpty(cfg); err != nil {
			return nil, err
		}
		id = &identity{Version: identityVersion, Voter: cfg.VoterID, Shard: cfg.Shard, Number: cfg.Number, Folder: newFolderName()}
		if id.Voter == "" {
			id.Voter = "v" + strings.ToLower(rand.Text()[:12])
		}
		return id, id.write(cfg.Dir)
	}
	path := filepath.Join(cfg.Dir, identityFile)
	switch {
	case id.Shard != cfg.Shard || id.Number != cfg.Number:
		return nil, fmt.Errorf("shard: data_dir %s belongs to shard %q, number %d (%s), the config says %q, number %d", cfg.Dir, id.Shard, id.Number, path, cfg.Shard, cfg.Number)
	case cfg.VoterID != "" && cfg.VoterID != id.Voter:
		return nil, fmt.Errorf("data_dir %s belongs to voter %q (%s), not %q", cfg.Dir, id.Voter, path, cfg.VoterID)
	}
	if id.Folder == "" { // written by a version that knew one voter only
		id.Folder = newFolderName()
		return id, id.write(cfg.Dir)
	}
	return id, nil
}

func checkEmpty(cfg *Config) error {
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return fmt.Errorf("reading the data folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() != lockFile && e.Name() != identityFile+".tmp" {
			return fmt.Errorf("data_dir: %s holds %s but no %s: give an empty folder, or restore the whole one", cfg.Dir, e.Name(), identityFile)
		}
	}
	if !cfg.Bootstrap && cfg.alone() {
		return fmt.Errorf("data_dir: %s is empty: set bootstrap: true for the very first start of this shard, or restore its folder", cfg.Dir)
	}
	return nil
}

// openSnapshots removes what a crash left half written, and reads every snapshot once, since raft
// would pass over a damaged one and start from older state.
func openSnapshots(cfg *Config) (*raft.FileSnapshotStore, error) {
	store, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, keptSnapshots, newRaftLog(cfg.Log))
	if err != nil {
		return nil, fmt.Errorf("opening snapshots: %w", err)
	}
	folder := filepath.Join(cfg.Dir, snapFolder)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("listing snapshots: %w", err)
	}
	cfg.Progress.begin(stepSnapshots, "snapshots", int64(len(entries)))
	for i, e := range entries {
		cfg.Progress.reach(int64(i))
		path := filepath.Join(folder, e.Name())
		if strings.HasSuffix(e.Name(), ".tmp") {
			if err := os.RemoveAll(path); err != nil {
				return nil, fmt.Errorf("removing an unfinished snapshot: %w", err)
			}
			continue
		}
		_, content, err := store.Open(e.Name())
		if err != nil {
			return nil, fmt.Errorf("snapshot %s is damaged: %w", path, errors.Join(err, damageIn(filepath.Join(path, stateFile), cfg)))
		}
		content.Close()
	}
	cfg.Progress.end(stepSnapshots)
	return store, nil
}

// damageIn says where a state file is damaged; nil when it can be read.
func damageIn(path string, cfg *Config) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := machine.Read(f, machine.Options{Shard: cfg.Shard, Number: cfg.Number}); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// checkLog reads every entry that will be applied, so that damage stops the start instead of the
// running program, and a gap between snapshot and log is not taken for an empty history.
func (r *Replica) checkLog(snapshots raft.SnapshotStore) error {
	path, logs, progress := r.logDir(), r.wal, r.cfg.Progress
	first, err := logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("log %s is damaged: %w", path, err)
	}
	last, err := logs.LastIndex()
	if err != nil {
		return fmt.Errorf("log %s is damaged: %w", path, err)
	}
	kept, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("listing snapshots: %w", err)
	}
	var covered uint64
	if len(kept) > 0 {
		covered = kept[0].Index
	}
	if first > covered+1 {
		return fmt.Errorf("log %s starts at entry %d, but the newest snapshot ends at %d: entries are missing", path, first, covered)
	}
	if last < covered && last > 0 {
		return fmt.Errorf("log %s ends at entry %d, before the newest snapshot's %d: it is older than the snapshot", path, last, covered)
	}
	// A lone voter keeps a piece of its log behind each snapshot; only one that was sent the snapshot has none.
	if last == 0 && len(kept) > 0 && len(kept[0].Configuration.Servers) == 1 {
		return fmt.Errorf("log %s is empty, and the newest snapshot ends at entry %d: entries are missing, restore the folder", path, covered)
	}
	begin := max(covered+1, first, 1)
	progress.begin(stepLog, "entries", int64(max(last+1, begin)-begin))
	for index := begin; index <= last; index++ {
		progress.reach(int64(index - begin))
		var l raft.Log
		if err := logs.GetLog(index, &l); err != nil {
			return fmt.Errorf("log is damaged at entry %d (%s): %w", index, r.found.Where(index), err)
		}
		if l.Index != index {
			return fmt.Errorf("log is damaged at entry %d (%s): it says it is %d", index, r.found.Where(index), l.Index)
		}
		if l.Type != raft.LogCommand {
			continue
		}
		_, err := machine.DecodeEntry(l.Data)
		switch {
		case errors.Is(err, machine.ErrVersion):
			return fmt.Errorf("log has entry %d (%s) of a version that this program does not read: %w", index, r.found.Where(index), err)
		case err != nil:
			return fmt.Errorf("log is damaged at entry %d (%s): %w", index, r.found.Where(index), err)
		}
	}
	progress.end(stepLog)
	return nil
}
