//go:build unix

package embedded_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"headgate.example/lib/queue"
	"headgate.example/lib/queue/embedded"
	"headgate.example/lib/queue/queuetest"
)

// visitorFile makes the test's own program play a process that asks whether a queue's file is in use.
const visitorFile = "HEADGATE_QUEUE_VISITOR_FILE"

// TestVisitor is the other process of TestSecondHandleKeepsLocks.
func TestVisitor(t *testing.T) {
	path := os.Getenv(visitorFile)
	if path == "" {
		t.Skip("only for TestSecondHandleKeepsLocks")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()          //nolint:errcheck // only asked about
	const shared = 1<<30 + 2 // where SQLite's shared lock of a database lies, and its length
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: shared, Len: 510}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		t.Fatal(err)
	}
	if lock.Type == syscall.F_UNLCK {
		t.Fatal("nobody holds SQLite's lock: a visitor with an older SQLite takes the write-ahead log away, and what is confirmed after that is lost")
	}
}

// TestSecondHandleKeepsLocks: a process that has the file open, and opens it again, must not lose its
// locks on it. The kernel drops all of them when the process closes any descriptor of the file.
func TestSecondHandleKeepsLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	open(t, path)
	for _, when := range []string{"with one handle", "with two handles"} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestVisitor$") //nolint:gosec // ourselves
		cmd.Env = append(os.Environ(), visitorFile+"="+path)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", when, err, output)
		}
		open(t, path)
	}
}

// TestCloseLeavesNothingOpen: a handle that was closed keeps no descriptor of its file.
func TestCloseLeavesNothingOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	path := filepath.Join(t.TempDir(), "queue.db")
	cfg := queue.DefaultConfig()
	cfg.Path = path
	q, err := embedded.Open(t.Context(), cfg, queuetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Subscribe(t.Context(), "orders", queue.SubscribeOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, path) {
			t.Errorf("%s is still open", to)
		}
	}
}
