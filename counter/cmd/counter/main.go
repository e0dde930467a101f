// Command counter runs one voter of one shard of the quantity control.
//
//	counter --config FILE                run it
//	counter --bootstrap --config FILE    begin the log of a shard with several voters, once, while the others run
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"headgate.example/counter"
	"headgate.example/lib/service"
)

func main() {
	if os.Getenv("GOMAXPROCS") == "" {
		// One thread is in fsync most of the time, and keeps its processor until the runtime notices.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	args := os.Args[1:]
	open := serve
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

func serve(ctx context.Context, cfg counter.Config, rt *service.Runtime) (service.Program, error) {
	s, err := counter.Open(ctx, cfg, rt, testOptions()...)
	if err != nil {
		return nil, err
	}
	return s, nil
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
