// Package sqlitefile makes the files that the embedded queue and the embedded ledger keep their tables
// in. It knows nothing of what is in them.
package sqlitefile

import (
	"errors"
	"os"
	"path/filepath"
)

// Create makes an empty file for SQLite that only its owner may read, since orders name people; the log
// beside it takes over its mode. A file that is there is not touched, nor is a descriptor of the new one
// ever closed under its name: the kernel would drop every lock that other handles of this process have
// on it. The folder must exist.
func Create(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // an empty file
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}
