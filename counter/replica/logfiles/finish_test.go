package logfiles

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft-wal/metadb"
	walsegment "github.com/hashicorp/raft-wal/segment"
)

// A process that is killed between the last write to a full file and the making of the next one leaves a
// file that raft-wal would open, and never be able to write to.
func TestKilledBeforeTheNextFileIsMade(t *testing.T) {
	dir := fill(t, 160)
	var db metadb.BoltMetaDB
	state, err := db.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, later := range state.Segments[2:] {
		if err := os.Remove(filepath.Join(dir, walsegment.FileName(later))); err != nil {
			t.Fatal(err)
		}
	}
	state.Segments = state.Segments[:2]
	full := &state.Segments[1]
	entries := full.MaxIndex
	full.MaxIndex, full.IndexStart, full.SealTime = 0, 0, time.Time{}
	if err := db.CommitState(state); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, "a full file without a next one", dir, entries)
}

// Whatever the bytes of a file, reading it ends, and finds no more than is there.
func FuzzSegment(f *testing.F) {
	dir := fill(f, 6)
	whole := read(f, logFiles(f, dir)[0])[:4096]
	f.Add(whole, uint64(1))
	f.Add(whole, uint64(2))
	f.Add(whole[:700], uint64(1))
	f.Add(append(bytes.Clone(whole[:1000]), whole[:1000]...), uint64(1))
	f.Fuzz(func(t *testing.T, text []byte, first uint64) {
		s := &segment{text: text, first: first}
		w := s.read()
		if w.end > len(text) || w.at > len(text) || w.why == "" {
			t.Fatalf("%d bytes: %+v", len(text), w)
		}
		for _, at := range w.offsets {
			if int(at) >= w.end {
				t.Fatalf("entry at %d, writes end at %d", at, w.end)
			}
		}
		if why := s.damage(&w, 0, w.next(first)); why == "" && w.end > 0 {
			again := &segment{text: append(append([]byte(nil), text[:w.end]...), make([]byte, len(text)-w.end)...), first: first}
			if got := again.read(); got.end != w.end || len(got.offsets) != len(w.offsets) {
				t.Fatalf("cleared, it reads otherwise: %+v, %+v", got, w)
			}
		}
	})
}
