package replica

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// fsm applies the log to the machine's state. raft calls it from one goroutine.
type fsm struct {
	r          *Replica
	restoreErr error // of the snapshot at start, which raft would skip
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. An entry that cannot be read ends the process: going on
// would make this voter differ from what was promised.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	answers := make([]any, len(logs))
	entries := make([]machine.Entry, len(logs))
	var size int64
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		var err error
		if entries[i], err = machine.DecodeEntry(l.Data); err != nil {
			panic(fmt.Sprintf("counter: corrupt log entry %d in %s: %v", l.Index, f.r.logDir(), err))
		}
		size += int64(len(l.Data))
	}
	f.r.stateMu.Lock()
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			results := make([]machine.Result, 0, len(entries[i].Commands))
			answers[i] = f.r.state.Apply(&entries[i], results)
		}
		f.r.applied.Store(l.Index)
	}
	f.r.stateMu.Unlock()
	f.r.logBytes.Add(size)
	f.r.logEntries.Add(int64(len(logs)))
	return answers
}

// Snapshot implements raft.FSM. It blocks Apply, so it only marks the state; Persist writes it.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.r.stateMu.Lock()
	defer f.r.stateMu.Unlock()
	f.r.logBytes.Store(0)
	f.r.logEntries.Store(0)
	return &persister{f.r.state.Snapshot()}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(from io.ReadCloser) error {
	defer from.Close()
	state, err := machine.Read(from, f.r.machineOptions())
	if err != nil {
		f.restoreErr = err
		return err
	}
	f.r.stateMu.Lock()
	defer f.r.stateMu.Unlock()
	f.r.state = state
	return nil
}

type persister struct{ snapshot *machine.Snapshot }

// Persist implements raft.FSMSnapshot.
func (p *persister) Persist(sink raft.SnapshotSink) error {
	if _, err := p.snapshot.WriteTo(sink); err != nil {
		return fmt.Errorf("writing snapshot %s: %w", sink.ID(), err)
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (p *persister) Release() {}
