package replica

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/counter/machine"
	"headgate.example/lib/service/servicetest"
)

// gate is a log that holds up whoever says that it leads first, until it is opened.
type gate struct {
	slog.Handler
	used   *atomic.Bool
	held   chan int // of capacity 1: who is held up
	opened chan struct{}
	voter  int
}

func (g *gate) WithAttrs([]slog.Attr) slog.Handler { return g }
func (g *gate) WithGroup(string) slog.Handler      { return g }

func (g *gate) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "this counter leads its shard" && g.used.CompareAndSwap(false, true) {
		g.held <- g.voter
		<-g.opened
	}
	return g.Handler.Handle(ctx, r)
}

// TestALeaderThatMissedItsOwnFall: leadership is lost and won back while the loop that opens and ends
// tenures is held up, so that it hears of both as one. Another voter led in between: until a barrier
// has passed in the new term, nothing may be answered under the old tenure.
func TestALeaderThatMissedItsOwnFall(t *testing.T) {
	var used atomic.Bool
	held, opened := make(chan int, 1), make(chan struct{})
	open := sync.OnceFunc(func() { close(opened) })
	c := newCluster(t, func(i int, cfg *Config) {
		cfg.Log = slog.New(&gate{Handler: cfg.Log.Handler(), used: &used, held: held, opened: opened, voter: i})
	})
	t.Cleanup(open) // before the replicas are closed
	at := <-held
	late := c.replicas[at]
	if late.Ready() != nil || late.Tenure() == nil {
		t.Error("a new leader does not serve")
	}
	c.isolate(at)
	c.selling(at)
	servicetest.Eventually(t, 30*time.Second, "the old leader knows that it is none", func() bool { return late.raft.State() != raft.Leader })
	c.connect(at)
	servicetest.Eventually(t, 30*time.Second, "it leads again", func() bool {
		for _, r := range c.replicas {
			if r != late && r.raft.State() == raft.Leader {
				_ = r.raft.LeadershipTransferToServer(raft.ServerID(late.id.Voter), c.trans[at].LocalAddr()).Error() // tried again
			}
		}
		return late.raft.State() == raft.Leader
	})

	if err := late.Latest(time.Second, func(*machine.State, Clock) {}); err == nil {
		t.Error("a read is answered under the tenure of an earlier term")
	}
	if view, err := late.Look(time.Second); err == nil {
		view.End()
		t.Error("a view is given under the tenure of an earlier term")
	}
	if late.Ready() == nil || late.Tenure() != nil {
		t.Error("the tenure of an earlier term counts as serving")
	}

	open()
	ready(t, late)
	if err := late.Latest(5*time.Second, func(s *machine.State, _ Clock) {
		if _, known := s.Info("1", 0); !known {
			t.Error("the sale that was opened meanwhile is not known")
		}
	}); err != nil {
		t.Error(err)
	}
}
