//go:build unix

// Edgebench measures the edge against the bare server that it is made of, and against nginx. It starts
// the interceptor with a counter, a bare fasthttp server that answers 200 to everything, and nginx with
// limit_req on this machine, sends wrk's load to each in turn, the same bytes to all, and prints the
// medians over the rounds as `name: value` lines, with the absolute figures beside them:
//
//	edgebench [-interceptor FILE] [-counter FILE] [-rounds 7] [-run 2s] [-only refuse,soldout,newtoken,forward,hop]
//
// CPU is what a server has used, user and system, for each million requests: generator and servers share
// the machine's cores, so that requests a second say less. All are stopped and their files removed at the
// end. It needs wrk, and nginx for the figures against it.
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

func main() {
	if len(os.Args) == 3 && os.Args[1] == bareCommand {
		fmt.Fprintln(os.Stderr, "edgebench:", serveBare(os.Args[2])) //nolint:errcheck // nobody else could be told
		os.Exit(1)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the flags say.
type options struct {
	interceptor string        // the interceptor's program
	counter     string        // the counter's program
	only        string        // names of suites, comma-separated; empty: all
	rounds      int           // of runs for each figure
	run         time.Duration // of wrk, whole seconds
	connections int           // of wrk
	within      time.Duration // for everything
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("edgebench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.interceptor, "interceptor", "bin/interceptor", "the interceptor's program")
	flags.StringVar(&o.counter, "counter", "bin/counter", "the counter's program")
	flags.StringVar(&o.only, "only", "", "comma-separated suites, of: "+measure.Names(suites(&o, nil, nil)))
	flags.IntVar(&o.rounds, "rounds", 7, "rounds for each figure; in each, every server is measured once")
	flags.DurationVar(&o.run, "run", 2*time.Second, "how long each run takes, in whole seconds")
	flags.IntVar(&o.connections, "connections", 64, "connections of the load")
	flags.DurationVar(&o.within, "within", 15*time.Minute, "give up after this time")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.within)
	defer cancel()
	if err := runSuites(ctx, &o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "edgebench:", err) //nolint:errcheck // the exit code says it too
		return 1
	}
	return 0
}

func (o *options) check() error {
	for _, program := range []string{o.interceptor, o.counter, "wrk"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w (make build builds the programs; wrk is a package of that name)", err)
		}
	}
	if o.rounds < 1 || o.run < time.Second || o.run%time.Second != 0 || o.connections < 2 {
		return errors.New("want at least 1 round, whole seconds a run, 2 connections")
	}
	return nil
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
	fmt.Fprintf(b.stdout, "edge.%s: %s\n", name, fmt.Sprintf(format, args...)) //nolint:errcheck // a closed pipe ends the program soon enough
}

func runSuites(ctx context.Context, o *options, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	chosen, err := measure.Choose(suites(o, stdout, stderr), o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	return measure.Run(ctx, chosen, "", "edgebench")
}
