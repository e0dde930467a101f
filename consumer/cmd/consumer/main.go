// Command consumer writes accepted orders into the ledger.
package main

import (
	"context"
	"os"

	"headgate.example/consumer"
	"headgate.example/lib/service"
)

func main() {
	os.Exit(service.Main(service.Spec[consumer.Config]{
		Name:    "consumer",
		Default: consumer.DefaultConfig,
		Service: func(c *consumer.Config) service.Config { return c.Service },
		Open: func(ctx context.Context, cfg consumer.Config, rt *service.Runtime) (service.Program, error) {
			s, err := consumer.Open(ctx, cfg, rt)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	}, os.Args[1:], os.Stdout, os.Stderr))
}
