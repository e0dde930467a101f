package logfiles

import (
	"fmt"
	"syscall"
)

// syncData brings a file's content to the disk, and of what the file system keeps about it as much as reading
// it back needs.
func (f *file) syncData() error {
	var err error
	if closed := f.raw.Control(func(fd uintptr) {
		for err = syscall.EINTR; err == syscall.EINTR; {
			err = syscall.Fdatasync(int(fd))
		}
	}); closed != nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("syncing %s: %w", f.name, err)
	}
	return nil
}
