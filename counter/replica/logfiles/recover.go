package logfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft-wal/metadb"
	walsegment "github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"headgate.example/lib/durable"
)

const (
	fileSuffix = ".wal"
	// namePattern is raft-wal's: index of the first entry, number of the file.
	namePattern = "%020d-%016x" + fileSuffix
)

// Log is what Recover found.
type Log struct {
	dir     string
	files   []types.SegmentInfo // in the order of their entries
	nextID  uint64              // the number of the next file
	tail    string              // the file that is written next; "" when there is none yet
	tailEnd int64               // how many bytes of it are whole writes
	synced  *synced             // the note; nil when there is none
}

// Recover checks every file of the log in a folder before raft-wal opens it, and clears away what a
// crash left of the last write. Other than that it changes nothing. An error names the file, and the
// offset of the damage. No other process may have the folder open. Reached is told how many of how many
// files are read.
func Recover(dir string, log *slog.Logger, reached func(done, files int)) (*Log, error) {
	l := &Log{dir: dir}
	names, err := l.names()
	if err != nil {
		return nil, err
	}
	state, err := l.readIndex(names)
	if err != nil {
		return nil, err
	}
	l.files, l.nextID = state.Segments, state.NextSegmentID
	if err := l.strangers(names); err != nil {
		return nil, err
	}
	if l.synced, err = readSynced(dir); err != nil {
		return nil, err
	}
	for i := range state.Segments {
		reached(i, len(l.files))
		if err := l.check(i, log); err != nil {
			return nil, err
		}
	}
	reached(len(l.files), len(l.files))
	return l, nil
}

// names are the files of the log that are there.
func (l *Log) names() ([]string, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("listing the log: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), fileSuffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// readIndex reads raft-wal's list of the files.
func (l *Log) readIndex(names []string) (state types.PersistentState, err error) {
	path := filepath.Join(l.dir, metadb.FileName)
	stat, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(names) > 0:
		return state, fmt.Errorf("%s is missing, but there are log files, such as %s: restore the folder", path, names[0])
	case errors.Is(err, fs.ErrNotExist):
		return state, nil
	case err != nil:
		return state, fmt.Errorf("the log's index: %w", err)
	case stat.Size() == 0: // the library would begin a new one
		return state, fmt.Errorf("%s is damaged: offset 0: is empty", path)
	}
	defer func() { // the library reads pages without checking them
		if p := recover(); p != nil {
			err = fmt.Errorf("%s is damaged: %v", path, p)
		}
	}()
	var db metadb.BoltMetaDB
	if state, err = db.Load(l.dir); err != nil {
		return state, errors.Join(fmt.Errorf("%s is damaged (%d bytes): %w", path, stat.Size(), err), db.Close())
	}
	return state, db.Close()
}

// strangers refuses log files that raft-wal never made here: it would delete them as forgotten ones.
func (l *Log) strangers(names []string) error {
	for _, name := range names {
		var first, id uint64
		_, err := fmt.Sscanf(name, namePattern, &first, &id)
		if err != nil || walsegment.FileName(types.SegmentInfo{BaseIndex: first, ID: id}) != name || id >= l.nextID {
			return fmt.Errorf("%s does not belong to this log: %s knows nothing of it; move it away, or restore the folder", filepath.Join(l.dir, name), metadb.FileName)
		}
	}
	return nil
}

// check reads one file.
func (l *Log) check(i int, log *slog.Logger) error {
	info := &l.files[i]
	path := filepath.Join(l.dir, walsegment.FileName(*info))
	sealed := !info.SealTime.IsZero()
	if sealed != (i < len(l.files)-1) {
		return fmt.Errorf("%s: the log's index is damaged: only the last file may be, and must be, unfinished", path)
	}
	if i > 0 && l.files[i-1].MaxIndex+1 != info.BaseIndex {
		return fmt.Errorf("%s: begins at entry %d, but the file before it ends at %d: entries are missing", path, info.BaseIndex, l.files[i-1].MaxIndex)
	}
	text, err := os.ReadFile(path)
	if !sealed && errors.Is(err, fs.ErrNotExist) {
		return l.checkTail(path, nil, info, log)
	}
	if err != nil {
		return fmt.Errorf("log file %s: %w", path, err)
	}
	s := &segment{text: text, first: info.BaseIndex}
	if !sealed {
		return l.checkTail(path, s, info, log)
	}
	w := s.read()
	if short := int(info.SizeLimit) - len(text); short > 0 {
		return fmt.Errorf("log file %s: offset %d: is cut off, %d bytes are missing", path, len(text), short)
	}
	if s.id() != info.ID {
		return fmt.Errorf("log file %s: offset 16: is file %d, not %d", path, s.id(), info.ID)
	}
	if why := w.matches(info); why != "" {
		if w.why != "" && w.indexAt == 0 {
			why = w.why + ", and " + why
		}
		return fmt.Errorf("log file %s: offset %d, entry %d: is damaged: %s", path, w.at, w.next(info.BaseIndex), why)
	}
	return nil
}

// checkTail reads the file that is written next. Its last write may be cut short: then it was not
// acknowledged, and goes. A missing or empty file was just being made, unless something was synced to it.
func (l *Log) checkTail(path string, s *segment, info *types.SegmentInfo, log *slog.Logger) error {
	l.tail = filepath.Base(path)
	known := int64(0) // this many bytes were synced
	if l.synced != nil && l.synced.File == l.tail {
		known = l.synced.Bytes
	}
	if s == nil {
		if known > 0 {
			return fmt.Errorf("log file %s is missing, though %d bytes were written to it", path, known)
		}
		return nil
	}
	w := s.read()
	l.tailEnd = int64(w.end)
	if short := int(info.SizeLimit) - len(s.text); short > 0 {
		// It gets its size before its first write is acknowledged.
		if known > 0 || l.synced == nil && w.end > 0 {
			return fmt.Errorf("log file %s: offset %d: is cut off, %d bytes are missing", path, len(s.text), short)
		}
		return lengthen(path, w.end, int64(info.SizeLimit))
	}
	if w.end > 0 && s.id() != info.ID {
		return fmt.Errorf("log file %s: offset 16: is file %d, not %d", path, s.id(), info.ID)
	}
	if last := s.lastWord(w.end); last >= 0 || known > l.tailEnd {
		next := w.next(info.BaseIndex)
		if why := s.damage(&w, known, next); why != "" {
			return fmt.Errorf("log file %s: offset %d, entry %d: is damaged: %s; %s", path, w.at, next, w.why, why)
		}
		log.Warn("the log ended in a write that was cut short and never acknowledged: it is cleared away",
			"file", path, "offset", w.end, "bytes", last+frameBytes-w.end, "entry", next)
		if err := zero(path, int64(w.end), int64(last+frameBytes)); err != nil {
			return err
		}
	}
	if w.indexAt > 0 {
		return l.finish(info, &w)
	}
	return nil
}

// damage says why what lies behind the whole writes was there once and is lost; "" when it is what a crash
// left of a write that nobody was told of.
func (s *segment) damage(w *written, known int64, next uint64) string {
	if known > int64(w.end) {
		return fmt.Sprintf("the writes up to offset %d were acknowledged", known)
	}
	if later := s.wholeWriteAfter(w.end, next); later >= 0 {
		return fmt.Sprintf("the write at offset %d is whole and came later", later)
	}
	if s.complete(w.end) {
		return "the write is there to its end"
	}
	return ""
}

// finish marks the last file as full in the index, and begins the next one, which raft-wal does beside
// its writes. Killed before that, it would open the file again and never be able to write to it.
func (l *Log) finish(tail *types.SegmentInfo, w *written) error {
	tail.SealTime = time.Now()
	tail.MaxIndex = w.next(tail.BaseIndex) - 1
	tail.IndexStart = uint64(w.indexAt)
	state := types.PersistentState{NextSegmentID: l.nextID + 1, Segments: append(l.files, types.SegmentInfo{
		ID: l.nextID, BaseIndex: tail.MaxIndex + 1, MinIndex: tail.MaxIndex + 1,
		SizeLimit: tail.SizeLimit, Codec: tail.Codec, CreateTime: tail.SealTime,
	})}
	var db metadb.BoltMetaDB
	_, err := db.Load(l.dir)
	if err == nil {
		err = db.CommitState(state)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("finishing log file %s: %w", filepath.Join(l.dir, l.tail), err)
	}
	l.files, l.nextID = state.Segments, state.NextSegmentID
	l.tail, l.tailEnd = "", 0
	return nil
}

// lengthen deals with a file whose making was cut off: raft-wal makes it anew, unless there is a write in it.
func lengthen(path string, written int, size int64) error {
	var err error
	if written == 0 {
		if err = os.Remove(path); err == nil {
			err = durable.SyncDir(filepath.Dir(path))
		}
	} else {
		err = os.Truncate(path, size)
	}
	if err != nil {
		return fmt.Errorf("a log file that was being made: %w", err)
	}
	return nil
}

// zero overwrites part of a file with zeros.
func zero(path string, from, to int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("clearing a torn write away: %w", err)
	}
	_, err = f.WriteAt(make([]byte, to-from), from)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("clearing a torn write away from %s: %w", path, err)
	}
	return nil
}

// Where says in which file an entry lies, and at which offset, for the words of an error. It reads the
// file again.
func (l *Log) Where(index uint64) string {
	for i := len(l.files) - 1; i >= 0; i-- {
		info := l.files[i]
		if index < info.BaseIndex {
			continue
		}
		path := filepath.Join(l.dir, walsegment.FileName(info))
		text, err := os.ReadFile(path)
		if err != nil {
			return path
		}
		s := &segment{text: text, first: info.BaseIndex}
		w := s.read()
		if at := index - info.BaseIndex; at < uint64(len(w.offsets)) {
			return fmt.Sprintf("%s, offset %d", path, w.offsets[at])
		}
		return path
	}
	return l.dir
}
