//go:build unix

package main

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

// startWithin bounds the wait for a program to answer.
const startWithin = time.Minute

// server is a program under measurement.
type server struct {
	name string
	addr string // RESP
	cmd  *exec.Cmd
	log  string
	gone chan struct{}
}

// launch starts a program that will answer RESP on addr. It is killed when ctx ends.
func launch(ctx context.Context, name, addr, dir string, argv ...string) (*server, error) {
	s := &server{name: name, addr: addr, log: filepath.Join(dir, name+".log"), gone: make(chan struct{})}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = s.cmd.Wait() // it is killed in the end
		close(s.gone)
	}()
	return s, nil
}

// kill ends the program at once and waits for its end.
func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.gone
}

// await asks until the answer holds what is wanted.
func (s *server) await(ctx context.Context, want string, request ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var last string
	for {
		reply, err := s.ask(request...)
		if err == nil && strings.Contains(reply, want) {
			return nil
		}
		if last = reply; err != nil {
			last = err.Error()
		}
		select {
		case <-s.gone:
			text, _ := os.ReadFile(s.log)
			return fmt.Errorf("%s ended: %s", s.name, bytes.TrimSpace(text[max(0, len(text)-2048):]))
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer %s with %q: %s", s.name, request[0], want, last)
		case <-tick.C:
		}
	}
}

// ask sends one request on a connection of its own and gives the reply's text: an error reply as an error,
// elements of an array joined by spaces.
func (s *server) ask(request ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	out := fmt.Appendf(nil, "*%d\r\n", len(request))
	for _, arg := range request {
		out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := conn.Write(out); err != nil {
		return "", err
	}
	return readReply(conn)
}

// must is ask for what cannot fail.
func (s *server) must(request ...string) error {
	reply, err := s.ask(request...)
	if err != nil && (strings.HasPrefix(err.Error(), "TRYAGAIN") || strings.HasPrefix(err.Error(), "MOVED")) {
		return fmt.Errorf("%w: %w", errNoLeader, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", s.name, strings.Join(request[:min(2, len(request))], " "), err)
	}
	if reply == "" {
		return fmt.Errorf("%s: %s: no answer", s.name, request[0])
	}
	return nil
}

// count asks for a number.
func (s *server) count(request ...string) (int64, error) {
	reply, err := s.ask(request...)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(reply, 10, 64)
}

// rss is the memory that the program has of the system, in bytes.
func (s *server) rss() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
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

// freeAddresses gives n different loopback addresses that nobody listens on.
func freeAddresses(n int) (addresses []string, err error) {
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

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
