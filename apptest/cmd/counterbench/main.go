// Command counterbench measures the counter's program and prints `name: value` lines.
//
//	counterbench -bin FOLDER [-only failover] [-kills 20]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	bin := flag.String("bin", os.Getenv("HEADGATE_TEST_BIN"), "the folder of the programs")
	only := flag.String("only", "failover", "run one part only: failover")
	kills := flag.Int("kills", 20, "how often the leader is killed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *bin, *only, *kills)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "counterbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, only string, kills int) error {
	if only != "failover" {
		return fmt.Errorf("-only: there is no part %q", only)
	}
	if kills < 1 {
		return fmt.Errorf("-kills: must be at least 1, is %d", kills)
	}
	return failover(ctx, filepath.Join(bin, "counter"), kills, os.Stdout)
}
