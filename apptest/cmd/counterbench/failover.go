//go:build unix

package main

import (
	"context"
	"slices"
	"time"

	processes "headgate.example/apptest/voters"
)

const failoverSale = "failover"

// failover measures three voters under load: kill -9 of the leader to the first reservation that was
// asked for afterwards and granted.
func failover(ctx context.Context, b *bench) error {
	shard, err := processes.New(b.counter, b.dir, 3)
	if err != nil {
		return err
	}
	defer shard.Close()
	if err := shard.Start(ctx); err != nil {
		return err
	}
	if err := shard.OpenSale(ctx, failoverSale, 100_000_000, 1); err != nil {
		return err
	}
	load := shard.Press(failoverSale)
	defer load.Stop()
	var took []time.Duration
	for range b.kills {
		one, err := load.KillLeader(ctx)
		if err != nil {
			return err
		}
		took = append(took, one)
	}
	slices.Sort(took)
	b.figure("failover_kills", "%d", len(took))
	b.figure("failover_seconds_p50", "%.2f", took[len(took)/2].Seconds())
	b.figure("failover_seconds_max", "%.2f", took[len(took)-1].Seconds())
	return nil
}
