//go:build linux

// Clusterbench measures what a deployment gains from more nodes. It runs clusters of deploy/local side by side
// (bin/cluster: nginx, interceptors, counter shards of three voters, backends, consumers, RabbitMQ and MariaDB),
// which differ in the number of one kind of node only, holds each process of that kind to the same share of a
// processor, lets the same crowd press at each in turn with deploy/wrk/buy.lua, and prints medians over the
// pairs as `name: value` lines:
//
//	clusterbench [-bin bin] [-pairs 3] [-window 5s] [-only soldout,buy,shards]
//
//	soldout  three interceptors against one, every answer is `sold_out`; with the affinity cookie and without
//	buy      the same with the cookie, every answer is a unit
//	shards   two counter shards against one, every answer is a unit
//
// A crowd first presses until everybody has been answered once, so that tokens are known and cookies are kept:
// at a sold-out sale, or at one that is paused and resumed then. What the answers were and how many, and how many
// hopped between edges, is asked of the edges' own metrics; CPU time of the cluster's supervisor. After each
// crowd that bought, `headgate audit` has to hold. Shares need root and control groups of version 1; it needs
// nginx, wrk, RabbitMQ and MariaDB. All is stopped and removed at the end.
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
	"path/filepath"
	"syscall"
	"time"

	"headgate.example/apptest/measure"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are what the flags say.
type options struct {
	bin, source         string
	script              string // wrk's
	only                string // names of suites, comma-separated; empty: all
	pairs               int
	window              time.Duration // of each measurement
	edgeShare, buyShare float64       // of a processor, for each interceptor
	shardShare          float64       // of a processor, for each voter
	within              time.Duration // for everything
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("clusterbench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.bin, "bin", "bin", "folder of the programs")
	flags.StringVar(&o.source, "source", filepath.Join("deploy", "local"), "folder with cluster.yaml and the config files")
	flags.StringVar(&o.script, "script", filepath.Join("deploy", "wrk", "buy.lua"), "what wrk runs")
	flags.StringVar(&o.only, "only", "", "comma-separated suites, of: "+measure.Names(suites(&o, nil)))
	flags.IntVar(&o.pairs, "pairs", 3, "pairs of measurements for each figure")
	flags.DurationVar(&o.window, "window", 5*time.Second, "how long each measurement takes, once everybody was answered")
	flags.Float64Var(&o.edgeShare, "edge-share", 0.08, "share of a processor for each interceptor, of the suite soldout")
	flags.Float64Var(&o.buyShare, "buy-share", 0.05, "the same of the suite buy")
	flags.Float64Var(&o.shardShare, "shard-share", 0.02, "share of a processor for each of the counter's voters, of the suite shards")
	flags.DurationVar(&o.within, "within", 30*time.Minute, "give up after this time")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.within)
	defer cancel()
	if err := o.runSuites(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "clusterbench:", err) //nolint:errcheck // the exit code says it too
		return 1
	}
	return 0
}

func (o *options) check() error {
	for _, program := range []string{filepath.Join(o.bin, "cluster"), filepath.Join(o.bin, "headgate"), "wrk"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w (make build builds the programs; wrk is a package of that name)", err)
		}
	}
	if o.pairs < 1 || o.window < time.Second {
		return errors.New("want at least 1 pair, and a window of a second")
	}
	return nil
}

func (o *options) runSuites(ctx context.Context, stdout io.Writer) error {
	chosen, err := measure.Choose(suites(o, stdout), o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if err := o.check(); err != nil {
		return err
	}
	return measure.Run(ctx, chosen, "", "clusterbench")
}

// bench is what a suite has.
type bench struct {
	*options
	dir    string
	stdout io.Writer
}

// figure prints one `name: value` line.
func (b *bench) figure(name, format string, args ...any) {
	fmt.Fprintf(b.stdout, "cluster.%s: %s\n", name, fmt.Sprintf(format, args...)) //nolint:errcheck // a closed pipe ends the program soon enough
}
