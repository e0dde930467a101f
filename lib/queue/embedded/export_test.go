package embedded

import (
	"fmt"
	"testing"
)

// SetFormat writes a format number into a file.
func SetFormat(t *testing.T, path string, version int) {
	t.Helper()
	db, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a test's end
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		t.Fatal(err)
	}
}
