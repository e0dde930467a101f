package servicetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BinEnv names the folder with the programs that `make build` made.
const BinEnv = "HEADGATE_TEST_BIN"

// Program gives the path of a program: the one in the folder that BinEnv names, or else one that is built for the
// test from its package, which takes some seconds.
func Program(t testing.TB, name, importPath string) string {
	t.Helper()
	if folder := os.Getenv(BinEnv); folder != "" {
		return filepath.Join(folder, name)
	}
	binary := filepath.Join(t.TempDir(), name)
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, importPath).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v: %s", name, err, out)
	}
	return binary
}
