// Command counter runs one shard of the quantity control.
package main

import (
	"context"
	"os"

	"headgate.example/counter"
	"headgate.example/lib/service"
)

func main() {
	os.Exit(service.Main(service.Spec[counter.Config]{
		Name:    "counter",
		Default: counter.DefaultConfig,
		Service: func(c *counter.Config) service.Config { return c.Service },
		Open: func(ctx context.Context, cfg counter.Config, rt *service.Runtime) (service.Program, error) {
			s, err := counter.Open(ctx, cfg, rt)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	}, os.Args[1:], os.Stdout, os.Stderr))
}
