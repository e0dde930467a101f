//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// quotaPeriod is short, so that a process that used its share up stands still for some milliseconds only.
const quotaPeriod = 10 * time.Millisecond

// cgroupRoots are where the controller of CPU time may be found: version 2, or version 1.
var cgroupRoots = [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/cpu"}

// quota is a control group with a share of one core. Each process has one of its own.
type quota struct{ dir string }

// newQuota makes a group of its own for a process. Mostly only root may.
func newQuota(name string, share float64) (*quota, error) {
	micros := strconv.FormatInt(int64(share*float64(quotaPeriod.Microseconds())), 10)
	period := strconv.FormatInt(quotaPeriod.Microseconds(), 10)
	var tried error
	for _, root := range cgroupRoots {
		q := &quota{filepath.Join(root, fmt.Sprintf("counterbench-%d-%s", os.Getpid(), name))}
		if err := os.Mkdir(q.dir, 0o755); err != nil {
			tried = err
			continue
		}
		err := q.write("cpu.max", micros+" "+period)
		if errors.Is(err, os.ErrNotExist) { // version 1
			err = errors.Join(q.write("cpu.cfs_period_us", period), q.write("cpu.cfs_quota_us", micros))
		}
		if err == nil {
			return q, nil
		}
		tried = errors.Join(err, q.close())
	}
	return nil, tried
}

// tryQuota tells why this machine allows no quota, if so.
func tryQuota() error {
	q, err := newQuota("try", quotaShare)
	if err != nil {
		return err
	}
	return q.close()
}

// write changes a file that the kernel has made.
func (q *quota) write(file, text string) error {
	f, err := os.OpenFile(filepath.Join(q.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// hold puts a running process under the quota.
func (q *quota) hold(pid int) error { return q.write("cgroup.procs", strconv.Itoa(pid)) }

// close removes the group, which must be empty.
func (q *quota) close() error { return os.Remove(q.dir) }

// cpuSeconds is the CPU time that a process has had, of all its threads.
func (s *server) cpuSeconds() (float64, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.PID()))
	if err != nil || len(threads) == 0 {
		return 0, errors.Join(fmt.Errorf("no CPU times of %s: this needs Linux", s.Name), err)
	}
	var nanos int64
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		nanos += n
	}
	return float64(nanos) / 1e9, nil
}
