// Command counter runs one voter of one shard of the quantity control.
//
//	counter --config FILE                run it
//	counter --bootstrap --config FILE    begin the log of a shard with several voters, once, while the others run
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"headgate.example/counter"
	"headgate.example/counter/replica"
	"headgate.example/lib/service"
)

func main() {
	args := os.Args[1:]
	open := serve(chooseEfforts())
	if i := slices.IndexFunc(args, isBootstrap); i >= 0 {
		args = slices.Delete(slices.Clone(args), i, i+1)
		open = bootstrap
	}
	os.Exit(service.Main(service.Spec[counter.Config]{
		Name:    "counter",
		Default: counter.DefaultConfig,
		Service: func(c *counter.Config) service.Config { return c.Service },
		Open:    open,
	}, args, os.Stdout, os.Stderr))
}

func isBootstrap(arg string) bool {
	name, found := strings.CutPrefix(arg, "-")
	return found && strings.TrimPrefix(name, "-") == "bootstrap"
}

type opener = func(context.Context, counter.Config, *service.Runtime) (service.Program, error)

// serve opens a counter that brackets what computes for long.
func serve(longWork func() func()) opener {
	return func(ctx context.Context, cfg counter.Config, rt *service.Runtime) (service.Program, error) {
		s, err := counter.Open(ctx, cfg, rt, append(testOptions(), counter.WithReplica(func(c *replica.Config) { c.LongWork = longWork }))...)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

func bootstrap(ctx context.Context, cfg counter.Config, rt *service.Runtime) (service.Program, error) {
	if err := counter.Bootstrap(ctx, cfg, rt); err != nil {
		return nil, err
	}
	fmt.Printf("counter: voter %s holds the first entry of shard %s, with %d voters: now start it, without --bootstrap\n", cfg.VoterID, cfg.Shard.Name, len(cfg.Voters))
	return ended{}, nil
}

// ended is a program that has nothing more to do.
type ended struct{}

// Run implements service.Program.
func (ended) Run(context.Context) error { return nil }
