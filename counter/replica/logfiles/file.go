package logfiles

import (
	"fmt"
	"io/fs"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/raft-wal/types"
)

// fillBytes is how far ahead of what is written a file is filled with zeros. raft-wal has the whole file's space
// set aside, but the first write to a block of it changes the file system's own records, too: syncing that takes
// half as long again as syncing a block that was written before. So once in so many bytes one write pays for
// all those that follow. What it fills reads as zeros before and after, whatever a crash leaves of it.
const fillBytes = 256 << 10

// file is a segment file that is written. raft-wal writes and syncs from one goroutine at a time.
type file struct {
	types.WritableFile
	fs     *FS
	name   string
	raw    syscall.RawConn
	size   int64 // what was set aside
	end    int64 // of what was written
	filled int64 // up to here every block was written once
	begun  bool
	synced atomic.Int64
}

// newFile takes over a file of the operating system whose first end bytes are the log.
func newFile(opened types.WritableFile, f *FS, name string, end int64) (*file, error) {
	own, ok := opened.(interface {
		Stat() (fs.FileInfo, error)
		SyscallConn() (syscall.RawConn, error)
	})
	if !ok {
		return nil, fmt.Errorf("log file %s is a %T, which is no file", name, opened)
	}
	info, err := own.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening a log file: %w", err)
	}
	raw, err := own.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("opening a log file: %w", err)
	}
	return &file{WritableFile: opened, fs: f, name: name, raw: raw, size: info.Size(), end: end}, nil
}

// WriteAt implements io.WriterAt.
func (f *file) WriteAt(text []byte, offset int64) (int, error) {
	n, err := f.WritableFile.WriteAt(text, offset)
	f.end = max(f.end, offset+int64(n))
	if err == nil && f.end > f.filled {
		f.fill()
	}
	return n, err
}

// fill writes zeros behind the end. That they cannot be written loses nothing but speed.
func (f *file) fill() {
	f.filled = f.end
	if n := min(fillBytes, f.size-f.end); n > 0 {
		done, _ := f.WritableFile.WriteAt(f.fs.zeros[:n], f.end)
		f.filled += int64(done)
	}
}

// Sync implements types.WritableFile.
func (f *file) Sync() error {
	if !f.begun { // the folder, too
		if err := f.WritableFile.Sync(); err != nil {
			return err
		}
		f.synced.Store(f.end)
		f.begun = f.fs.begin(f)
		return nil
	}
	if err := f.syncData(); err != nil {
		return err
	}
	f.synced.Store(f.end)
	return nil
}
