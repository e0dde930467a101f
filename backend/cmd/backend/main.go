// Command backend serves Headgate's HTTP API behind the edge.
package main

import (
	"context"
	"os"

	"headgate.example/backend"
	"headgate.example/lib/service"
)

func main() {
	os.Exit(service.Main(service.Spec[backend.Config]{
		Name:    "backend",
		Default: backend.DefaultConfig,
		Service: func(c *backend.Config) service.Config { return c.Service },
		Open: func(ctx context.Context, cfg backend.Config, rt *service.Runtime) (service.Program, error) {
			return backend.Open(ctx, cfg, rt)
		},
	}, os.Args[1:], os.Stdout, os.Stderr))
}
