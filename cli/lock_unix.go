//go:build unix

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockFolder makes sure that one process uses a data folder at a time. The kernel drops the lock when
// the process ends, however it ends.
func lockFolder(folder string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(folder, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data: %w: make the folder writable for this user, or choose another with --data", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data: another process already runs on %s: stop it, or choose another folder with --data", folder)
		}
		return nil, fmt.Errorf("data: locking %s: %w", folder, err)
	}
	return func() { _ = file.Close() }, nil
}
