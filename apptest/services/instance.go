//go:build unix

package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"headgate.example/apptest/ports"
)

const (
	startWithin = 90 * time.Second
	stopWithin  = 10 * time.Second
	tailBytes   = 4096 // bytes of each log shown when a start fails
)

// Plan is how a service is run in a folder and on ports of one's choice, by whoever starts its processes.
type Plan struct {
	Name string
	Dir  string
	Addr string // host:port where it answers
	URL  string // how clients reach it
	// Commands makes the processes, in the order of their start; the last one is the service.
	Commands func() []*exec.Cmd
	// Ready asks the service on its Addr.
	Ready func(ctx context.Context, addr string) error
	// Control makes a command of the service's own tool; nil: it has none.
	Control func(ctx context.Context, args []string) *exec.Cmd
}

// Instance is one private service. Its methods are safe for concurrent use, but Restart while the
// service runs is a mistake.
type Instance struct {
	plan    *Plan
	release func() // its ports

	mu        sync.Mutex
	processes []*process
}

// start runs what a plan tells. release gives up the ports that it was planned with, when it is stopped.
func start(ctx context.Context, plan *Plan, release func()) (*Instance, error) {
	i := &Instance{plan: plan, release: release}
	if err := i.start(ctx); err != nil {
		release()
		return nil, err
	}
	return i, nil
}

// process is a running program in a process group of its own.
type process struct {
	cmd  *exec.Cmd
	log  *os.File
	gone chan struct{}
}

// Name is the service's name, such as RabbitMQ.
func (i *Instance) Name() string { return i.plan.Name }

// Addr is host:port; it stays the same over Restart.
func (i *Instance) Addr() string { return i.plan.Addr }

// URL is how tests reach it: an AMQP address, or a MySQL data source name without a database.
func (i *Instance) URL() string { return i.plan.URL }

// Kill ends the service at once, without a chance to tidy up, and waits until it is gone. Its data
// stays for Restart.
func (i *Instance) Kill() error { return i.end(syscall.SIGKILL) }

// Restart starts a service that Kill has ended, on the same address and data, and waits for its answer.
func (i *Instance) Restart(ctx context.Context) error { return i.start(ctx) }

// Control runs the service's own tool on it, such as rabbitmqctl with `set_vm_memory_high_watermark 0.5`.
func (i *Instance) Control(ctx context.Context, args ...string) error {
	if i.plan.Control == nil {
		return fmt.Errorf("%s has no tool to control it", i.plan.Name)
	}
	if output, err := i.plan.Control(ctx, args).CombinedOutput(); err != nil {
		return fmt.Errorf("controlling %s: %v: %w\n%s", i.plan.Name, args, err, output)
	}
	return nil
}

// Stop ends the service and removes its data. It may be called again.
func (i *Instance) Stop() error {
	// Nothing is to be kept, so there is nothing to tidy up either.
	err := errors.Join(i.end(syscall.SIGKILL), os.RemoveAll(i.plan.Dir))
	i.release()
	return err
}

// start begins the processes and waits until the service answers. On failure nothing is left running,
// and the error carries the tails of the logs.
func (i *Instance) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if i.running() {
		return fmt.Errorf("starting %s: it runs already", i.plan.Name)
	}
	err := i.launch()
	if err == nil {
		err = i.await(ctx)
	}
	if err != nil {
		_ = i.end(syscall.SIGKILL) // the first error says more
		return fmt.Errorf("starting %s: %w%s", i.plan.Name, err, i.tails())
	}
	return nil
}

func (i *Instance) launch() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, cmd := range i.plan.Commands() {
		log, err := os.OpenFile(filepath.Join(i.plan.Dir, fmt.Sprintf("output-%d.log", n)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is for the tests, not for the services
		if err := cmd.Start(); err != nil {
			_ = log.Close()
			return err
		}
		p := &process{cmd: cmd, log: log, gone: make(chan struct{})}
		go func() {
			_ = cmd.Wait() // how it ended shows in the logs
			close(p.gone)
		}()
		i.processes = append(i.processes, p)
	}
	return nil
}

func (i *Instance) running() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.processes) > 0
}

// await polls until the service answers or one of its processes ends.
func (i *Instance) await(ctx context.Context) error {
	i.mu.Lock()
	processes := i.processes
	i.mu.Unlock()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := i.plan.Ready(ctx, i.plan.Addr)
		if err == nil {
			return nil
		}
		for _, p := range processes {
			select {
			case <-p.gone:
				return fmt.Errorf("%s ended by itself: %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState)
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer on %s: %w", i.plan.Addr, err)
		case <-ticker.C:
		}
	}
}

// end signals every process group, the service first, and waits.
func (i *Instance) end(signal syscall.Signal) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for n := len(i.processes) - 1; n >= 0; n-- {
		p := i.processes[n]
		if err := syscall.Kill(-p.cmd.Process.Pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("stopping %s: %w", i.plan.Name, err))
		}
		timer := time.NewTimer(stopWithin)
		select {
		case <-p.gone:
		case <-timer.C:
			errs = append(errs, fmt.Errorf("stopping %s: process %d is still there after %s", i.plan.Name, p.cmd.Process.Pid, stopWithin))
		}
		timer.Stop()
		if err := p.log.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(i.processes) > 0 && len(errs) == 0 {
		errs = append(errs, i.awaitSilence())
	}
	i.processes = nil
	return errors.Join(errs...)
}

// awaitSilence waits until nobody listens on the address: a service's own children die a moment later
// than the process that we wait for.
func (i *Instance) awaitSilence() error {
	deadline := time.Now().Add(stopWithin)
	for {
		conn, err := net.DialTimeout("tcp", i.plan.Addr, time.Second)
		if err != nil {
			return nil //nolint:nilerr // refused is what we want
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			return fmt.Errorf("stopping %s: %s still answers after %s", i.plan.Name, i.plan.Addr, stopWithin)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// tails gives the ends of the logs below the instance's folder.
func (i *Instance) tails() string {
	var b strings.Builder
	logs, err := filepath.Glob(filepath.Join(i.plan.Dir, "*.log"))
	if err != nil {
		return ""
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			continue
		}
		if len(text) > tailBytes {
			text = text[len(text)-tailBytes:]
		}
		fmt.Fprintf(&b, "\n--- %s\n%s", filepath.Base(path), strings.TrimSpace(string(text)))
	}
	return b.String()
}

// reservePorts gives n ports of the loopback interface, which nobody else is given before they are released.
func reservePorts(n int) (list []int, release func(), err error) {
	addresses, release, err := ports.Reserve(n)
	if err != nil {
		return nil, nil, err
	}
	for _, address := range addresses {
		_, digits, _ := strings.Cut(address, ":")
		port, err := strconv.Atoi(digits)
		if err != nil {
			release()
			return nil, nil, err
		}
		list = append(list, port)
	}
	return list, release, nil
}

// greeting connects, sends hello, and gives the first bytes of the answer.
func greeting(ctx context.Context, addr string, hello []byte, n int) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // only a probe
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	answer := make([]byte, n)
	for got := 0; got < n; {
		k, err := conn.Read(answer[got:])
		if err != nil {
			return nil, err
		}
		got += k
	}
	return answer, nil
}
