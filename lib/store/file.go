package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// createFile makes an empty file for SQLite that only its owner may read, since orders name people;
// the log beside it takes over its mode. A file that is there is not touched, nor is a descriptor of
// the new one ever closed under its name: the kernel would drop every lock that other handles of this
// process have on it. Paths that are URIs or name no file are left to SQLite.
func createFile(path string) error {
	if strings.HasPrefix(path, "file:") || strings.HasPrefix(path, ":") {
		return nil
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".ledger-*") // mode 0600
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
