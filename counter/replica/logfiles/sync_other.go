//go:build !linux

package logfiles

// syncData brings a file to the disk.
func (f *file) syncData() error { return f.WritableFile.Sync() }
