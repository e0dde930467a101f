package apptest

import (
	"context"
	"strconv"
	"testing"
	"time"

	"headgate.example/apptest/voters"
)

const failoverWithin = 5 * time.Second // as a stopwatch shows it, on a machine that does much else; the benchmark has the figures

// TestCounterFailover kills the leader under load: buyers succeed again soon, and nothing that anybody
// was told is lost.
func TestCounterFailover(t *testing.T) {
	kills := int(envNumber(t, "HEADGATE_FAILOVER_KILLS", 3))
	shard := startShard(t)
	if err := shard.OpenSale(deadline(t, patience), "failover", 10_000_000, 1); err != nil {
		t.Fatal(err)
	}
	load := shard.Press("failover")
	defer load.Stop()
	watch := startStopwatch(t)
	for range kills {
		began := watch.now()
		took, err := load.KillLeader(deadline(t, patience))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("kill -9 of the leader to the next success: %s", took.Round(time.Millisecond))
		if ran := min(took, watch.now()-began); ran > failoverWithin {
			t.Errorf("nobody could buy for %s", took)
		}
	}
	// A gentle stop hands over.
	leader, err := shard.Leader(deadline(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	leader.Stop()
	began := watch.now()
	if _, err := shard.Leader(deadline(t, patience)); err != nil {
		t.Error(err)
	}
	if took := watch.now() - began; took > failoverWithin {
		t.Errorf("nobody led for %s", took)
	}
	bought := load.Stop()
	reply, err := shard.Do(deadline(t, patience), "SALE.INFO", "failover")
	if err != nil {
		t.Fatal(err)
	}
	held, err := strconv.ParseInt(voters.Fields(reply)["held"], 10, 64)
	if err != nil || held < bought {
		t.Errorf("%d units are held, but buyers were told of %d (%v)", held, bought, err)
	}
	t.Logf("%d units bought", bought)
}

// startShard runs three voters until the test ends. Their logs are shown when it fails.
func startShard(t *testing.T) *voters.Shard {
	t.Helper()
	shard, err := voters.New(bin.Path("counter"), t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		shard.Close()
		if t.Failed() {
			for _, v := range shard.Voters {
				t.Log(v.Log())
			}
		}
	})
	if err := shard.Start(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	return shard
}

// deadline is a context that ends with the test, or after a time.
func deadline(t *testing.T, within time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

// wait lets a fault last: time itself is what is tested.
func wait(t *testing.T, long time.Duration) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
