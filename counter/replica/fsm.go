package replica

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
)

// The envelope of a log entry: a version, and a checksum of the machine's entry, since the log's own
// checksums are looked at only for its last write.
const (
	envelopeVersion = 1
	envelopeBytes   = 1 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal makes the log data of an entry.
func seal(e *machine.Entry) []byte {
	data := make([]byte, envelopeBytes, envelopeBytes+64+96*len(e.Commands))
	data = e.Append(data)
	data[0] = envelopeVersion
	binary.LittleEndian.PutUint32(data[1:], crc32.Checksum(data[envelopeBytes:], castagnoli))
	return data
}

// unseal checks the envelope and returns the machine's bytes.
func unseal(data []byte) ([]byte, error) {
	switch {
	case len(data) < envelopeBytes:
		return nil, fmt.Errorf("offset %d: entry of %d bytes is cut short", len(data), len(data))
	case data[0] == 0 || data[0] > envelopeVersion:
		return nil, fmt.Errorf("offset 0: entry has format version %d, this program reads up to %d: run a newer one", data[0], envelopeVersion)
	case binary.LittleEndian.Uint32(data[1:]) != crc32.Checksum(data[envelopeBytes:], castagnoli):
		return nil, fmt.Errorf("offset 1: checksum of the entry's %d bytes does not match", len(data)-envelopeBytes)
	}
	return data[envelopeBytes:], nil
}

func openEntry(data []byte) (machine.Entry, error) {
	body, err := unseal(data)
	if err != nil {
		return machine.Entry{}, err
	}
	return machine.DecodeEntry(body)
}

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
		if entries[i], err = openEntry(l.Data); err != nil {
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
