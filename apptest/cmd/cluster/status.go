//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"headgate.example/apptest/cluster"
)

// exitUnwell of status: something is not as it should be.
const exitUnwell = 3

func (p *program) status(ctx context.Context) int {
	f, err := p.opened()
	if err != nil {
		fmt.Fprintln(p.stderr, "cluster:", err)
		return exitFailed
	}
	st, err := cluster.Dial(f).State(ctx)
	if errors.Is(err, cluster.ErrNoSupervisor) {
		left, unread := f.Left()
		err = errors.Join(errors.New("the cluster is not running: make cluster"), unread)
		if len(left) > 0 {
			err = fmt.Errorf("the supervisor is gone, and %d processes still run: %s; `cluster down` ends them", len(left), strings.Join(left, ", "))
		}
	}
	if err != nil {
		fmt.Fprintln(p.stderr, "cluster:", err)
		return exitFailed
	}
	view := cluster.Look(ctx, st)
	if p.json {
		encoder := json.NewEncoder(p.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(view)
	} else {
		err = view.Write(p.stdout)
	}
	if err != nil {
		fmt.Fprintln(p.stderr, "cluster:", err)
		return exitFailed
	}
	if !view.Well {
		return exitUnwell
	}
	return 0
}
