package replica

import (
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// guardedLog ends all writing after the first failed write. What a failed write left on the disk is
// known only by reading it again, which is what a restart does.
type guardedLog struct {
	raft.LogStore
	failed func(error)

	mu  sync.Mutex
	err error
}

// StoreLog implements raft.LogStore.
func (g *guardedLog) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (g *guardedLog) StoreLogs(logs []*raft.Log) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	if err := g.LogStore.StoreLogs(logs); err != nil {
		g.err = fmt.Errorf("writing the log: %w", err)
		g.failed(g.err)
	}
	return g.err
}

// IsMonotonic implements raft.MonotonicLogStore: the log has no gaps.
func (g *guardedLog) IsMonotonic() bool {
	m, ok := g.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}
