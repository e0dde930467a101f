package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"headgate.example/apptest/voters"
)

const failoverSale = "failover"

// failover measures three voters under load: kill -9 of the leader to the first reservation that was
// asked for afterwards and granted.
func failover(ctx context.Context, binary string, kills int, out io.Writer) error {
	folder, err := os.MkdirTemp("", "headgate-failover-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a temporary folder
	shard, err := voters.New(binary, folder, 3)
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
	for range kills {
		one, err := load.KillLeader(ctx)
		if err != nil {
			return err
		}
		took = append(took, one)
	}
	slices.Sort(took)
	_, err = fmt.Fprintf(out, "counter.failover_kills: %d\ncounter.failover_seconds_p50: %.2f\ncounter.failover_seconds_max: %.2f\n",
		len(took), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
	return err
}
