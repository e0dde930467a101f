package replica

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// fsm applies the log to the machine's state. raft calls it from one goroutine.
type fsm struct {
	r          *Replica
	restoreErr error // of the snapshot at start, which raft would skip

	// Used anew for each entry.
	commands []machine.Command
	results  []machine.Result
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

// command applies one entry of commands and answers the calls in it. An entry that cannot be read ends
// the process: going on would make this voter differ from what was promised.
func (f *fsm) command(l *raft.Log) {
	g := f.r.queue.applying(l.Data) // from here on the next entry may be gathered and written
	entry, err := machine.DecodeShared(l.Data, f.commands)
	if err != nil {
		panic(fmt.Sprintf("counter: corrupt log entry %d in %s: %v", l.Index, f.r.logDir(), err))
	}
	f.r.stateMu.Lock()
	f.results = f.r.state.Apply(&entry, f.results[:0])
	f.r.applied.Store(l.Index)
	f.r.stateMu.Unlock()
	f.r.answer(g, f.results)
	f.commands = entry.Commands
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
	return &persister{snapshot: f.r.state.Snapshot(), size: &f.r.snapshotBytes}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(from io.ReadCloser) error {
	defer from.Close()
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

type persister struct {
	snapshot *machine.Snapshot
	size     *atomic.Int64 // of the last one written
}

// Persist implements raft.FSMSnapshot.
func (p *persister) Persist(sink raft.SnapshotSink) error {
	size, err := p.snapshot.WriteTo(sink)
	if err != nil {
		return fmt.Errorf("writing snapshot %s: %w", sink.ID(), err)
	}
	p.size.Store(size)
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (p *persister) Release() {}
