//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"headgate.example/apptest/measure"
)

// voters is a shard of three on this machine. Requests go to whoever leads it.
type voters struct {
	*counter // the leader
	all      []*counter
}

// startVoters begins the log of three voters, starts them, and waits for a leader.
func startVoters(ctx context.Context, path, dir string) (_ *voters, err error) {
	const count = 3
	var addresses [count][3]string // for clients, for each other, for operators
	var list strings.Builder
	free, err := measure.FreeAddresses(3 * count)
	if err != nil {
		return nil, err
	}
	for i := range addresses {
		copy(addresses[i][:], free[3*i:])
		fmt.Fprintf(&list, "  - {id: v%d, raft: %q, client: %q}\n", i+1, addresses[i][1], addresses[i][0])
	}
	v := &voters{}
	defer func() {
		if err != nil {
			v.stop()
		}
	}()
	for i, a := range addresses {
		own, err := makeDir(dir, fmt.Sprintf("v%d", i+1))
		if err != nil {
			return nil, err
		}
		c := &counter{file: filepath.Join(own, "counter.yaml"), dir: own, path: path, live: a[2]}
		text := fmt.Sprintf("service: {mode: development, admin: %q, log_format: text}\nlisten: %q\nraft_listen: %q\nraft_secret: for-a-measurement-only\ndata_dir: %q\nshard: {name: s1, number: 0}\nvoter_id: v%d\nvoters:\n%s",
			a[2], a[0], a[1], filepath.Join(own, "counter"), i+1, list.String())
		if err := os.WriteFile(c.file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		if i == count-1 { // the others run, as it must be
			if out, err := exec.CommandContext(ctx, path, "--bootstrap", "--config", c.file).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("counter --bootstrap: %w: %s", err, out)
			}
		}
		if c.server, err = launch(ctx, "counter", a[0], own, path, "--config", c.file); err != nil {
			return nil, err
		}
		v.all = append(v.all, c)
	}
	return v, v.elect(ctx)
}

// elect waits until one of the voters serves.
func (v *voters) elect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, c := range v.all {
			if reply, err := c.ask("INFO", "raft"); err == nil && strings.Contains(reply, "raft_serving:1") {
				v.counter = c
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no voter leads: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// CPU is the processor time of all of them.
func (v *voters) CPU() (sum time.Duration, err error) {
	for _, c := range v.all {
		used, err := c.CPU()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// settle waits for all of them, each of which has the whole state.
func (v *voters) settle(ctx context.Context) error {
	for _, c := range v.all {
		if err := c.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (v *voters) stop() {
	for _, c := range v.all {
		c.Kill()
	}
}
