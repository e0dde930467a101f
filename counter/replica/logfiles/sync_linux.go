package logfiles

import "syscall"

// syncData brings a file's content to the disk, and of what the file system keeps about it as much as reading
// it back needs.
func syncData(fd int) error {
	for {
		if err := syscall.Fdatasync(fd); err != syscall.EINTR {
			return err
		}
	}
}
