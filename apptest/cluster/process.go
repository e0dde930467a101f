//go:build linux

package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTicks of /proc are a hundred a second on every Linux that Go runs on.
const clockTicks = 100

// process is a program that we started, in a process group that it leads or joins.
type process struct {
	cmd   *exec.Cmd
	group int
	done  chan struct{} // closed when it has ended and was waited for
}

// startProcess starts a command in a process group (0: one of its own), under a group id (0: ours). By the
// group id its packets are told from those of others; it grants nothing.
func startProcess(cmd *exec.Cmd, group int, gid uint32) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: group}
	if gid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 0, Gid: gid}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, group: group, done: make(chan struct{})}
	if group == 0 {
		p.group = cmd.Process.Pid
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in ProcessState
	}()
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// end says in words how it ended; only after done.
func (p *process) end() string {
	return fmt.Sprintf("%s ended: %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState)
}

// stat is what /proc tells of a process.
type stat struct {
	pid, group int
	state      byte // R, S, T (stopped), Z (ended, not waited for), ...
	cpu        time.Duration
	born       uint64 // ticks since the machine booted: with the pid, it identifies the process
}

func readStat(pid int) (s stat, err error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, err
	}
	at := bytes.LastIndexByte(text, ')') // the name before it may hold anything
	if at < 0 {
		return s, errors.New("/proc: no such format")
	}
	fields := strings.Fields(string(text[at+1:]))
	const (
		state, group, user, childrenSystem, start = 0, 2, 11, 14, 19 // counted from behind the name
	)
	if len(fields) <= start {
		return s, errors.New("/proc: no such format")
	}
	s.pid, s.state = pid, fields[state][0]
	if s.group, err = strconv.Atoi(fields[group]); err != nil {
		return s, err
	}
	for _, f := range fields[user : childrenSystem+1] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return s, err
		}
		s.cpu += time.Duration(ticks) * time.Second / clockTicks
	}
	s.born, err = strconv.ParseUint(fields[start], 10, 64)
	return s, err
}

// processes gives what runs on the machine, as far as it can be read.
func processes() (all []stat) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && s.state != 'Z' {
			all = append(all, s)
		}
	}
	return all
}

// spent gives the CPU time of each process group so far; children that were waited for are counted by
// their parents.
func spent() map[int]time.Duration {
	sums := make(map[int]time.Duration)
	for _, s := range processes() {
		sums[s.group] += s.cpu
	}
	return sums
}

// worksIn reports whether a process' working folder is a folder or lies below it.
func worksIn(pid int, folder string) bool {
	cwd, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
	if err != nil {
		return false
	}
	cwd = strings.TrimSuffix(cwd, " (deleted)")
	return cwd == folder || strings.HasPrefix(cwd, folder+"/")
}

// listener gives the process that listens on a loopback port, in words, as far as that can be found out.
func listener(port int) string {
	want := fmt.Sprintf(":%04X", port)
	inodes := make(map[string]bool)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], want) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	for _, s := range processes() {
		folder := fmt.Sprintf("/proc/%d/fd", s.pid)
		files, err := os.ReadDir(folder)
		if err != nil {
			continue
		}
		for _, f := range files {
			if to, err := os.Readlink(filepath.Join(folder, f.Name())); err == nil && inodes[to] {
				name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.pid))
				return fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(name)), s.pid)
			}
		}
	}
	return "another program"
}
