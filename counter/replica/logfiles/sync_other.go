//go:build !linux

package logfiles

import "syscall"

// syncData brings a file's content to the disk.
func syncData(fd int) error { return syscall.Fsync(fd) }
