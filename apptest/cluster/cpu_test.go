//go:build linux

package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestQuota: a process is held to its share, and the groups go when it has ended.
func TestQuota(t *testing.T) {
	if none, err := newQuota(Folder{"/somewhere"}, "backend-1", 0); none != nil || err != nil || none.hold(1) != nil {
		t.Errorf("without a bound: %v, %v", none, err)
	}
	if _, err := os.Stat(filepath.Join(cgroupCPU, "cpu.cfs_quota_us")); err != nil || os.Geteuid() != 0 {
		t.Skipf("no control groups of version 1, or not root: %v", err)
	}
	f := made(t)
	q, err := newQuota(f, "backend-1", 0.5)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sleep", "300")
	cmd.Dir = f.Path
	p, err := startProcess(cmd, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGKILL); <-p.done })
	if err := q.hold(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid))
	if err != nil || !strings.Contains(string(groups), strings.TrimPrefix(q.path, cgroupCPU)) {
		t.Errorf("it is in %s, %v", groups, err)
	}
	quotaIs(t, q, "10000", "20000")
	if q, err = newQuota(f, "backend-1", 0.02); err != nil { // the kernel would refuse 400 of 20000
		t.Fatal(err)
	}
	quotaIs(t, q, "1000", "50000")
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.done
	if err := removeQuotas(f); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(q.path)); !os.IsNotExist(err) {
		t.Errorf("the groups are still there: %v", err)
	}
}

func quotaIs(t *testing.T, q *quota, micros, period string) {
	t.Helper()
	for file, want := range map[string]string{"cpu.cfs_quota_us": micros, "cpu.cfs_period_us": period} {
		got, err := os.ReadFile(filepath.Join(q.path, file))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %s, want %s (%v)", file, got, want, err)
		}
	}
}
