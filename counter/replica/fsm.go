package replica

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// fsm applies the log to the machine's state. raft calls it from one goroutine.
type fsm struct {
	r          *Replica
	restoreErr error // of the snapshot at start, which raft would skip
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	if l.Type == raft.LogCommand {
		f.command(l)
	} else {
		f.note(l)
	}
	return nil
}

// ApplyBatch implements raft.BatchingFSM. Besides sparing raft some work it is told of other entries too.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	for _, l := range logs {
		f.Apply(l)
	}
	f.r.noteApplying()
	return make([]any, len(logs))
}

// command applies one entry of commands and answers each call in it as soon as its last command is applied:
// who reads the state to learn of it waits for the rest. An entry that cannot be read ends
// the process: going on would make this voter differ from what was promised.
func (f *fsm) command(l *raft.Log) {
	g := f.r.queue.applying(l.Data) // from here on the next entry may be gathered and written
	var told func([]machine.Result)
	if g != nil {
		told = g.told
	}
	f.r.stateMu.Lock()
	if err := f.r.state.ApplyEncoded(l.Data, told); err != nil {
		panic(fmt.Sprintf("counter: corrupt log entry %d in %s: %v", l.Index, f.r.logDir(), err))
	}
	f.r.applied.Store(l.Index)
	f.r.stateMu.Unlock()
	f.r.answered(g)
	if version := int64(machine.VersionOf(l.Data)); version > f.r.held.Load() {
		f.r.held.Store(version)
	}
	f.r.logBytes.Add(int64(len(l.Data)))
	f.r.logEntries.Add(1)
}

// note keeps count of an entry that changes no state.
func (f *fsm) note(l *raft.Log) {
	f.r.stateMu.Lock()
	defer f.r.stateMu.Unlock()
	f.r.applied.Store(l.Index)
	f.r.logEntries.Add(1)
}

// Snapshot implements raft.FSM. It blocks Apply, so it only marks the state; Persist writes it.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.r.stateMu.Lock()
	defer f.r.stateMu.Unlock()
	f.r.logBytes.Store(0)
	f.r.logEntries.Store(0)
	_, reserve := f.r.cfg.reserves()
	return &persister{
		snapshot: f.r.state.Snapshot(), dir: f.r.cfg.Dir, reserve: reserve, size: &f.r.snapshotBytes, longWork: f.r.cfg.LongWork,
	}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(from io.ReadCloser) error {
	defer from.Close()
	defer f.r.cfg.LongWork()()
	state, err := machine.Read(&counted{Reader: from, progress: f.r.cfg.Progress}, f.r.machineOptions())
	if err != nil {
		f.restoreErr = err
		return err
	}
	f.r.stateMu.Lock()
	defer f.r.stateMu.Unlock()
	f.r.state = state
	return nil
}

// persister writes one snapshot.
type persister struct {
	snapshot *machine.Snapshot
	dir      string        // the data folder
	reserve  int64         // bytes of the disk that are the log's
	size     *atomic.Int64 // of the last one written
	longWork func() (done func())
}

// Persist implements raft.FSMSnapshot.
func (p *persister) Persist(sink raft.SnapshotSink) error {
	defer p.longWork()()
	size, err := p.snapshot.WriteTo(&reservingWriter{w: sink, dir: p.dir, reserve: p.reserve})
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		err = fmt.Errorf("writing snapshot %s: %w", sink.ID(), err)
		return errors.Join(err, discard(sink, filepath.Join(p.dir, snapFolder, sink.ID()+".tmp")))
	}
	p.size.Store(size)
	return nil
}

// discard removes what was written of a snapshot. raft's own Cancel leaves it, with its file open, when the
// disk is full, and so keeps the disk full.
func discard(sink raft.SnapshotSink, folder string) error {
	_ = sink.Cancel() // it may fail for the same reason; what counts is that the folder goes
	if err := os.Truncate(filepath.Join(folder, "state.bin"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("emptying an unfinished snapshot: %w", err)
	}
	if err := os.RemoveAll(folder); err != nil {
		return fmt.Errorf("removing an unfinished snapshot: %w", err)
	}
	return nil
}

// reservingWriter stops a snapshot before it takes the space that the log needs for what is promised.
type reservingWriter struct {
	w       io.Writer
	dir     string
	reserve int64
	until   int // bytes to be written before the next look at the disk
}

func (w *reservingWriter) Write(b []byte) (int, error) {
	if w.until -= len(b); w.until < 0 {
		w.until = lookEvery
		free, err := freeBytes(w.dir)
		if err != nil {
			return 0, err
		}
		if free < w.reserve+lookEvery {
			return 0, fmt.Errorf("only %d bytes are free on the disk, and the log needs %d", free, w.reserve)
		}
	}
	return w.w.Write(b)
}

const lookEvery = 1 << 20

// Release implements raft.FSMSnapshot.
func (p *persister) Release() {}
