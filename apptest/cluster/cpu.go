//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

// cgroupCPU is where version 1 has the controller of CPU time.
const cgroupCPU = "/sys/fs/cgroup/cpu"

// In microseconds: a period is short, so that a program that used its share up does not stand still for long, but
// the kernel takes no quota below the least.
const (
	shortPeriod = 20_000
	leastQuota  = 1_000
)

// periodAndQuota gives both for a share of a processor.
func periodAndQuota(cores float64) (period, quota int) {
	quota = max(int(math.Round(cores*shortPeriod)), leastQuota)
	return max(int(math.Round(float64(quota)/cores)), 1), quota
}

// quota bounds the CPU time of a member's processes by a control group of their own.
type quota struct{ path string }

// newQuota makes the group, or sets the bound of the one that is there. cores 0: nil, no bound.
func newQuota(f Folder, member string, cores float64) (*quota, error) {
	if cores == 0 {
		return nil, nil //nolint:nilnil // no bound is no group
	}
	q := &quota{filepath.Join(cgroupCPU, fmt.Sprintf("headgate_%08x", f.id()), member)}
	period, micros := periodAndQuota(cores)
	err := os.MkdirAll(q.path, 0o755) //nolint:gosec // the kernel's
	if err == nil {
		err = q.write("cpu.cfs_period_us", period)
	}
	if err == nil {
		err = q.write("cpu.cfs_quota_us", micros)
	}
	if err != nil {
		return nil, fmt.Errorf("cpu: this machine lets nobody but root bound CPU time, by control groups of version 1 in %s: %w", cgroupCPU, err)
	}
	return q, nil
}

func (q *quota) write(file string, value int) error {
	return os.WriteFile(filepath.Join(q.path, file), []byte(strconv.Itoa(value)), 0o600)
}

// hold puts a process, all of its threads and whatever it starts from now on, under the bound.
func (q *quota) hold(pid int) error {
	if q == nil {
		return nil
	}
	return q.write("cgroup.procs", pid)
}

// removeQuotas removes the groups of a cluster whose processes have ended.
func removeQuotas(f Folder) error {
	all := filepath.Join(cgroupCPU, fmt.Sprintf("headgate_%08x", f.id()))
	groups, err := os.ReadDir(all)
	if err != nil {
		return nil //nolint:nilerr // there are none
	}
	var errs []error
	for _, g := range groups {
		if g.IsDir() {
			errs = append(errs, os.Remove(filepath.Join(all, g.Name())))
		}
	}
	return errors.Join(append(errs, os.Remove(all))...)
}
