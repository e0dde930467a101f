package counter_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"headgate.example/counter/replica"
	"headgate.example/lib/service/servicetest"
)

// A disk that runs full refuses what is new, then everything, in words; once there is space it goes on,
// and nothing that was told is lost.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("SKIP-SERVICE: a small disk of its own needs root and mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	cfg := testConfig(filepath.Join(disk, "data"))
	small := func(c *replica.Config) { c.SegmentBytes, c.MinFreeBytes = 1<<20, 4<<20 }
	s := start(t, cfg, func(c *replica.Config) { small(c) })
	c := dial(t, s.Addr())
	c.open("1", 1_000_000, 0)
	var told []string
	for i := range 50 {
		told = append(told, c.reserve("1", "u"+strconv.Itoa(i), 1, ""))
	}
	filler := filepath.Join(disk, "filler")
	leave := func(free int64) {
		t.Helper()
		if err := os.RemoveAll(filler); err != nil {
			t.Fatal(err)
		}
		var now syscall.Statfs_t
		if err := syscall.Statfs(disk, &now); err != nil {
			t.Fatal(err)
		}
		if fill := int64(now.Bavail)*now.Bsize - free; fill > 0 {
			write(t, filler, strings.Repeat("x", int(fill)))
		}
	}
	asked := 0
	answers := func(want string) {
		t.Helper()
		servicetest.Eventually(t, 30*time.Second, want, func() bool {
			asked++
			return strings.HasPrefix(c.do("RESERVE", "1", "late"+strconv.Itoa(asked), "1", ""), want)
		})
	}
	leave(2 << 20)
	answers("-TRYAGAIN the counter's disk is almost full")
	c.want(`["confirmed"]`, "CONFIRM", told[0]) // what was promised goes on
	leave(0)
	answers("-TRYAGAIN the counter's disk is full")
	if got := c.do("CONFIRM", told[1]); !strings.HasPrefix(got, "-TRYAGAIN the counter's disk is full") {
		t.Errorf("CONFIRM: %s", got)
	}
	if got := field(c.do("ORDER", told[0]), "state"); got != "confirmed" { // reading goes on
		t.Errorf("order %s is %s", told[0], got)
	}
	leave(16 << 20)
	answers(`["reserved"`)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = start(t, cfg, func(c *replica.Config) { small(c) })
	c = dial(t, s.Addr())
	for i, id := range told {
		if got := field(c.do("ORDER", id), "user"); got != "u"+strconv.Itoa(i) {
			t.Errorf("order %s is of %q", id, got)
		}
	}
}
