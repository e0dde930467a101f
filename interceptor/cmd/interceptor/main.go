// Command interceptor is the edge of Headgate as a program of its own.
package main

import (
	"context"
	"os"

	"headgate.example/interceptor"
	"headgate.example/lib/service"
)

func main() {
	os.Exit(service.Main(service.Spec[interceptor.Config]{
		Name:    "interceptor",
		Default: interceptor.DefaultConfig,
		Service: func(c *interceptor.Config) service.Config { return c.Service },
		Open: func(ctx context.Context, c interceptor.Config, rt *service.Runtime) (service.Program, error) {
			return interceptor.Open(ctx, c, rt)
		},
	}, os.Args[1:], os.Stdout, os.Stderr))
}
