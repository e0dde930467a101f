//go:build linux

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"headgate.example/apptest/services"
)

// ReadState reads cluster.json, which may be old: the supervisor may have been killed.
func (f Folder) ReadState() (State, error) {
	var s State
	text, err := os.ReadFile(f.join(stateName))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}

// Left names the processes that still run of a cluster whose supervisor is gone. A process is only taken
// for one of ours when both its group and its working folder say so.
func (f Folder) Left() (left []string, err error) {
	state, err := f.ReadState()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, p := range f.left(state) {
		left = append(left, fmt.Sprintf("%s (process %d)", p.member, p.pid))
	}
	return left, nil
}

type leftover struct {
	member string
	pid    int
}

func (f Folder) left(state State) (left []leftover) {
	of := make(map[int]string)
	for _, m := range state.Members {
		for _, g := range m.Groups {
			of[g] = m.Name
		}
	}
	for _, p := range processes() {
		if member := of[p.group]; member != "" && worksIn(p.pid, f.Path) {
			left = append(left, leftover{member, p.pid})
		}
	}
	return left
}

// clearLeft kills what a supervisor that was killed has left running. The caller holds the folder's lock.
func (f Folder) clearLeft(say func(format string, args ...any)) error {
	state, err := f.ReadState()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	left := f.left(state)
	if len(left) == 0 {
		return nil
	}
	var names []string
	for _, p := range left {
		if !slices.Contains(names, p.member) {
			names = append(names, p.member)
		}
	}
	say("the last supervisor (process %d) was killed and left %d processes running: ending them: %s", state.Supervisor, len(left), strings.Join(names, " "))
	deadline := time.Now().Add(silentAfter)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for len(left) > 0 {
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes do not end, %s (process %d) among them", len(left), left[0].member, left[0].pid)
		}
		<-tick.C
		left = f.left(state)
	}
	return nil
}

// ClearLeft is what `down` does when the supervisor is gone: it ends what still runs, and heals every cut.
func ClearLeft(ctx context.Context, f Folder, say func(format string, args ...any)) error {
	lock, err := f.lockWithin(ctx, silentAfter) // one that was killed gives it up a moment later than its socket
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // nothing was written
	nft, err := services.LookUp(services.Nftables)
	if err != nil {
		nft = ""
	}
	return errors.Join(f.clearLeft(say), newCutter(nft, f).clear(ctx), removeQuotas(f))
}

// AwaitEnd waits until no supervisor holds the folder.
func (f Folder) AwaitEnd(ctx context.Context) error {
	lock, err := f.lockWithin(ctx, endWithin)
	if err != nil {
		return fmt.Errorf("the supervisor has not ended within %s: see %s", endWithin, f.Logs())
	}
	return lock.Close()
}

// lockWithin waits so long for the folder's lock.
func (f Folder) lockWithin(ctx context.Context, within time.Duration) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		lock, err := f.lock()
		if err == nil {
			return lock, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// endWithin bounds the end of a whole cluster.
const endWithin = 3 * time.Minute

// AwaitSocket waits until the control socket answers.
func (f Folder) AwaitSocket(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		_, err := Dial(f).State(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// WithProcess gives a context that is done when a process has ended.
func WithProcess(parent context.Context, pid int) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	of, err := readStat(pid)
	if err != nil {
		cancel()
		return ctx, cancel
	}
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			now, err := readStat(pid)
			if err != nil || now.born != of.born || now.state == 'Z' {
				cancel()
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}
