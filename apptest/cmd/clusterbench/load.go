//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// loadAtMost is longer than anything that is measured: the load is interrupted at the end.
const loadAtMost = 10 * time.Minute

// load is wrk under way.
type load struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

// startLoad starts wrk. With cookies each connection has a thread: see deploy/wrk/README.md.
func (s *site) startLoad(ctx context.Context, c crowd, sale string) (*load, error) {
	threads := 2
	if c.cookies {
		threads = s.contest.connections
	}
	l := &load{}
	l.cmd = exec.CommandContext(ctx, "wrk", "-t", strconv.Itoa(threads), "-c", strconv.Itoa(s.contest.connections),
		"-d", strconv.Itoa(int(loadAtMost.Seconds()))+"s", "-s", s.script, s.state.Edge, "--", s.tokens, sale)
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.out
	return l, l.cmd.Start()
}

var unanswered = regexp.MustCompile(`(?m)^no answer: connect 0, write 0, read 0;`)

// end has wrk write its report, of which it gives the end, the table of answers. A request without an answer is
// an error.
func (l *load) end() (report []byte, err error) {
	_ = l.cmd.Process.Signal(syscall.SIGINT) // it may have ended
	err = l.cmd.Wait()
	text := bytes.TrimSpace(l.out.Bytes())
	report = text[max(0, len(text)-1024):]
	if err == nil && !unanswered.Match(text) {
		err = errors.New("requests were not answered")
	}
	if err != nil {
		err = fmt.Errorf("wrk: %w: %s", err, report)
	}
	return report, err
}
