//go:build unix

// Counterbench measures the counter against what people use instead: a Redis with the classic script
// that checks the stock and the set of buyers, decrements and adds. It starts a private Redis and the
// counter on this machine, runs redis-benchmark against both in turn, and prints the medians of the
// ratios of alternating pairs as `name: value` lines, with the absolute figures beside them:
//
//	counterbench [-counter FILE] [-pairs 7] [-run 1s] [-only refuse,durable,replicated,memory,failover,shards]
//
// The suite shards compares two shards of one sale with one, by a crowd of its own: in selling, in
// refusing, up to the last unit, and when all buyers belong to one shard and half of the units to the
// other. Each process has the same share of a core, by a control group, which mostly only root may make.
//
// All are stopped and their files removed at the end. It needs redis-server and redis-benchmark.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"headgate.example/apptest/measure"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are what the flags say.
type options struct {
	counter string        // the counter's program
	dir     string        // where data is kept meanwhile; empty: a temporary folder
	only    string        // names of suites, comma-separated; empty: all
	pairs   int           // of alternating runs for each figure
	run     time.Duration // about how long each run takes
	holds   int           // for memory and recovery
	kills   int           // for failover
	within  time.Duration // for everything
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("counterbench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.counter, "counter", "bin/counter", "the counter's program")
	flags.StringVar(&o.dir, "dir", "", "a folder on the disk to be measured (default: the system's folder for temporary files)")
	flags.StringVar(&o.only, "only", "", "comma-separated suites, of: "+measure.Names(suites(&o, nil, nil)))
	flags.IntVar(&o.pairs, "pairs", 7, "alternating pairs of runs for each figure")
	flags.DurationVar(&o.run, "run", time.Second, "about how long each run takes")
	flags.IntVar(&o.holds, "holds", 1_000_000, "holds for the figures of memory and recovery")
	flags.IntVar(&o.kills, "kills", 20, "how often the leader of three voters is killed")
	flags.DurationVar(&o.within, "within", 10*time.Minute, "give up after this time")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	// SIGPIPE, too: a reader who leaves must not leave servers behind.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.within)
	defer cancel()
	if err := runSuites(ctx, &o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "counterbench:", err) //nolint:errcheck // the exit code says it too
		return 1
	}
	return 0
}

// suites are all there are, run with these options.
func suites(o *options, stdout, stderr io.Writer) []measure.Suite {
	var list []measure.Suite
	add := func(name string, suite func(context.Context, *bench) error) {
		list = append(list, measure.Suite{Name: name, Measure: func(ctx context.Context, dir string) error {
			return suite(ctx, &bench{options: o, dir: dir, stdout: stdout, stderr: stderr})
		}})
	}
	add("refuse", refuse)
	add("durable", durable)
	add("replicated", replicated)
	add("memory", memory)
	add("failover", failover)
	add("shards", shards)
	return list
}

// bench is what the suites share.
type bench struct {
	*options
	dir    string
	stdout io.Writer
	stderr io.Writer
}

// figure prints one `name: value` line.
func (b *bench) figure(name, format string, args ...any) {
	fmt.Fprintf(b.stdout, "counter.%s: %s\n", name, fmt.Sprintf(format, args...)) //nolint:errcheck // a closed pipe ends the program, see run
}

func (o *options) check() error {
	for _, program := range []string{o.counter, "redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w (make bin/counter builds the counter; Redis comes with the package redis)", err)
		}
	}
	if o.pairs < 1 || o.run < 10*time.Millisecond || o.holds < 1000 || o.kills < 1 {
		return errors.New("want at least 1 pair, 10ms a run, 1000 holds, 1 kill")
	}
	return nil
}

func runSuites(ctx context.Context, o *options, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	chosen, err := measure.Choose(suites(o, stdout, stderr), o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	return measure.Run(ctx, chosen, o.dir, "counterbench")
}
