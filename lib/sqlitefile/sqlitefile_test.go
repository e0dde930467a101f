package sqlitefile

import (
	"os"
	"path/filepath"
	"testing"
)

// What is there already is left as it is: opening and closing it would drop the locks that other
// handles of this process have on it.
func TestFileThatIsThereIsNotTouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 || info.Size() != 1 {
		t.Errorf("now %v, %v", info, err)
	}
}
