package store

import (
	"os"
	"path/filepath"
	"testing"

	"headgate.example/lib/service/servicetest"
)

// Orders name people: whoever else has an account on the machine must not read them.
func TestLedgerFilesAreTheOwnersOnly(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Path = filepath.Join(t.TempDir(), "ledger.db")
	s, err := Open(t.Context(), cfg, servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // read only from here on
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(cfg.Path), "*"))
	if err != nil || len(names) < 2 {
		t.Fatalf("files %v, %v: want the database and its log", names, err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o", filepath.Base(name), mode)
		}
	}
}
