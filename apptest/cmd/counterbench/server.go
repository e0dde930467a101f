//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"headgate.example/apptest/measure"
)

// startWithin bounds the wait for a program to answer.
const startWithin = time.Minute

// server is a program that answers RESP.
type server struct {
	*measure.Process
	addr string
}

// launch starts a program that will answer RESP on addr. It is killed when ctx ends.
func launch(ctx context.Context, name, addr, dir string, argv ...string) (*server, error) {
	p, err := measure.Launch(ctx, name, dir, argv...)
	if err != nil {
		return nil, err
	}
	return &server{Process: p, addr: addr}, nil
}

// await asks until the answer holds what is wanted.
func (s *server) await(ctx context.Context, want string, request ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return s.Await(ctx, func() error {
		reply, err := s.ask(request...)
		if err != nil {
			return err
		}
		if !strings.Contains(reply, want) {
			return fmt.Errorf("it answers %s with %q instead of %q", request[0], reply, want)
		}
		return nil
	})
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
		return fmt.Errorf("%s: %s: %w", s.Name, strings.Join(request[:min(2, len(request))], " "), err)
	}
	if reply == "" {
		return fmt.Errorf("%s: %s: no answer", s.Name, request[0])
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

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
