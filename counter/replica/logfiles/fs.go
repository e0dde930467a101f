package logfiles

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"

	"headgate.example/lib/durable"
)

// syncedFile is the note, in the folder of the log.
const syncedFile = "synced.json"

const syncedVersion = 1

// synced is a lower bound: at least so many bytes of that file were synced. It speaks only of the file
// that is written; what it says of a finished or deleted one is past.
type synced struct {
	Version int    `json:"version"`
	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
}

// readSynced returns nil when there is no note: the folder is new, or of a program that wrote none.
func readSynced(dir string) (*synced, error) {
	path := filepath.Join(dir, syncedFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading how far the log was written: %w", err)
	}
	var s synced
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(text, &s); {
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("%s is damaged: offset %d: %w", path, syntax.Offset, err)
	case err != nil:
		return nil, fmt.Errorf("%s is damaged: offset 0: %w", path, err)
	case s.Version < 1 || s.Version > syncedVersion:
		return nil, fmt.Errorf("%s has format version %d, this program reads up to %d: run a newer one", path, s.Version, syncedVersion)
	case s.File == "" || s.Bytes <= 0:
		return nil, fmt.Errorf("%s is damaged: offset 0: file or bytes are missing", path)
	}
	return &s, nil
}

// FS is raft-wal's file system, with a durable note of how far the newest file was synced: taken with the
// first write to it, before anybody is told of that, and with each call of Note.
type FS struct {
	types.VFS
	dir string
	log *Log // as it was found
	// zeros is what files are filled with; nobody writes to it.
	zeros []byte

	mu     sync.Mutex // guards writing the note; nothing is locked inside it
	newest *file
	noted  synced
}

// NewFS is for the folder that was recovered.
func NewFS(l *Log) *FS {
	f := &FS{VFS: walfs.New(), dir: l.dir, log: l, zeros: make([]byte, fillBytes)}
	if l.synced != nil {
		f.noted = *l.synced
	}
	return f
}

// Create implements types.VFS.
func (f *FS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	created, err := f.VFS.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	return newFile(created, f, name, 0)
}

// OpenWriter implements types.VFS.
func (f *FS) OpenWriter(dir, name string) (types.WritableFile, error) {
	opened, err := f.VFS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	if name == f.log.tail {
		return newFile(opened, f, name, f.log.tailEnd)
	}
	w, err := newFile(opened, f, name, 0)
	if err == nil {
		w.size = 0 // where its content ends is not known: nothing is filled
	}
	return w, err
}

// Note brings to the disk how far the newest file was synced, if that has changed.
func (f *FS) Note() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.newest == nil {
		return nil
	}
	return f.noteLocked(f.newest)
}

func (f *FS) noteLocked(newest *file) error {
	now := synced{Version: syncedVersion, File: newest.name, Bytes: newest.synced.Load()}
	if now == f.noted {
		return nil
	}
	text, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", syncedFile, err)
	}
	if err := durable.WriteFile(filepath.Join(f.dir, syncedFile), append(text, '\n')); err != nil {
		return err
	}
	f.noted = now
	return nil
}

// begin notes the first write to a file. A note that cannot be written (the disk is full) is no reason to
// lose the write: Note says so, and the next write tries again.
func (f *FS) begin(w *file) (noted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.newest = w
	return f.noteLocked(w) == nil
}
