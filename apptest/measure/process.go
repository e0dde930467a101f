//go:build unix

package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU time in /proc (USER_HZ, 100 on every Linux that Go runs on).
const tick = 10 * time.Millisecond

// Process is a program under measurement.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  string
	gone chan struct{}
}

// Launch starts a program, whose output goes to a file in dir. It is killed when ctx ends.
func Launch(ctx context.Context, name, dir string, argv ...string) (*Process, error) {
	p := &Process{Name: name, log: filepath.Join(dir, name+".log"), gone: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // it is killed in the end
		close(p.gone)
	}()
	return p, nil
}

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the program at once and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.gone
}

// Await tries until the program is ready, which it must be before ctx ends.
func (p *Process) Await(ctx context.Context, ready func() error) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.gone:
			return fmt.Errorf("%s ended: %s", p.Name, p.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.Name, err)
		case <-again.C:
		}
	}
}

// LogTail is the last two kilobytes that the program printed.
func (p *Process) LogTail() []byte {
	text, _ := os.ReadFile(p.log)
	return bytes.TrimSpace(text[max(0, len(text)-2048):])
}

// CPU is the processor time, user and system, that the program has used, in steps of 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the name before it may hold blanks
	if len(fields) < 13 {
		return 0, errors.New("the status of a process has too few fields")
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, err
}

// RSS is the memory that the program has of the system, in bytes.
func (p *Process) RSS() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(text), "VmRSS:")
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, errors.New("no VmRSS in the status of a process")
	}
	kilobytes, err := strconv.ParseInt(fields[0], 10, 64)
	return kilobytes << 10, err
}

// FreeAddresses gives n different loopback addresses that nobody listens on.
func FreeAddresses(n int) (addresses []string, err error) {
	var taken []net.Listener // until all are known, or two might be the same
	defer func() {
		for _, listener := range taken {
			err = errors.Join(err, listener.Close())
		}
	}()
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		taken = append(taken, listener)
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

// FreeAddress is FreeAddresses of one, for addresses that are drawn apart from each other and used at once.
func FreeAddress() (string, error) {
	addresses, err := FreeAddresses(1)
	if err != nil {
		return "", err
	}
	return addresses[0], nil
}
